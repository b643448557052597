import dataclasses
import json
import math
import subprocess
import sys
import tomllib
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from captioner.config import (
    EncoderConfig,
    ModelConfig,
    PreprocessConfig,
    SearchConfig,
    from_table,
    to_table,
)
from captioner.decoders import DECODERS, RecurrentConfig, TransformerConfig
from captioner.errors import ConfigError

ROOT = Path(__file__).parent.parent

ALL = [PreprocessConfig, EncoderConfig, *DECODERS.values(), ModelConfig, SearchConfig]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Settings of every type that the real ones use, and of some that they may come to use."""

    name: str
    numbers: tuple[int, ...] = ()
    limit: int | None = None
    search: tuple[SearchConfig, ...] = ()
    anything: Any = None


def read(text: str, settings: type[Any] = ModelConfig) -> Any:
    return from_table(settings, tomllib.loads(text), where="run.toml")


def message(text: str, settings: type[Any] = ModelConfig) -> str:
    with pytest.raises(ConfigError) as error:
        read(text, settings)
    return str(error.value)


@pytest.mark.parametrize("settings", ALL)
def test_an_empty_table_gives_the_defaults(settings: type[Any]) -> None:
    assert from_table(settings, {}, where="settings") == settings()


def test_a_table_becomes_settings_within_settings() -> None:
    text = """
        [encoder]
        backbone = "test_resnet"
        options = {pad_type = "same", bn_eps = 1e-3}
        [decoder]
        kind = "lstm"
        width = 64
        dropout = 0
        tie = false
    """
    assert read(text) == ModelConfig(
        encoder=EncoderConfig(backbone="test_resnet", options={"pad_type": "same", "bn_eps": 1e-3}),
        decoder=RecurrentConfig(width=64, dropout=0.0, tie=False),
    )


def test_lists_become_tuples_and_whole_numbers_become_fractions_where_one_is_asked_for() -> None:
    mean = read("mean = [0, 1, 0.5]", PreprocessConfig).mean
    assert mean == (0.0, 1.0, 0.5)
    assert [type(value) for value in mean] == [float, float, float]
    shelf = read("name = 'x'\nnumbers = [1, 2]\nlimit = 3\nanything = [1]", Shelf)
    assert shelf == Shelf(name="x", numbers=(1, 2), limit=3, anything=[1])
    assert from_table(Shelf, {"name": "x", "limit": None}, where="shelf").limit is None


@pytest.mark.parametrize(
    "settings",
    [
        *[settings() for settings in ALL],
        ModelConfig(encoder=EncoderConfig(options={"a": 1}), decoder=RecurrentConfig(cell="gru")),
        Shelf(name="x", numbers=(1, 2), search=(SearchConfig(beam=1), SearchConfig())),
    ],
)
def test_settings_survive_the_way_through_json(settings: Any) -> None:
    table = json.loads(json.dumps(to_table(settings)))
    assert from_table(type(settings), table, where="settings") == settings


def test_a_table_made_of_settings_shares_nothing_with_them() -> None:
    encoder = EncoderConfig(options={"pad_type": "same"})
    to_table(encoder)["options"].clear()
    assert encoder.options == {"pad_type": "same"}


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        (
            "[decoder]\nkind = 'lstm'\nwidht = 3",
            ModelConfig,
            "run.toml.decoder: unknown setting 'widht'; did you mean 'width'?",
        ),
        (
            "zebra = 1",
            ModelConfig,
            "run.toml: unknown setting 'zebra'; choose from encoder, decoder.",
        ),
        (
            "[decoder]\nkind = 'rnn'",
            ModelConfig,
            "run.toml.decoder.kind is 'rnn'; choose from lstm, transformer, prefix.",
        ),
        (
            "[decoder]\nkind = ['lstm']",
            ModelConfig,
            "run.toml.decoder.kind is ['lstm']; choose from lstm, transformer, prefix.",
        ),
        (
            "[decoder]\nwidth = 3",
            ModelConfig,
            "run.toml.decoder: 'kind' is missing; choose from lstm, transformer, prefix.",
        ),
        (
            "decoder = 'lstm'",
            ModelConfig,
            "run.toml.decoder must be a table of settings, not 'lstm'.",
        ),
        ("encoder = 3", ModelConfig, "run.toml.encoder must be a table of settings, not 3."),
        ("", Shelf, "run.toml: 'name' is missing."),
        (
            "fit = 'pad'",
            PreprocessConfig,
            "run.toml.fit is 'pad'; choose from squash, letterbox, crop.",
        ),
        (
            "height = '224'",
            PreprocessConfig,
            "run.toml.height is '224'; it must be a whole number.",
        ),
        ("height = 22.5", PreprocessConfig, "run.toml.height is 22.5; it must be a whole number."),
        ("height = true", PreprocessConfig, "run.toml.height is True; it must be a whole number."),
        (
            "mean = [0.5, 0.5]",
            PreprocessConfig,
            "run.toml.mean is [0.5, 0.5]; it needs 3 values, not 2.",
        ),
        ("mean = 0.5", PreprocessConfig, "run.toml.mean is 0.5; it must be a list."),
        (
            "mean = [0.5, '0.5', 0.5]",
            PreprocessConfig,
            "run.toml.mean.1 is '0.5'; it must be a number.",
        ),
        ("dropout = true", RecurrentConfig, "run.toml.dropout is True; it must be a number."),
        ("dropout = nan", RecurrentConfig, "run.toml.dropout is nan; it must be finite."),
        ("std = [0.5, nan, 0.5]", PreprocessConfig, "run.toml.std.1 is nan; it must be finite."),
        ("tie = 1", RecurrentConfig, "run.toml.tie is 1; it must be true or false."),
        ("backbone = 1", EncoderConfig, "run.toml.backbone is 1; it must be a text."),
        ("options = []", EncoderConfig, "run.toml.options is []; it must be a table."),
        ("name = 'x'\nlimit = 'y'", Shelf, "run.toml.limit is 'y'; it must be a whole number."),
        ("name = 'x'\nnumbers = '12'", Shelf, "run.toml.numbers is '12'; it must be a list."),
        (
            "name = 'x'\n[[search]]\n[[search]]\nbeams = 3",
            Shelf,
            "run.toml.search.1: unknown setting 'beams'; did you mean 'beam'?",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    text: str, settings: type[Any], expected: str
) -> None:
    assert message(text, settings) == expected


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        (PreprocessConfig, {"height": 0}, "preprocess.height is 0; it must be 1 or more."),
        (PreprocessConfig, {"width": -1}, "preprocess.width is -1; it must be 1 or more."),
        (
            PreprocessConfig,
            {"std": (1.0, 0.0, 1.0)},
            "preprocess.std is (1.0, 0.0, 1.0); every value must be above 0.",
        ),
        (RecurrentConfig, {"width": 0}, "decoder.width is 0; it must be 1 or more."),
        (
            RecurrentConfig,
            {"embedding_dim": 0},
            "decoder.embedding_dim is 0; it must be 1 or more.",
        ),
        (
            RecurrentConfig,
            {"attention_width": 0},
            "decoder.attention_width is 0; it must be 1 or more.",
        ),
        (RecurrentConfig, {"dropout": 1.0}, "decoder.dropout is 1.0; it must be in [0, 1)."),
        (TransformerConfig, {"layers": 0}, "decoder.layers is 0; it must be 1 or more."),
        (TransformerConfig, {"heads": 0}, "decoder.heads is 0; it must be 1 or more."),
        (
            TransformerConfig,
            {"max_positions": 0},
            "decoder.max_positions is 0; it must be 1 or more.",
        ),
        (
            TransformerConfig,
            {"width": 10, "heads": 4},
            "decoder.width is 10 and decoder.heads is 4; heads must divide width.",
        ),
        (TransformerConfig, {"dropout": -0.1}, "decoder.dropout is -0.1; it must be in [0, 1)."),
        (SearchConfig, {"beam": 0}, "search.beam is 0; it must be 1 or more."),
        (SearchConfig, {"max_words": 0}, "search.max_words is 0; it must be 1 or more."),
        (
            SearchConfig,
            {"temperature": 0.0},
            "search.temperature is 0.0; it must be above 0 and finite. "
            "For the likeliest caption use greedy or beam search.",
        ),
        (
            SearchConfig,
            {"length_penalty": math.nan},
            "search.length_penalty is nan; it must be finite.",
        ),
        (SearchConfig, {"top_k": -1}, "search.top_k is -1; it must be 0 or more."),
        (SearchConfig, {"top_p": 0.0}, "search.top_p is 0.0; it must be in (0, 1]."),
        (SearchConfig, {"top_p": 1.1}, "search.top_p is 1.1; it must be in (0, 1]."),
    ],
)
def test_values_out_of_range_are_refused(
    settings: type[Any], values: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        settings(**values)
    assert str(error.value) == expected


@pytest.mark.parametrize("settings", ALL)
def test_settings_cannot_be_changed(settings: type[Any]) -> None:
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(settings(), name, None)


def test_every_choice_of_a_setting_is_accepted() -> None:
    for method in ("beam", "greedy", "sample"):
        assert read(f"method = '{method}'", SearchConfig).method == method
    for kind in ("lstm", "transformer"):
        assert read(f"[decoder]\nkind = '{kind}'").decoder.kind == kind


def test_a_kind_of_one_choice_belongs_to_its_settings_alone() -> None:
    assert message("kind = 'transformer'", RecurrentConfig) == (
        "run.toml.kind is 'transformer'; choose from lstm."
    )


def test_a_literal_of_numbers_is_compared_by_value() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Turn:
        degrees: Literal[0, 90] = 0

    assert from_table(Turn, {"degrees": 90}, where="turn") == Turn(degrees=90)


def test_settings_are_read_without_torch() -> None:
    program = "import captioner.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0

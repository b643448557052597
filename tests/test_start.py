from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from shapes import write_shapes

from captioner.checkpoint.header import Header, read_header
from captioner.checkpoint.weights import save_checkpoint
from captioner.errors import CheckpointError, ConfigError, DataError
from captioner.model import CaptionModel
from captioner.pytorch import TorchCaptioner
from captioner.words.tokenizer import Tokenizer
from tests import foreign
from training.running.start import (
    build_tokenizer,
    choose_tokenizer,
    load_sources,
    prompted_tokenizer,
    start_model,
)
from training.settings import DataConfig, RunConfig, SourceConfig, load_settings
from training.train import main as train

SMOKE = Path(__file__).parent / "smoke.toml"


def settings(*overrides: str) -> RunConfig:
    return load_settings(SMOKE, overrides)


def started(*overrides: str) -> CaptionModel:
    return start_model(settings(*overrides), words=9)


def weights(model: CaptionModel) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in model.encoder.backbone.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refused(*overrides: str) -> str:
    with pytest.raises((CheckpointError, ConfigError)) as error:
        started(*overrides)
    return str(error.value)


def save(path: Path, model: CaptionModel, config: RunConfig) -> None:
    tokenizer = Tokenizer.train_words(["a b c d e"], min_count=1)
    header = Header(
        name="other", model=config.model, preprocess=config.preprocess, tokenizer=tokenizer
    )
    save_checkpoint(path, model, header, half=False)


@pytest.fixture
def sources(tmp_path, monkeypatch) -> list[SourceConfig]:
    """Two sources over the same eight photos: the first three of them, and all."""
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path)
    lines = Path("captions.jsonl").read_text().splitlines()
    Path("few.jsonl").write_text("\n".join(lines[:4]))
    files = {"few.jsonl": 3, "captions.jsonl": None}
    return [SourceConfig(annotations=f, images=("photos",), limit=n) for f, n in files.items()]


def test_the_captions_of_several_sources_are_joined_up_to_their_limits(sources):
    records, photos = load_sources(sources)
    assert len(records) == 3 + 8
    assert [record.image for record in records[2:4]] == ["green-ball.png", "red-ball.png"]
    assert photos.read("red-stick.png") == Path("photos/red-stick.png").read_bytes()


def test_missing_photos_are_reported_before_training(sources):
    Path("photos/red-ball.png").unlink()
    Path("photos/green-ball.png").unlink()
    with pytest.raises(DataError, match=r"4 of 11 images with captions are .*'red-ball\.png'"):
        load_sources(sources)


def test_missing_captions_are_named(sources):
    Path("few.jsonl").unlink()
    with pytest.raises(DataError, match=r"Caption file few\.jsonl does not exist"):
        load_sources(sources)


def test_the_tokenizer_is_trained_on_the_training_captions(sources):
    records, _ = load_sources(sources[:1])  # red ball, red stick, green ball
    words = DataConfig(train=sources, val=sources[0], min_count=2)
    assert len(build_tokenizer(words, records)) == 4 + 6  # a, red, ball, on, dark, table
    pieces = DataConfig(train=sources, val=sources[0], words="bpe", vocabulary=270)
    tokenizer = build_tokenizer(pieces, records)
    assert tokenizer.decode(tokenizer.encode("A blue stick")) == "A blue stick"


def test_a_file_of_backbone_weights_is_read(tmp_path):
    expected = weights(started())
    save_file(expected, tmp_path / "backbone.safetensors")
    assert same(weights(started(f"encoder_weights={tmp_path}/backbone.safetensors")), expected)
    assert not same(weights(started()), expected)  # random weights differ


def test_the_encoder_of_a_checkpoint_is_taken(tmp_path):
    model = started()
    save(tmp_path / "other.safetensors", model, settings())
    taken = started(f"encoder_weights={tmp_path}/other.safetensors", "model.decoder.width=32")
    assert same(weights(taken), weights(model))


def test_the_encoder_must_be_the_same_and_be_fed_the_same(tmp_path):
    save(tmp_path / "other.safetensors", started(), settings())
    given = f"encoder_weights={tmp_path}/other.safetensors"
    text = refused(given, "model.encoder.backbone=test_resnet")
    assert text.startswith(f"encoder_weights: {tmp_path}/other.safetensors was trained with model.")
    assert "backbone='test_vit'" in text
    assert "backbone='test_resnet'" in text
    text = refused(given, "preprocess.fit=letterbox")
    assert "was trained with preprocess PreprocessConfig(height=32" in text
    assert text.endswith("; make preprocess the same.")


def test_a_run_starts_from_a_checkpoint_with_its_tokenizer(tmp_path, sources):
    model = started("model.decoder.dropout=0.5")
    path = tmp_path / "other.safetensors"
    save(path, model, settings("model.decoder.dropout=0.5"))
    on = settings(f"start_from={path}", "encoder_weights=absent.safetensors")
    taken = start_model(on, words=9).state_dict()
    assert all(torch.equal(taken[name], x) for name, x in model.state_dict().items())
    records, _ = load_sources(sources)
    assert choose_tokenizer(on, records).decode([4, 5]) == "A b"
    text = refused(f"start_from={path}", "model.decoder.layers=1")
    assert text.startswith(f"start_from: {path} was trained with model.decoder TransformerConfig(")


def test_a_damaged_checkpoint_says_so_itself(tmp_path):
    path = tmp_path / "other.safetensors"
    model = started()
    save(path, model, settings("model.decoder.width=32"))  # a header for other weights
    assert refused(f"encoder_weights={path}").startswith(
        f"{path}: its weights do not fit its settings: decoder.positions is (64, 64), "
        "the model needs (64, 32)"
    )


def test_missing_or_damaged_encoder_weights_are_refused(tmp_path):
    assert refused("encoder_weights=absent.safetensors") == (
        "encoder_weights is 'absent.safetensors', but there is no such file; give 'hub' for timm's "
        "pretrained weights, 'none' for random weights, or the path of a safetensors file."
    )
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x10" + bytes(20))
    assert refused(f"encoder_weights={broken}").startswith(
        f"encoder_weights: {broken} is not a complete safetensors file ("
    )


MINIMAL = """
name = "mine"
start_from = "{path}"
data.overlap = "allowed"
[[data.train]]
annotations = "captions.jsonl"
images = ["photos"]
[data.val]
annotations = "captions.jsonl"
images = ["photos"]
[[stages]]
name = "all"
epochs = 6
batch_size = 4
learning_rate = 2e-3
augment = false
"""


def minimal(tmp_path: Path, path: Path, *overrides: str) -> RunConfig:
    (tmp_path / "mine.toml").write_text(MINIMAL.format(path=path))
    return load_settings(tmp_path / "mine.toml", overrides)


def test_settings_default_to_those_of_the_start_from_checkpoint(tmp_path):
    other = settings("model.decoder.width=48", "search.beam=4", "preprocess.fit=letterbox")
    header = Header(
        name="other", model=other.model, preprocess=other.preprocess, search=other.search,
        tokenizer=Tokenizer.train_words(["a b c d e"], min_count=1),
    )  # fmt: skip
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, start_model(other, words=9), header, half=False)
    config = minimal(tmp_path, path)
    assert (config.model, config.preprocess) == (other.model, other.preprocess)
    assert config.search == other.search
    changed = minimal(tmp_path, path, "search.beam=2", "model.decoder.dropout=0.3")
    assert (changed.search.beam, changed.search.max_words) == (2, other.search.max_words)
    assert changed.model.decoder.dropout == 0.3
    start_model(changed, words=9)
    squashed = minimal(tmp_path, path, "preprocess.fit=squash")
    with pytest.raises(ConfigError, match=r"with preprocess .*; make preprocess the same"):
        start_model(squashed, words=9)
    another = minimal(tmp_path, path, "model.decoder={kind='lstm'}")
    with pytest.raises(ConfigError, match=r"was trained with model\.decoder TransformerConfig"):
        start_model(another, words=9)


def test_captions_follow_the_prompt_of_the_checkpoint_or_another(tmp_path):
    folder = foreign.write(foreign.blip(), tmp_path / "blip")
    words = read_header(folder).tokenizer

    def prefix(*overrides: str) -> list[int]:
        config = minimal(tmp_path, folder, "data.max_words=16", *overrides)
        return [*prompted_tokenizer(config, words).prefix]

    assert prefix() == [words.start_id, *words.encode("a picture of")]
    assert prefix("search.prompt=two dogs") == [words.start_id, *words.encode("two dogs")]
    assert prefix("search.prompt=''") == [words.start_id]
    with pytest.raises(ConfigError, match=r"^search\.prompt is '☃', which has a word that this "):
        prefix("search.prompt=☃")
    with pytest.raises(ConfigError, match=r"^search\.prompt is '<CAPTION>', a task of Flor"):
        prefix("search.prompt=<CAPTION>")
    with pytest.raises(ConfigError) as caught:
        prefix("data.max_words=38")
    assert str(caught.value) == (
        "data.max_words is 38 after a prompt of 3 tokens, but the decoder has positions for 39; "
        "lower it, or raise model.decoder.max_positions to 42."
    )


OWN = """
[[stages]]
name = "own"
objective = "cider"
begins_with = "last"
epochs = 2
batch_size = 4
learning_rate = 1e-3
augment = false
"""


def test_a_pretrained_captioner_is_fine_tuned_saved_and_captions(tmp_path, monkeypatch):
    """From words that people wrote, then from its own, behind its prompt."""
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path)
    folder = foreign.write(foreign.blip(), tmp_path / "blip")
    minimal(tmp_path, folder)
    with Path("mine.toml").open("a") as file:
        file.write(OWN)
    changes = ["data.max_words=32", "search.max_words=32"]
    changes += ["stages.0.epochs=40", "stages.0.learning_rate=5e-3"]
    assert train(["mine.toml", *(word for change in changes for word in ("--set", change))]) == 0
    header = read_header("runs/mine/last.safetensors")
    assert header.attention == read_header(folder).attention
    assert header.tokenizer.is_same(read_header(folder).tokenizer)
    assert header.trained_on["before"] == {"pretrained": "blip"}
    losses = [
        float(line.split("loss ")[1].split()[0])
        for line in Path("runs/mine/log.txt").read_text().splitlines()
        if "  loss " in line
    ]
    assert losses[-1] < 0.5 * losses[0]
    assert header.search.prompt == "a picture of"
    assert "CIDEr-D" in header.trained_on["rewards"]["own"]
    learned = TorchCaptioner.load("runs/mine/last.safetensors")
    said = {path.stem: learned.caption(path).text for path in Path("photos").iterdir()}
    told = {name: f"A {name.replace('-', ' ')} on a dark table" for name in said}
    assert sum(said[name] == told[name] for name in said) >= 6  # of eight


def test_a_tokenizer_whose_padding_is_its_end_is_refused(tmp_path):
    folder = foreign.write(foreign.vit_gpt2(), tmp_path / "vit-gpt2")
    with pytest.raises(ConfigError) as caught:
        choose_tokenizer(minimal(tmp_path, folder), [])
    assert str(caught.value) == (
        f"start_from: {folder} uses one token for both padding and the end of a caption, so the "
        "model could not learn to end captions; choose another checkpoint."
    )

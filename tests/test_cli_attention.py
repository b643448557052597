import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from captioner.cli import main
from captioner.config import AttentionConfig
from captioner.overlay import Style, render
from captioner.photo import load_reduced
from captioner.pytorch import TorchCaptioner


@pytest.fixture
def caption(capsys):
    """Run `captioner caption` in this process: exit status, lines on stdout, lines on stderr."""

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        status = main(["caption", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


def shown(line):
    words = json.loads(line)["words"]
    return [np.array(word["attention"]["weights"], np.float32) for word in words]


@pytest.mark.parametrize(
    ("options", "view"),
    [
        ([], {}),
        (["--layer", 1], {"layer": 1}),
        (["--head", 2], {"head": 2}),
        (["--layer", 1, "--head", 1], {"layer": 1, "head": 1}),
        (["--attention", "mean"], {"method": "mean"}),
        (["--attention", "rollout"], {"method": "rollout"}),
        (["--attention", "evidence"], {"method": "evidence"}),
    ],
)
def test_json_shows_the_attention_asked_for(caption, checkpoints, photos, options, view):
    status, lines, _ = caption(
        photos[0], "--checkpoint", checkpoints["transformer"], "--json", *options
    )
    assert status == 0
    expected = TorchCaptioner.load(checkpoints["transformer"]).caption(photos[0])
    expected = expected.with_view(AttentionConfig(**view))
    assert json.loads(lines[0])["view"] == expected.to_dict()["view"]
    for weights, word in zip(shown(lines[0]), expected.words, strict=True):
        assert_allclose(weights, word.attention, atol=1e-5, rtol=1.3e-6)


def test_the_overlay_shows_the_attention_asked_for(caption, checkpoints, photos, tmp_path):
    drawn = set()
    for head in (1, 2):
        folder = tmp_path / str(head)
        caption(
            photos[1], "--checkpoint", checkpoints["transformer"], "--overlay", folder,
            "--head", head,
        )  # fmt: skip
        drawn.add((folder / "strip.jpg.png").read_bytes())
    assert len(drawn) == 2


def test_the_overlay_is_drawn_in_the_style_asked_for(caption, checkpoints, photos, tmp_path):
    plain = TorchCaptioner.load(checkpoints["lstm"]).caption(photos[1])
    photo, _ = load_reduced(photos[1], at_least=(1920, 1920))
    for style, scale in (("heat", "caption"), ("spotlight", "word")):
        options = ("--overlay", tmp_path, "--style", style, "--scale", scale)
        assert caption(photos[1], "--checkpoint", checkpoints["lstm"], *options)[0] == 0
        expected = render(photo, plain, style=Style(drawing=style, scale=scale))
        assert (tmp_path / "strip.jpg.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("transformer", ["--layer", 3], "--layer is 3; the last layer is 2."),
        ("transformer", ["--head", 0], "--head is 0; heads are counted from 1."),
        (
            "lstm",
            ["--attention", "rollout"],
            "--attention is 'rollout', which needs a single Transformer, not an LSTM or an "
            "ensemble; choose 'layer'.",
        ),
    ],
)
def test_requesting_attention_that_a_model_lacks_is_an_error(
    caption, checkpoints, kind, options, problem
):
    photo = Path(__file__).parents[1] / "data" / "samples" / "cat.jpg"
    status, lines, errors = caption(photo, "--json", "--checkpoint", checkpoints[kind], *options)
    assert (status, lines) == (2, [])
    assert errors == [f"captioner: {problem}"]


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (["--style", "heat", "--json"], "--overlay"),
        (["--format", "gif"], "--overlay"),
        (["--scale", "caption"], "--overlay"),
        (["--layer", 1], "--overlay or --json"),
        (["--attention", "mean"], "--overlay or --json"),
    ],
)
def test_an_option_about_maps_that_nobody_sees_is_refused(caption, photos, options, needed):
    status, lines, errors = caption(photos[0], *options)
    assert (status, lines) == (2, [])
    assert errors == [f"captioner: {options[0]} has no effect without {needed}; leave it out."]


def test_attention_that_shows_nothing_is_pointed_out_beside_json_and_overlays(
    caption, checkpoints, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "captioner.result.diagnosis.diagnose", lambda words: [f"{len(words)} words"]
    )
    arguments = [photos[0], "--checkpoint", checkpoints["lstm"]]
    assert caption(*arguments)[2] == []
    for options in (["--json"], ["--overlay", tmp_path], ["--json", "--overlay", tmp_path]):
        (warning,) = caption(*arguments, *options)[2]
        assert warning.startswith(f"captioner: {photos[0]}: ")

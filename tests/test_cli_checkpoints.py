import json
import re
import shutil

import pytest

from captioner.checkpoint import shipped
from captioner.checkpoint.known import KNOWN
from tests.test_cli import call


@pytest.fixture
def two_shipped(checkpoints, tmp_path, monkeypatch):
    for name, kind in (("vit-tiny-transformer", "transformer"), ("a-toy", "lstm")):
        folder = tmp_path / "captioner" / "checkpoints" / name
        folder.mkdir(parents=True)
        shutil.copy(checkpoints[kind], folder / "model.safetensors")
    monkeypatch.setattr(
        shipped, "__file__", str(tmp_path / "captioner" / "checkpoint" / "shipped.py")
    )


def test_checkpoints_are_listed_for_people(two_shipped, capsys):
    status, lines, errors = call(capsys, "checkpoints")
    assert (status, errors) == (0, [])
    assert re.fullmatch(
        r"vit-tiny-transformer: transformer on test_vit, 0\.\d M parameters, "
        r"91 photos a second on 2 cores",
        lines[0],
    )
    assert lines[1] == "    toys: BLEU-4 25.0, CIDEr 50.0"
    assert lines[2].startswith("a-toy: lstm on test_resnet, ")
    assert lines[2].endswith(" M parameters, speed unknown")
    assert lines[3].startswith(f"{next(iter(KNOWN))}: hf:")
    assert len(lines) == 3 + 2 * len(KNOWN)


def test_checkpoints_are_listed_as_json(two_shipped, capsys):
    status, lines, errors = call(capsys, "checkpoints", "--json")
    assert (status, errors, len(lines)) == (0, [], 1)
    first, second, *known = json.loads(lines[0])
    assert [each["name"] for each in known] == list(KNOWN)
    assert list(first) == ["name", "decoder", "encoder", "parameters", "scores", "speed"]
    assert first | {"parameters": 0} == {
        "name": "vit-tiny-transformer",
        "decoder": "transformer",
        "encoder": "test_vit",
        "parameters": 0,
        "scores": {"toys": {"BLEU-4": 0.25, "CIDEr": 0.5}},
        "speed": {"photos_per_second": 90.9, "cores": 2},
    }
    assert second["speed"] is None
    assert {each["name"]: each["speed"] for each in known if each["speed"]} == {
        "blip-base": {"photos_per_second": 0.62, "cores": 1},
        "git-base-coco": {"photos_per_second": 1.3, "cores": 1},
    }
    assert second["parameters"] > 300_000


def test_a_checkpoint_is_taken_by_name(two_shipped, capsys, photos):
    _, lines, _ = call(capsys, "caption", photos[0], "--json")
    assert json.loads(lines[0])["checkpoint"] == "toy-transformer"
    _, lines, _ = call(capsys, "caption", photos[0], "--json", "--checkpoint", "a-toy")
    assert json.loads(lines[0])["checkpoint"] == "toy-lstm"


def test_a_copy_without_checkpoints_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        shipped, "__file__", str(tmp_path / "captioner" / "checkpoint" / "shipped.py")
    )
    monkeypatch.setattr("captioner.checkpoint.known.KNOWN", {})
    assert call(capsys, "checkpoints") == (0, [], ["captioner: this copy holds no checkpoints."])
    assert call(capsys, "checkpoints", "--json") == (0, ["[]"], [])
    status, _, errors = call(capsys, "caption", "x.jpg")
    assert (status, len(errors)) == (2, 1)
    assert "this copy of captioner has none" in errors[0]

import json
import sys

import numpy as np
import pytest
from shapes import write_shapes

from captioner.checkpoint.header import read_header
from captioner.config import AttentionConfig
from captioner.onnx.runner import OnnxCaptioner
from captioner.pytorch import TorchCaptioner
from training.release import main


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    write_shapes(tmp_path)
    monkeypatch.setenv("PATH", "")  # no Java, whose tables take long to load
    return tmp_path


def test_a_release_carries_what_was_measured_and_captions_as_before(checkpoints, shapes, capsys):
    given = ["--annotations", shapes / "captions.jsonl", "--images", shapes / "photos"]
    search = ["--split", "train", "--beam", 2, "--length-penalty", 0.5, "--attention", "evidence"]
    arguments = [checkpoints["lstm"], *given, *search, "--folder", shapes / "shipped"]
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capsys.readouterr()
    assert "METEOR is left out: " in err
    report = json.loads(out)
    header = read_header(checkpoints["lstm"])
    released = shapes / "shipped" / header.name / "model.safetensors"
    assert read_header(released).scores["train"] == report
    assert (read_header(released).search.beam, read_header(released).search.length_penalty) == (
        2,
        0.5,
    )
    assert read_header(released).attention == AttentionConfig(method="evidence")
    rows = json.loads((released.parent / "train_captions.json").read_text())
    photo = next(iter(sorted((shapes / "photos").iterdir())))
    assert len(rows) == report["images"]
    for runtime in (TorchCaptioner, OnnxCaptioner):
        caption = runtime.load(released).caption(photo)
        assert caption.text in {row["caption"] for row in rows}
        assert caption.view == AttentionConfig(method="evidence")
        for word in caption.words:
            np.testing.assert_allclose(word.attention, word.evidence, rtol=1e-5)


def test_a_release_goes_by_the_name_it_is_given(checkpoints, shapes):
    given = ["--annotations", shapes / "captions.jsonl", "--images", shapes / "photos"]
    arguments = [checkpoints["lstm"], *given, "--split", "train", "--folder", shapes, "--name", "b"]
    assert main([str(argument) for argument in arguments]) == 0
    assert read_header(shapes / "b" / "model.safetensors").name == "b"


def test_what_cannot_be_exported_fails_before_the_measuring(
    checkpoints, shapes, monkeypatch, capsys
):
    given = ["--annotations", shapes / "captions.jsonl", "--images", shapes / "photos"]
    arguments = [checkpoints["lstm"], *given, "--split", "train", "--folder", shapes / "shipped"]
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr("training.release.evaluate", lambda *_, **__: pytest.fail("measured"))
    assert main([str(argument) for argument in arguments]) == 1
    assert capsys.readouterr().err == (
        'error: Exporting needs onnxscript: pip install "captioner[export]"\n'
    )
    assert not list((shapes / "shipped").rglob("*.safetensors"))


def test_a_run_that_does_not_exist_is_named(shapes, capsys):
    given = ["--annotations", str(shapes / "captions.jsonl"), "--images", str(shapes / "photos")]
    assert main(["runs/none.safetensors", *given]) == 1
    assert capsys.readouterr().err == (
        "error: runs/none.safetensors: no such checkpoint file; check the path.\n"
    )

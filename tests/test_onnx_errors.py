"""What is wrong with an export is said, and nothing half-done is left."""

import json
import shutil
import sys

import pytest

from captioner.checkpoint.files import DESCRIPTION, ENCODER, GRAPHS, STEP, WEIGHTS
from captioner.errors import CaptionerError, CheckpointError, MissingExtraError
from captioner.onnx import OnnxCaptioner
from captioner.onnx.export import export_onnx


def broken(exports, folder, name, content):
    shutil.copytree(exports["lstm"], folder, dirs_exist_ok=True)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        OnnxCaptioner.load(folder / STEP)
    return str(caught.value).removeprefix(f"{folder / name}: ")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (ENCODER, None, "no such file; export the checkpoint again."),
        (STEP, "not a graph", "onnxruntime cannot read it ("),
        (DESCRIPTION, "{", "cannot be read (Expecting "),
        (DESCRIPTION, "[]", "has format None, but this version reads format 2; export again"),
        (
            DESCRIPTION,
            '{"format": 1}',
            "has format 1, but this version reads format 2; export again",
        ),
        (DESCRIPTION, '{"format": 2}', "damaged (KeyError: "),
        (WEIGHTS, "not weights", "not a whole safetensors file ("),
    ],
)
def test_a_broken_export_is_named(exports, tmp_path, name, content, problem):
    assert broken(exports, tmp_path, name, content).startswith(problem)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"grid": [3]}, "damaged (ValueError: "),
        ({"memory": None}, "damaged (TypeError: "),
        (
            {"borrowed": {graph: [] for graph in GRAPHS} | {STEP: ["decoder.none"]}},
            f"/{STEP}: onnxruntime cannot read it",
        ),
        (
            {"past": ["past_0", "past_7"]},
            f"/{STEP}: has no input 'past_7'; its files come from different exports; export again.",
        ),
    ],
)
def test_a_description_that_does_not_fit_is_named(exports, tmp_path, change, problem):
    table = json.loads((exports["lstm"] / DESCRIPTION).read_text(encoding="utf-8"))
    assert problem in broken(exports, tmp_path, DESCRIPTION, json.dumps(table | change))


def test_a_checkpoint_without_graphs_is_named_with_both_ways_out(checkpoints):
    with pytest.raises(CheckpointError) as error:
        OnnxCaptioner.load(checkpoints["lstm"])
    assert str(error.value) == (
        f"{checkpoints['lstm']}: has no ONNX graphs beside it; write them with "
        '`captioner export`, or caption with PyTorch: pip install "captioner[torch]"'
    )


def test_a_folder_that_cannot_be_written_is_named(checkpoints, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written: Not a directory"):
        export_onnx(checkpoints["lstm"], tmp_path / "file" / "export")


def test_missing_packages_are_errors_with_the_command_that_installs_them(
    checkpoints, exports, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r'onnxscript: pip install "captioner\[export\]"'):
        export_onnx(checkpoints["lstm"], tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"need onnxruntime: pip install onnxruntime"):
        OnnxCaptioner.load(exports["lstm"])


def test_an_export_far_from_torch_is_not_written(checkpoints, spare, tmp_path, monkeypatch):
    spare("lstm")
    monkeypatch.setattr("captioner.onnx.export.TOLERANCE", 1e-12)
    with pytest.raises(CaptionerError, match="the export would differ from PyTorch by "):
        export_onnx(checkpoints["lstm"], tmp_path)
    assert list(tmp_path.iterdir()) == []

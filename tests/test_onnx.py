"""Exports run without PyTorch and say what PyTorch says."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose

from captioner.checkpoint.files import DESCRIPTION, EVIDENCE, GRAPHS, STEP, WEIGHTS
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.errors import ConfigError
from captioner.onnx import OnnxCaptioner
from captioner.onnx.export import TOLERANCE, export_onnx
from captioner.onnx.files import borrow, int8, read_export, scale
from captioner.onnx.session import quantise
from captioner.photo.framing import prepare
from captioner.pipeline import Captioner
from captioner.pytorch import TorchCaptioner
from tests.exported import assert_same, traced
from tests.test_cli import call

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "data" / "samples").glob("*.jpg"))
SEARCHES = (
    {},
    {"method": "greedy"},
    {"beam": 1, "max_words": 1},
    {"beam": 5, "length_penalty": 1.0},
    {"beam": 3, "max_words": 3, "length_penalty": -0.5},
    {"beam": 3, "no_repeat": 1, "forbid": ("dog", "a man"), "no_end": ("a",)},
    {"beam": 2, "require": ("dog", "beach"), "no_repeat": 1},
    {"beam": 4, "groups": 2, "diversity": 1.0},
    {"beam": 3, "prompt": "a man"},
)


# The graphs


def test_the_graphs_take_any_number_of_images_hypotheses_and_words(kind, checkpoints, exports):
    model, header = load_checkpoint(checkpoints[kind])
    runner = OnnxCaptioner.load(exports[kind])
    decoder = runner.decoder
    size = (header.preprocess.height, header.preprocess.width)
    for images, hypotheses in ((1, 1), (1, 4), (3, 2)):
        pixels = torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(5))
        with torch.inference_mode():
            features = model.encoder(pixels)
            photos = [SimpleNamespace(pixels=image) for image in pixels.numpy()]
            assert_allclose(found := runner.encode(photos), features, atol=1e-4)
            assert_allclose(runner.summarise(found), features.mean(dim=1), atol=1e-4)
            state, other = model.decoder.init_state(features), decoder.init_state(found)
            parents = torch.zeros(images, hypotheses, dtype=torch.long)
            state, other = state.reorder(parents), other.reorder(parents.numpy())
            for t in range(7):
                words = (torch.arange(images * hypotheses).reshape(images, -1) + 5 * t) % 21
                reading, state = model.decoder.step_with_attention(words, state)
                again, other = decoder.step_with_attention(words.numpy(), other)
                assert again.logits.shape == (images, hypotheses, 1, 21)
                for name, weights in reading._asdict().items():
                    if weights is None:
                        assert getattr(again, name) is None
                    else:
                        assert_allclose(getattr(again, name), weights, atol=1e-4)


def test_an_export_says_what_a_program_needs_to_run_it(kind, exports, tokenizer):
    table = json.loads((exports[kind] / DESCRIPTION).read_text(encoding="utf-8"))
    assert list(table) == ["format", "grid", "memory", "past", "seen", "borrowed", "quantised"]
    header = read_export(exports[kind]).header
    assert header.name == f"toy-{kind}"
    assert header.tokenizer.to_json() == tokenizer.to_json()
    states = {
        "transformer": ([10, 10], 1, 4, ["attention", "between_words"]),
        "lstm": ([3, 4], 2, 2, ["attention", "gate"]),
    }
    grid, memory, past, seen = states[kind]
    assert (table["grid"], table["seen"]) == (grid, seen)
    assert (len(table["memory"]), len(table["past"])) == (memory, past)
    names = sorted([DESCRIPTION, WEIGHTS, *GRAPHS, EVIDENCE])
    assert sorted(path.name for path in exports[kind].iterdir()) == names


# The runner


@pytest.mark.parametrize("changes", SEARCHES, ids=str)
def test_the_runner_says_what_the_captioner_says(kind, checkpoints, exports, photos, changes):
    runner = OnnxCaptioner.load(exports[kind])
    prepared = [runner.prepare(photo) for photo in photos]  # PyTorch would resize by itself
    expected = TorchCaptioner.load(checkpoints[kind], device="cpu").caption_batch(
        prepared, **changes
    )
    for found, other in zip(runner.caption_batch(photos, **changes), expected, strict=True):
        assert_same(found, other)
    assert_same(runner.caption(photos[1], **changes), expected[1])
    assert runner.caption_batch([]) == []


@pytest.mark.parametrize(
    "changes", [{"method": "beam"}, {"method": "greedy"}, {"method": "sample", "seed": 2}]
)
def test_a_stream_shows_what_the_captioner_shows(kind, changes, checkpoints, exports, photos):
    captioner = TorchCaptioner.load(checkpoints[kind], device="cpu")
    runner = OnnxCaptioner.load(exports[kind])
    prepared = runner.prepare(photos[1])
    found, expected = (list(model.stream(prepared, **changes)) for model in (runner, captioner))
    assert len(found) == len(expected) > 2
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert_same(found[-1], runner.caption(prepared, **changes))


def test_candidates_are_read_as_pytorch_reads_them(kind, checkpoints, exports, photos):
    runner = Captioner.load(exports[kind])
    assert isinstance(runner, OnnxCaptioner)
    photo = runner.prepare(photos[0])
    caption = runner.caption(photo, beam=4)
    assert len(caption.candidates) == 3
    found = runner.read_candidates(photo, caption)
    model = TorchCaptioner.load(checkpoints[kind], device="cpu")
    expected = model.read_candidates(photo, model.caption(photo, beam=4))
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


def test_a_runtime_is_chosen_by_name_or_by_what_is_loaded(checkpoints, exports, monkeypatch):
    monkeypatch.setattr("captioner.pipeline.has_gpu", lambda: False)
    assert isinstance(Captioner.load(checkpoints["lstm"]), TorchCaptioner)  # it has no graphs
    assert isinstance(Captioner.load(exports["lstm"]), OnnxCaptioner)
    assert isinstance(Captioner.load(exports["lstm"], precision="bfloat16"), TorchCaptioner)
    assert isinstance(Captioner.load(exports["lstm"], exports["lstm"]), TorchCaptioner)
    assert isinstance(Captioner.load(exports["lstm"], runtime="torch"), TorchCaptioner)
    monkeypatch.setattr("captioner.pipeline.has_gpu", lambda: True)
    assert isinstance(Captioner.load(exports["lstm"]), TorchCaptioner)
    assert isinstance(Captioner.load(exports["lstm"], device="cpu"), OnnxCaptioner)
    monkeypatch.setattr("captioner.pipeline.find_spec", lambda name: None)  # nothing is installed
    assert isinstance(Captioner.load(exports["lstm"]), OnnxCaptioner)
    with pytest.raises(ConfigError, match=r"runtime is 'tpu'; choose from auto, torch, onnx\."):
        Captioner.load(runtime="tpu")


def test_captions_may_come_without_words(kind, exports, photos):
    runner = OnnxCaptioner.load(exports[kind])
    whole, brief = runner.caption(photos[1]), runner.caption_batch(photos[1:2], words=False)[0]
    assert brief.words == () != whole.words
    assert (brief.text, brief.candidates) == (whole.text, whole.candidates)


def test_attention_comes_as_arrays_of_float32_that_sum_to_one(kind, exports, photos):
    caption = OnnxCaptioner.load(exports[kind]).caption(photos[0].read_bytes())
    assert caption.image is None
    for word in caption.words:
        assert isinstance(word.attention, np.ndarray)
        assert word.attention.dtype == word.heads.dtype == np.float32
        assert_allclose(word.heads.sum(axis=(-2, -1)), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["vit-tiny-transformer", "vit-tiny-lstm"])
def test_the_graphs_of_a_shipped_checkpoint_are_those_its_export_has_today(name, tmp_path):
    assert traced(ROOT / "checkpoints" / name / "model.safetensors", tmp_path) <= TOLERANCE
    ours, theirs = (read_export(folder) for folder in (tmp_path, ROOT / "checkpoints" / name))
    assert replace(ours, header=theirs.header) == theirs
    ours, theirs = (
        OnnxCaptioner.load(folder).caption_batch(SAMPLES)
        for folder in (tmp_path, ROOT / "checkpoints" / name)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("name", ["vit-tiny-transformer", "vit-tiny-lstm"])
def test_a_shipped_checkpoint_captions_photos_where_there_is_no_torch(name, tmp_path):
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'torchvision', 'timm'))\n"
        "from captioner.cli import main\n"
        "sys.exit(main(['caption', '--json', '--checkpoint', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, *SAMPLES],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    captioner = TorchCaptioner.load(ROOT / "checkpoints" / name / "model.safetensors", device="cpu")
    for line, photo in zip(done.stdout.splitlines(), SAMPLES, strict=True):
        prepared = prepare(photo, captioner.header.preprocess)  # resized without PyTorch, too
        found, expected = json.loads(line), captioner.caption(prepared).to_dict()
        assert {k: found[k] for k in ("image", "caption", "search", "view")} == {
            k: expected[k] for k in ("image", "caption", "search", "view")
        }
        assert found["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-4)
        for word, other in zip(found["words"], expected["words"], strict=True):
            assert word["word"] == other["word"]
            assert word["probability"] == pytest.approx(other["probability"], abs=1e-5)
            assert_allclose(word["attention"]["weights"], other["attention"]["weights"], atol=1e-4)


# The command


@pytest.mark.parametrize("place", ["", STEP, DESCRIPTION])
def test_the_command_captions_with_a_folder_or_a_file_of_it(
    place, capsys, checkpoints, exports, photos
):
    expected = call(capsys, "caption", *photos, "--checkpoint", checkpoints["lstm"])
    found = call(capsys, "caption", *photos, "--checkpoint", exports["lstm"] / place)
    assert found == expected


@pytest.mark.parametrize(
    "options",
    [
        ["--require", "beach", "--forbid", "dog", "--no-repeat", "1", "--no-end", "a"],
        ["--beam", "4", "--groups", "4", "--diversity", "2", "--length-penalty", "1"],
    ],
    ids=lambda options: options[0],
)
def test_the_command_searches_an_export_as_it_searches_a_checkpoint(
    options, capsys, checkpoints, exports, photos
):
    expected, found = (
        call(capsys, "caption", *photos, "--checkpoint", folder["lstm"], *options)
        for folder in (checkpoints, exports)
    )
    assert found == expected
    assert found[0] == 0


def test_the_command_draws_the_overlays_of_an_export(
    capsys, checkpoints, exports, photos, tmp_path
):
    drawn = []
    for checkpoint in (checkpoints["transformer"], exports["transformer"]):
        folder = tmp_path / str(len(drawn))
        arguments = ("--overlay", folder, "--attention", "rollout", "--format", "html")
        status, lines, _ = call(
            capsys, "caption", photos[0], "--checkpoint", checkpoint, *arguments
        )
        assert (status, len(lines)) == (0, 1)
        drawn.append((folder / f"{photos[0].name}.html").read_text(encoding="utf-8"))
    assert abs(len(drawn[0]) - len(drawn[1])) < 0.01 * len(drawn[0])


def test_eight_bits_come_from_the_same_weights_and_stay_near_the_others(exports, photos):
    whole, rounded = (
        OnnxCaptioner.load(exports["transformer"], precision=name) for name in ("float32", "int8")
    )
    prepared = [whole.prepare(photo) for photo in photos]
    exact, near = whole.encode(prepared), rounded.encode(prepared)
    off = np.linalg.norm(exact - near) / np.linalg.norm(exact)
    assert 1e-4 < off < 0.1  # it is another arithmetic, and not noise


def test_a_matrix_in_eight_bits_has_a_scale_per_row_and_is_rounded_to_the_nearest():
    matrix, scales = quantise(np.array([[1.27, -0.004, 0.006], [0, 0, 0]], np.float16))
    assert (matrix.dtype, matrix.tolist()) == (np.int8, [[127, 0, 1], [0, 0, 0]])
    assert scales[0] == pytest.approx(0.01, rel=1e-3)


def test_a_graph_in_eight_bits_borrows_matrices_with_their_scales(exports):
    export = read_export(exports["transformer"])
    graph = onnx.load(exports["transformer"] / GRAPHS[1], load_external_data=False).graph
    names = {tensor.name for tensor in graph.initializer}
    assert export.quantised
    for matrix in export.quantised:
        assert {int8(matrix), scale(matrix)} < names
        assert borrow(matrix) not in names


def test_the_command_exports_and_tells_how_near_it_is(capsys, checkpoints, photos, spare, tmp_path):
    spare("transformer")
    folder = tmp_path / "new" / "export"
    status, lines, errors = call(
        capsys, "export", "--onnx", checkpoints["transformer"], "--output", folder
    )
    assert (status, lines, len(errors)) == (0, [str(folder)], 1)
    assert errors[0].startswith("captioner: logits and attention differ from PyTorch by ")
    arguments = ("--checkpoint", folder, "--precision", "int8")
    status, lines, _ = call(capsys, "caption", photos[0], *arguments)
    assert (status, len(lines)) == (0, 1)


def test_graphs_hold_no_weights_and_take_those_of_the_checkpoint_beside_them(
    kind, checkpoints, exports, photos, tmp_path
):
    for name in (*GRAPHS, EVIDENCE):
        assert (exports[kind] / name).stat().st_size < 200_000
    assert filecmp.cmp(exports[kind] / WEIGHTS, checkpoints[kind], shallow=False)
    shutil.copytree(exports[kind], tmp_path, dirs_exist_ok=True)
    model, header = load_checkpoint(checkpoints[kind])
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(0.5)
    save_checkpoint(tmp_path / WEIGHTS, model, replace(header, name="x"), half=False)
    expected = TorchCaptioner.load(tmp_path / WEIGHTS, device="cpu").caption(photos[0])
    assert_same(OnnxCaptioner.load(tmp_path).caption(photos[0]), expected)


def test_an_export_may_lie_beside_its_own_checkpoint(checkpoints, spare, tmp_path):
    spare("lstm")
    shutil.copy(checkpoints["lstm"], tmp_path / WEIGHTS)
    before = (tmp_path / WEIGHTS).stat()
    export_onnx(tmp_path / WEIGHTS, tmp_path)
    after = (tmp_path / WEIGHTS).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [DESCRIPTION, WEIGHTS, *GRAPHS, EVIDENCE]
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["export", "nothing", "--onnx", "--output", "x"], "No checkpoint is called 'nothing'"),
        (["export", "nothing", "--output", "x"], "the following arguments are required: --onnx"),
        (
            ["caption", "x.jpg", "--checkpoint", "no/step.onnx"],
            "no/model.safetensors: no such checkpoint file; ",
        ),
    ],
)
def test_an_invalid_command_is_a_usage_error(capsys, arguments, problem):
    status, lines, errors = call(capsys, *arguments)
    assert (status, lines) == (2, [])
    assert problem in errors[-1]


def test_what_onnxruntime_cannot_do_is_refused_with_the_way_out(capsys, exports):
    arguments = ("--checkpoint", exports["lstm"], "--runtime", "onnx")
    for option, problem in (
        (("--device", "cuda"), "device 'cuda' needs PyTorch; choose auto or cpu for onnx."),
        (
            ("--precision", "bfloat16"),
            "precision is 'bfloat16'; choose from auto, float32, int8 for onnx.",
        ),
        (
            ("--checkpoint", exports["lstm"]),
            'Ensembles need PyTorch: pip install "captioner[torch]", and leave --runtime to auto.',
        ),
    ):
        found = call(capsys, "caption", "x.jpg", *arguments, *option)
        assert found == (2, [], [f"captioner: {problem}"])

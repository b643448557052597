"""Exports run without PyTorch and say what PyTorch says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import config
from numpy.testing import assert_allclose

from captioner.candidates import Candidates
from captioner.checkpoint import load_checkpoint
from captioner.config import SearchConfig
from captioner.errors import CaptionerError, CheckpointError, ConfigError, MissingExtraError
from captioner.onnx import OnnxCaptioner
from captioner.onnx.decoder import Glimpse, OnnxDecoder
from captioner.onnx.export import TOLERANCE, compare, export_onnx
from captioner.onnx.files import DESCRIPTION, IMAGE, STEP, read_export
from captioner.onnx.graphs import Names
from captioner.onnx.search import search as numpy_search
from captioner.pipeline import Captioner
from captioner.search import search as torch_search
from tests.test_cli import call
from tests.toys import END, GARDEN, SPECIALS, START, A, B, C, TableDecoder

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "data" / "samples").glob("*.jpg"))
SEARCHES = (
    {},
    {"method": "greedy"},
    {"beam": 1, "max_words": 1},
    {"beam": 5, "length_penalty": 1.0},
    {"beam": 3, "max_words": 3, "length_penalty": -0.5},
)


@pytest.fixture(scope="module")
def exports(checkpoints, tmp_path_factory):
    """Folders of both toys' exports, by kind of decoder."""
    folder = tmp_path_factory.mktemp("exports")
    for kind, checkpoint in checkpoints.items():
        assert traced(checkpoint, folder / kind) <= TOLERANCE
    return {kind: folder / kind for kind in checkpoints}


def traced(checkpoint, folder):
    """Export without the checks of shapes, which are there in tests only and confuse tracing."""
    config.update("jaxtyping_disable", True)
    try:
        return export_onnx(checkpoint, folder)
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture
def spare(exports, monkeypatch):
    """Trace nothing again: `spare(kind)` lets an export take the graphs there are."""

    def take(kind):
        def copy(model, folder, *, size):
            for name in (IMAGE, STEP):
                shutil.copy(exports[kind] / name, folder / name)
            export = read_export(exports[kind])
            return Names(memory=export.memory, past=export.past, seen=export.seen)

        monkeypatch.setattr("captioner.onnx.export.write_graphs", copy)

    return take


@pytest.fixture(params=["transformer", "lstm"])
def kind(request):
    return request.param


def assert_same(found, expected):
    """Captions of both programs, by everything they say."""
    assert found.text == expected.text
    assert [c.tokens for c in found.candidates] == [c.tokens for c in expected.candidates]
    logs = [
        [x.log_probability for x in (caption, *caption.candidates)] for caption in (found, expected)
    ]
    assert_allclose(*logs, atol=1e-4)
    assert (found.geometry, found.search) == (expected.geometry, expected.search)
    assert (found.image, found.checkpoint) == (expected.image, expected.checkpoint)
    for word, other in zip(found.words, expected.words, strict=True):
        assert word.text == other.text
        assert word.probability == pytest.approx(other.probability, abs=1e-5)
        for name in ("attention", "heads", "rollout", "gate"):
            if getattr(other, name) is None:
                assert getattr(word, name) is None
            else:
                assert_allclose(getattr(word, name), getattr(other, name), atol=1e-4)


# The graphs


def test_the_graphs_take_any_number_of_images_hypotheses_and_words(kind, checkpoints, exports):
    model, header = load_checkpoint(checkpoints[kind])
    decoder = OnnxDecoder(exports[kind], read_export(exports[kind]))
    size = (header.preprocess.height, header.preprocess.width)
    for images, hypotheses in ((1, 1), (1, 4), (3, 2)):
        pixels = torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(5))
        with torch.inference_mode():
            state = model.decoder.init_state(model.encoder(pixels))
            other = decoder.init_state(pixels.numpy())
            parents = torch.zeros(images, hypotheses, dtype=torch.long)
            state, other = state.reorder(parents), other.reorder(parents.numpy())
            for t in range(7):
                words = (torch.arange(images * hypotheses).reshape(images, -1) + 5 * t) % 21
                reading, state = model.decoder.look(words, state)
                glimpse, other = decoder.step(words.numpy(), other)
                assert glimpse.logits.shape == (images, hypotheses, 21)
                assert_allclose(glimpse.logits, reading.logits[:, :, 0], atol=1e-4)
                assert_allclose(glimpse.attention, reading.attention[..., 0, :], atol=1e-4)


def test_an_export_says_what_a_program_needs_to_run_it(kind, exports, tokenizer):
    table = json.loads((exports[kind] / DESCRIPTION).read_text(encoding="utf-8"))
    assert list(table) == ["format", "checkpoint", "grid", "memory", "past", "seen", "int8"]
    assert table["checkpoint"]["name"] == f"toy-{kind}"
    assert json.dumps(table["checkpoint"]["tokenizer"]) == json.dumps(
        json.loads(tokenizer.to_json())
    )
    states = {
        "transformer": ([10, 10], 1, 4, ["attention", "between_words"]),
        "lstm": ([3, 4], 2, 2, ["attention", "gate"]),
    }
    grid, memory, past, seen = states[kind]
    assert (table["grid"], table["seen"]) == (grid, seen)
    assert (len(table["memory"]), len(table["past"])) == (memory, past)
    assert sorted(path.name for path in exports[kind].iterdir()) == [DESCRIPTION, IMAGE, STEP]


# The runner


@pytest.mark.parametrize("changes", SEARCHES, ids=str)
def test_the_runner_says_what_the_captioner_says(kind, checkpoints, exports, photos, changes):
    expected = Captioner.load(checkpoints[kind], device="cpu").caption_batch(photos, **changes)
    runner = OnnxCaptioner.load(exports[kind], threads=1)
    for found, other in zip(runner.caption_batch(photos, **changes), expected, strict=True):
        assert_same(found, other)
    assert_same(runner.caption(photos[1], **changes), expected[1])
    assert runner.caption_batch([]) == []


def test_attention_comes_as_arrays_of_float32_that_sum_to_one(kind, exports, photos):
    caption = OnnxCaptioner.load(exports[kind]).caption(photos[0].read_bytes())
    assert caption.image is None
    for word in caption.words:
        assert isinstance(word.attention, np.ndarray)
        assert word.attention.dtype == word.heads.dtype == np.float32
        assert_allclose(word.heads.sum(axis=(-2, -1)), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["vit-tiny-transformer", "vit-tiny-lstm"])
def test_a_shipped_checkpoint_captions_photos_where_there_is_no_torch(name, tmp_path):
    assert traced(ROOT / "checkpoints" / name / "model.safetensors", tmp_path) <= TOLERANCE
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'torchvision', 'timm'))\n"
        "from captioner.cli import main\n"
        "sys.exit(main(['caption', '--json', '--checkpoint', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, *SAMPLES],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    captioner = Captioner.load(ROOT / "checkpoints" / name / "model.safetensors", device="cpu")
    for line, photo in zip(done.stdout.splitlines(), SAMPLES, strict=True):
        found, expected = json.loads(line), captioner.caption(photo).to_dict()
        assert {k: found[k] for k in ("image", "caption", "search", "view")} == {
            k: expected[k] for k in ("image", "caption", "search", "view")
        }
        assert found["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-4)
        for word, other in zip(found["words"], expected["words"], strict=True):
            assert word["word"] == other["word"]
            assert word["probability"] == pytest.approx(other["probability"], abs=1e-5)
            assert_allclose(word["attention"]["weights"], other["attention"]["weights"], atol=1e-4)


# The search


class Wrapped:
    """A decoder of torch, as the NumPy search asks it."""

    def __init__(self, decoder):
        self.decoder = decoder

    def step(self, words, state):
        logits, grown = self.decoder.step(torch.from_numpy(words), state.inner)
        nowhere = np.zeros((*words.shape, 1, 1, 1))
        return Glimpse(logits.numpy(), attention=nowhere), WrappedState(grown)


class WrappedState:
    def __init__(self, inner):
        self.inner = inner
        self.memory = inner.memory

    def reorder(self, parents):
        return WrappedState(self.inner.reorder(torch.from_numpy(parents)))

    def select(self, images):
        return WrappedState(self.inner.select(torch.from_numpy(images)))


def random_table(seed):
    """Probabilities of what follows any three words, some of them zero."""
    draw = np.random.default_rng(seed)
    table = {}
    histories = [()]
    for _ in range(4):
        for history in histories:
            shares = draw.random(4) * (draw.random(4) < 0.8) + [0, 0, 0, 1e-6]
            table[history] = dict(zip((A, B, C, END), shares / shares.sum(), strict=True))
        histories = [(*history, word) for history in histories for word in (A, B, C)]
    return table


def both_searches(decoder, settings):
    marks = {"config": settings, "start_id": START, "end_id": END, "forbidden": SPECIALS}
    images = decoder.images()
    state = WrappedState(decoder.init_state(images))
    found = [item.candidates for item in numpy_search(Wrapped(decoder), state, **marks)]
    return found, torch_search(decoder, images, **marks)


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.7, 2.0])
@pytest.mark.parametrize("max_words", [1, 2, 4])
@pytest.mark.parametrize("beam", [0, 1, 2, 3, 7])
def test_the_search_in_numpy_finds_what_the_search_finds(beam, max_words, penalty):
    decoder = TableDecoder(GARDEN, *(random_table(seed) for seed in range(12)))
    settings = SearchConfig(
        method="beam" if beam else "greedy",
        beam=max(1, beam),
        max_words=max_words,
        length_penalty=penalty,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        found, expected = both_searches(decoder, settings)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Candidates)
        assert (one.words, one.finished) == (other.words, other.finished)
        for name in ("log_probability", "score"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
        for logs, expected_logs in zip(one.log_probabilities, other.log_probabilities, strict=True):
            assert logs == pytest.approx(expected_logs, abs=1e-5)


def test_sampling_is_refused(exports, photos):
    with pytest.raises(ConfigError) as caught:
        OnnxCaptioner.load(exports["lstm"]).caption(photos[0], method="sample")
    assert str(caught.value) == (
        "search.method is 'sample'; an ONNX export knows beam and greedy search."
    )


# The command


@pytest.mark.parametrize("place", ["", STEP, DESCRIPTION])
def test_the_command_captions_with_a_folder_or_a_file_of_it(
    place, capsys, checkpoints, exports, photos
):
    expected = call(capsys, "caption", *photos, "--checkpoint", checkpoints["lstm"])
    found = call(capsys, "caption", *photos, "--checkpoint", exports["lstm"] / place)
    assert found == expected


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


def test_the_command_exports_and_tells_how_near_it_is(capsys, checkpoints, photos, spare, tmp_path):
    spare("transformer")
    folder = tmp_path / "new" / "export"
    status, lines, errors = call(
        capsys, "export", "--onnx", checkpoints["transformer"], "--output", folder, "--int8"
    )
    assert (status, lines, len(errors)) == (0, [str(folder)], 1)
    assert errors[0].startswith("captioner: logits and attention differ from PyTorch by ")
    export = read_export(folder)
    assert export.int8
    model, _ = load_checkpoint(checkpoints["transformer"])
    off = compare(model, OnnxDecoder(folder, export), size=(160, 160), words=6)
    assert 1e-3 < off < 10  # it is another arithmetic, and not noise
    status, lines, _ = call(capsys, "caption", photos[0], "--checkpoint", folder)
    assert (status, len(lines)) == (0, 1)


def test_eight_bits_are_smaller(exports, checkpoints, spare, tmp_path):
    spare("lstm")
    export_onnx(checkpoints["lstm"], tmp_path, int8=True)
    assert (tmp_path / STEP).stat().st_size < 0.7 * (exports["lstm"] / STEP).stat().st_size


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["export", "nothing", "--onnx", "--output", "x"], "No checkpoint is called 'nothing'"),
        (["export", "nothing", "--output", "x"], "the following arguments are required: --onnx"),
        (["caption", "x.jpg", "--checkpoint", "no/step.onnx"], "no/captioner.json: no such file; "),
    ],
)
def test_a_command_that_makes_no_sense_is_a_usage_error(capsys, arguments, problem):
    status, lines, errors = call(capsys, *arguments)
    assert (status, lines) == (2, [])
    assert problem in errors[-1]


def test_another_device_is_refused(capsys, exports):
    status, lines, errors = call(
        capsys, "caption", "x.jpg", "--checkpoint", exports["lstm"], "--device", "cuda"
    )
    assert (status, lines) == (2, [])
    assert errors == [
        f"captioner: {exports['lstm']}: an ONNX export runs on the CPU; leave out --device."
    ]


# What is wrong with an export is said


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
        (IMAGE, None, "no such file; export the checkpoint again."),
        (STEP, "not a graph", "onnxruntime cannot read it ("),
        (DESCRIPTION, None, "no such file; an export is a folder of image.onnx, step.onnx and "),
        (DESCRIPTION, "{", "cannot be read (Expecting "),
        (DESCRIPTION, "[]", "of format None, and this captioner reads 1; export again"),
        (DESCRIPTION, '{"format": 2}', "of format 2, and this captioner reads 1; export again"),
        (DESCRIPTION, '{"format": 1}', "its header gives no format number"),
    ],
)
def test_a_broken_export_is_named(exports, tmp_path, name, content, problem):
    assert broken(exports, tmp_path, name, content).startswith(problem)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"grid": [3]}, "damaged (ValueError: "),
        ({"memory": None}, "damaged (TypeError: "),
        ({"past": ["past_0", "past_7"]}, f"/{STEP}: has no input 'past_7'; its files belong to "),
    ],
)
def test_a_description_that_does_not_fit_is_named(exports, tmp_path, change, problem):
    table = json.loads((exports["lstm"] / DESCRIPTION).read_text(encoding="utf-8"))
    assert problem in broken(exports, tmp_path, DESCRIPTION, json.dumps(table | change))


def test_what_is_no_export_is_told(checkpoints):
    with pytest.raises(CheckpointError, match="no such file; an export is a folder of image"):
        OnnxCaptioner.load(checkpoints["lstm"])


def test_a_folder_that_cannot_be_written_is_named(checkpoints, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written: Not a directory"):
        export_onnx(checkpoints["lstm"], tmp_path / "file" / "export")


def test_missing_packages_are_told_with_the_line_that_installs_them(
    checkpoints, exports, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r'onnxscript: pip install "captioner\[onnx\]"'):
        export_onnx(checkpoints["lstm"], tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'onnxruntime: pip install "captioner\[onnx\]"'):
        OnnxCaptioner.load(exports["lstm"])


def test_an_export_far_from_torch_is_not_written(checkpoints, spare, tmp_path, monkeypatch):
    spare("lstm")
    monkeypatch.setattr("captioner.onnx.export.TOLERANCE", 1e-12)
    with pytest.raises(CaptionerError, match="the export would differ from PyTorch by "):
        export_onnx(checkpoints["lstm"], tmp_path)
    assert list(tmp_path.iterdir()) == []

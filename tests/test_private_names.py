"""Each name in docs/private_names.md is taken away, to see that what is said there happens."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from captioner.errors import CaptionerError, ConfigError, ImageError
from captioner.folder.engines.cluster import cluster
from captioner.model import Encoder, encoder
from captioner.photo import faults, load_photo
from captioner.photo.draft import draft
from captioner.speed import packing
from tests.photos import encode, noise, turned

ROOT = Path(__file__).parent.parent
OF_PYTHON = {"_asdict", "_exit", "_fields", "_replace"}
"""Documented in spite of their underscore."""


def private_names(source: str) -> tuple[set[str], set[str]]:
    """Names with an underscore in front: what code defines, and what it takes from something."""
    tree = ast.parse(source)
    own, used = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) == "self":
                own.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and node.module:
            used |= {*node.module.split("."), *(alias.name for alias in node.names)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return own, {name for name in used if re.match(r"_[a-z]", name)}


def test_every_private_name_in_use_is_listed_with_what_happens_without_it():
    text = (ROOT / "docs" / "private_names.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert all(len(row) == 5 and all(row) for row in rows)
    listed: dict[str, set[str]] = {}
    for names, _, _, file, _ in rows:
        asked = {part for name in re.findall(r"`([^`]+)`", names) for part in name.split(".")}
        listed.setdefault(file, set()).update(asked)
        last = re.findall(r"(\w+)`", names)
        assert all(name in (ROOT / file).read_text(encoding="utf-8") for name in last), names
    files = [ROOT / "ui.py"]
    for folder in ("app", "benchmarks", "captioner", "data", "training"):
        files += (ROOT / folder).rglob("*.py")
    found = {
        str(file.relative_to(ROOT)): private_names(file.read_text(encoding="utf-8"))
        for file in files
    }
    ours = set().union(OF_PYTHON, *(own for own, _ in found.values()))
    for name, (_, used) in found.items():
        assert not used - ours - listed.get(name, set()), name


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("mkldnn", "_reorder_linear_weight"),
        ("mkldnn", "_linear_pointwise"),
        ("Tensor", "_version"),
    ],
)
def test_weights_are_packed_only_where_pytorch_has_what_packs_them(place, name, monkeypatch):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch without oneDNN")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert packing.pack(network) is not network
    names = {"_reorder_linear_weight", "_linear_pointwise", "_version"} - {name}
    rest = SimpleNamespace(**dict.fromkeys(names))
    owner = packing if place == "Tensor" else torch.ops
    monkeypatch.setattr(owner, place, rest)
    assert packing.pack(network) is network


@pytest.mark.parametrize("name", ["_python_dispatch", "_pytree"])
def test_a_benchmark_does_not_start_without_what_counts_its_tensors(name, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.delitem(sys.modules, "benchmarks.growth", raising=False)
    monkeypatch.setitem(sys.modules, f"torch.utils.{name}", None)
    with pytest.raises(ImportError, match=name):
        import_module("benchmarks.growth")


def test_an_encoder_whose_patches_timm_does_not_describe_is_the_same(monkeypatch):
    expected = Encoder("test_vit", size=(64, 96))
    monkeypatch.setattr(encoder, "_OF_PATCHES", (*encoder._OF_PATCHES, "renamed"))
    found = Encoder("test_vit", size=(64, 96))
    assert (found.grid, found.feature_dim) == (expected.grid, expected.feature_dim)
    with pytest.raises(ConfigError, match="'test_vit' cannot take 100x64 photos"):
        Encoder("test_vit", size=(100, 64))


def test_a_huge_jpeg_whose_layers_are_not_known_is_refused(monkeypatch):
    known, unknown = (JpegImageFile(BytesIO(encode(noise(48, 64), "JPEG"))) for _ in range(2))
    monkeypatch.setattr(faults, "MAX_PIXELS", 48 * 64 - 1)
    assert draft(known, (6, 8)) == 8
    del unknown.layer
    with pytest.raises(ImageError, match=r"64 x 48 is 0 megapixels, over the limit"):
        draft(unknown, (6, 8))


@pytest.mark.filterwarnings("ignore:Using JPEG reconstruction")
def test_a_jpeg_in_jpeg_xl_of_which_nothing_is_said_is_shown_unturned(tmp_path, monkeypatch):
    plugin = pytest.importorskip("pillow_jxl.JpegXLImagePlugin")
    path = tmp_path / "photo.jpg"
    path.write_bytes(turned(noise(48, 64), 6, "JPEG"))
    with Image.open(path) as photo:
        stored, packed = photo.size, encode(photo, "JXL")
    assert load_photo(packed).size == stored[::-1]
    whole = plugin.JXLImageFile

    def opened(stream):
        image = whole(stream)
        del image.jpeg
        return image

    monkeypatch.setattr(plugin, "JXLImageFile", opened)
    assert load_photo(packed).size == stored


@pytest.mark.parametrize("private", [{}, {"_private": SimpleNamespace(worker=SimpleNamespace())}])
def test_a_cluster_begins_also_where_rays_lines_cannot_be_held_back(private, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    calls = []
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **_: calls.append("init"),
        shutdown=lambda: calls.append("shutdown"),
        **private,
    )
    with cluster(ray):
        assert calls == ["init"]
    assert calls == ["init", "shutdown"]
    if private:
        assert ray._private.worker._worker_logs_enabled is False


def test_photos_come_as_files_also_where_gradio_reads_them_another_way(tmp_path):
    pytest.importorskip("gradio")
    noise(6, 4).save(tmp_path / "photo.png")
    script = (
        "import gradio as gr\n"
        "from gradio.data_classes import ImageData\n"
        "plain = gr.Image.preprocess\n"
        "from app.controls import photo_input\n"
        "made = photo_input(label='photo')\n"
        "gr.Image.preprocess = plain\n"
        f"print(made.preprocess(ImageData(path={str(tmp_path / 'photo.png')!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path / "photo.png"), done.stderr


def test_addresses_are_fetched_by_gradio_alone_where_its_way_is_not_known(monkeypatch):
    gradio = pytest.importorskip("gradio")
    controls = pytest.importorskip("app.controls")
    monkeypatch.setattr(controls, "_fetch", None)
    monkeypatch.setattr(gradio.Image, controls._FETCH, "Gradio's own")
    controls.photo_input(label="photo")
    assert getattr(gradio.Image, controls._FETCH) == "Gradio's own"


def test_requests_are_answered_by_gradio_alone_where_its_way_is_not_known():
    requests = pytest.importorskip("app.validation")
    app = SimpleNamespace()
    requests.explain_invalid_requests(app)
    assert vars(app) == {}


def test_meteor_scores_and_fails_also_where_its_program_is_not_known(monkeypatch):
    meteor = pytest.importorskip("pycocoevalcap.meteor.meteor")
    official = pytest.importorskip("training.scoring.official")
    monkeypatch.setattr(meteor, "Meteor", lambda: SimpleNamespace(compute_score=compute))

    def compute(references, candidates):
        if not candidates:
            raise ValueError("no line")
        return 0.5, [0.5]

    assert official._meteor({1: ["a dog"]}, {1: ["a dog"]}) == 0.5
    with pytest.raises(CaptionerError, match="METEOR's Java program failed: no line"):
        official._meteor({}, {})

"""The wheel: what is in it, and that it captions a photo far from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from captioner.checkpoint.files import EVIDENCE, GRAPHS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*build, "--wheel-dir", folder], cwd=ROOT, check=True, capture_output=True, text=True
    )
    (found,) = folder.glob("captioner-*.whl")
    return found


def test_the_wheel_holds_the_package_and_both_checkpoints_with_their_graphs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    weights = [name for name in names if name.endswith((".safetensors", ".onnx"))]
    assert {top for top in tops if not top.endswith(".dist-info")} == {"captioner"}
    assert sorted(weights) == [
        f"captioner/checkpoints/{name}/{file}"
        for name in ("vit-tiny-lstm", "vit-tiny-transformer")
        for file in sorted(("model.safetensors", *GRAPHS, EVIDENCE))
    ]


def test_an_installed_wheel_captions_a_photo_without_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    photo = ROOT / "data" / "samples" / "cat.jpg"
    found = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", photo],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert len(found.stdout.split()) > 2
    assert found.stderr == ""

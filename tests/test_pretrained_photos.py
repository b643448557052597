"""Photos of pretrained captioners are prepared as their own programs prepare them."""

import json
from pathlib import Path

import pytest
import transformers
from torch.testing import assert_close

from captioner.checkpoint.header import read_header
from captioner.photo import load_photo
from captioner.photo.preprocess import preprocess
from tests import foreign
from tests.photos import noise
from tests.test_preprocess import SAMPLES
from tests.test_pretrained_files import problem


@pytest.fixture
def folder(tmp_path) -> Path:
    return foreign.write(foreign.blip(), tmp_path / "blip")


def test_git_sees_the_middle_as_transformers_clip_does(tmp_path):
    folder = foreign.write(foreign.git(), tmp_path / "git")
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64)
    usual = read_header(folder).preprocess
    processor.save_pretrained(folder)
    assert read_header(folder).preprocess == usual
    for photo in (noise(300, 200), noise(70, 90)):
        theirs = processor(photo, return_tensors="pt")["pixel_values"][0]
        assert_close(preprocess(photo, usual)[0], theirs, rtol=0, atol=1e-6)


def test_pixels_are_those_of_transformers_blip(folder):
    processor = transformers.BlipImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(folder)
    config = read_header(folder).preprocess
    for photo in (
        noise(300, 200),
        load_photo(SAMPLES / "coffee.jpg").resize((380, 250)),
        noise(31, 50),
    ):
        theirs = processor(photo, return_tensors="pt")["pixel_values"][0]
        assert_close(preprocess(photo, config)[0], theirs, rtol=0, atol=1e-6)


def test_pixels_are_those_of_transformers_vit(folder):
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(folder)
    photo = noise(300, 200)
    theirs = processor(photo, return_tensors="pt")["pixel_values"][0]
    assert_close(preprocess(photo, read_header(folder).preprocess)[0], theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": 64, "resample": 2}, {"interpolation": "bilinear", "fit": "squash"}),
        ({"size": {"height": 64, "width": 64}, "resample": 1}, {"interpolation": "lanczos"}),
        (
            {"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": 64},
            {"fit": "crop", "height": 64},
        ),
        ({"do_normalize": False, "image_mean": [0.1, 0.2, 0.3]}, {"mean": (0, 0, 0)}),
        ({"image_std": [0.1, 0.2, 0.3]}, {"std": (0.1, 0.2, 0.3)}),
    ],
)
def test_old_and_new_files_of_processors_are_read(folder, settings, expected):
    for name in ("preprocessor_config.json", "processor_config.json"):
        table = settings if name.startswith("pre") else {"image_processor": settings}
        (folder / name).write_text(json.dumps(table))
        config = read_header(folder).preprocess
        assert {name: getattr(config, name) for name in expected} == expected
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 96}, "input size is 96x96 pixels, but the model expects 64x64."),
        ({"do_resize": False}, "do_resize is off, which is not supported."),
        ({"resample": 0}, "damaged or unsupported (KeyError: 0)."),
        ({"size": "large"}, "damaged or unsupported (ValueError: "),
        ({"size": {"shortest_edge": 64}}, "photos are resized to {'shortest_edge': 64} without"),
        (
            {"size": {"shortest_edge": 72}, "do_center_crop": True, "crop_size": 64},
            "photos are resized to {'shortest_edge': 72} and cropped to (64, 64); only a",
        ),
        ({"image_std": [0, 1, 1]}, "preprocess.std is"),
    ],
)
def test_unsupported_preprocessing_is_refused(folder, settings, message):
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    assert message in problem(folder, read_header)

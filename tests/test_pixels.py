from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.photo import load_photo
from captioner.preprocess import preprocess
from data.pixels import load_for, to_input
from tests.photos import encode, noise, turned

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "samples").glob("*.jpg"))
LEVEL = 1 / 255
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def difference(photo: Image.Image, config: PreprocessConfig) -> torch.Tensor:
    """Between what the captioner and what the trainer makes of a photo, in levels."""
    pixels, geometry = to_input(photo, config)
    expected, where = preprocess(photo, config)
    assert geometry == where
    assert pixels.is_contiguous()
    return (pixels - expected).abs() / LEVEL


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    fit=st.sampled_from(["squash", "letterbox"]),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
@settings(deadline=None, max_examples=60)
def test_any_photo_is_within_two_levels_of_what_the_captioner_sees(
    height, width, fit, interpolation
):
    config = PreprocessConfig(height=32, width=48, fit=fit, interpolation=interpolation, **PLAIN)
    assert difference(noise(height, width), config).max() <= 2 + 1e-4


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_of_a_real_photo_hardly_a_pixel_differs(path):
    levels = difference(load_photo(path), PreprocessConfig(**PLAIN))
    assert levels.max() <= 1 + 1e-4
    assert levels.mean() < 0.01


def test_brightness_is_normalised_alike():
    photo = load_photo(SAMPLES[0])
    config = PreprocessConfig()
    expected, _ = preprocess(photo, config)
    torch.testing.assert_close(
        to_input(photo, config)[0], expected, atol=1.01 * LEVEL / min(config.std), rtol=0
    )


def test_padding_is_not_recoloured():
    config = PreprocessConfig(height=32, width=32, fit="letterbox")
    pixels, _ = to_input(noise(64, 128), config, recolour=lambda seen: 1 - seen)
    plain, _ = to_input(noise(64, 128), config)
    assert (pixels[:, :8] == 0).all()
    assert (pixels[:, 24:] == 0).all()
    assert not torch.equal(pixels[:, 8:24], plain[:, 8:24])


def test_a_large_jpeg_is_decoded_no_larger_than_asked_for():
    content = encode(Image.new("RGB", (1600, 1200), "red"), "JPEG")
    config = PreprocessConfig(height=100, width=100)
    assert load_for(content, config, name="red").size == (400, 300)
    assert load_for(content, config, name="red", spare=1.2).size == (400, 300)
    assert load_for(content, config, name="red", spare=1.6).size == (800, 600)
    small = PreprocessConfig(height=100, width=180)  # what lies on its side is measured upright
    lying = turned(Image.new("RGB", (1600, 1200)), 6, "JPEG")
    assert load_for(lying, small, name="lying").size == (400, 300)


def test_a_large_photo_as_the_trainer_sees_it_is_close_to_all_its_pixels():
    photo = load_photo(SAMPLES[0]).resize((1600, 1600), Image.Resampling.BICUBIC)
    content = encode(photo, "JPEG", quality=95)
    config = PreprocessConfig(**PLAIN)
    seen, _ = to_input(load_for(content, config, name="photo"), config)
    whole = load_photo(content).resize((224, 224), Image.Resampling.BICUBIC)
    levels = (seen - torch.from_numpy(np.array(whole)).permute(2, 0, 1) / 255).abs() / LEVEL
    assert levels.max() <= 3
    assert levels.mean() < 0.5

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.photo import load_photo
from captioner.photo.preprocess import preprocess
from data.pixels import load_for, to_input
from tests.photos import encode, noise, turned

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "samples").glob("*.jpg"))
LEVEL = 1 / 255
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def test_a_photo_is_what_the_captioner_sees_unless_it_is_recoloured():
    photo = load_photo(SAMPLES[0])
    for config in (PreprocessConfig(), PreprocessConfig(fit="letterbox", height=160)):
        expected, geometry = preprocess(photo, config)
        for recolour in (None, lambda seen: seen):
            pixels, where = to_input(photo, config, recolour=recolour)
            assert torch.equal(pixels, expected)
            assert where == geometry


def test_recolouring_sees_the_brightness_of_the_resized_photo():
    config = PreprocessConfig(height=32, width=48, **PLAIN)
    seen = []

    def darken(brightness):
        seen.append(brightness)
        return brightness / 2

    photo = noise(64, 128)
    darker, _ = to_input(photo, config, recolour=darken)
    plain, _ = preprocess(photo, config)
    torch.testing.assert_close(seen[0], plain)
    assert (darker - plain / 2).abs().max() <= 0.51 * LEVEL


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
    assert load_for(content, config, name="red").size == (200, 150)
    assert load_for(content, config, name="red", spare=1.2).size == (400, 300)
    assert load_for(content, config, name="red", spare=2.1).size == (800, 600)
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
    assert levels.max() < 10.01
    assert levels.mean() < 0.5

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from transformers import CLIPImageProcessor

from captioner.config import PreprocessConfig
from captioner.errors import ConfigError
from captioner.photo import load_photo, load_reduced
from captioner.photo.framing import frame, resize_with_pillow
from captioner.photo.preprocess import Geometry, preprocess
from tests.photos import TURNS, noise, region_box, turned

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZES = [(224, 224), (301, 517), (517, 301), (97, 640), (61, 40)]


def spot(height, width, box):
    """A black photo with one white box: left, top, right, bottom in pixels."""
    left, top, right, bottom = (round(edge) for edge in box)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def centre(model_input, geometry):
    """Where the brightness of the input lies on the photo: (y, x) in pixels."""
    light = model_input.mean(0).double()
    y = (torch.arange(geometry.input_height) + 0.5) @ light.sum(1).float() / light.sum()
    x = (torch.arange(geometry.input_width) + 0.5) @ light.sum(0).float() / light.sum()
    return (
        geometry.top + float(y) / geometry.input_height * geometry.seen_height,
        geometry.left + float(x) / geometry.input_width * geometry.seen_width,
    )


# The input


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_the_squashed_input_equals_torchvision(name):
    config = PreprocessConfig(height=192, width=224, interpolation=name)
    reference = v2.Compose(
        [
            v2.Resize((192, 224), v2.InterpolationMode(name), antialias=True),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(config.mean, config.std),
        ]
    )
    photo = load_photo(SAMPLES / "coffee.jpg")
    expected = reference(photo).as_subclass(torch.Tensor)
    model_input, geometry = frame(photo, config)
    torch.testing.assert_close(torch.from_numpy(model_input), expected)
    faster, where = preprocess(photo, config)
    torch.testing.assert_close(faster, expected, atol=1.01 / 255 / min(config.std), rtol=0)
    assert geometry == where
    assert model_input.dtype == np.float32
    assert model_input.flags.c_contiguous
    assert faster.is_contiguous()


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    fit=st.sampled_from(["squash", "letterbox", "crop"]),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
@settings(deadline=None, max_examples=60)
def test_any_photo_resized_fast_is_within_two_levels_of_pillow(height, width, fit, interpolation):
    config = PreprocessConfig(height=32, width=48, fit=fit, interpolation=interpolation, **PLAIN)
    photo = noise(height, width)
    assert np.abs(preprocess(photo, config)[0].numpy() - frame(photo, config)[0]).max() * 255 < 2.01


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_of_a_real_photo_resized_fast_hardly_a_pixel_differs_from_pillow(path):
    photo, config = load_photo(path), PreprocessConfig(**PLAIN)
    levels = np.abs(preprocess(photo, config)[0].numpy() - frame(photo, config)[0]) * 255
    assert levels.max() < 1.01
    assert levels.mean() < 0.01


def test_the_letterboxed_input_is_the_shrunken_photo_between_bars_of_the_mean_colour():
    photo = load_photo(SAMPLES / "coffee.jpg")  # 400 x 600
    model_input, _ = preprocess(photo, PreprocessConfig(fit="letterbox"))
    inner, _ = preprocess(photo, PreprocessConfig(height=149, width=224))
    assert (model_input[:, :37] == 0).all()
    assert (model_input[:, 37 : 37 + 149] == inner).all()
    assert (model_input[:, 37 + 149 :] == 0).all()


def test_a_large_photo_stays_within_three_levels_of_plain_filtering():
    photo = load_photo(SAMPLES / "cat.jpg").resize((1804, 1200), Image.Resampling.BICUBIC)
    plain = np.asarray(photo.resize((224, 224), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    model_input, _ = preprocess(photo, PreprocessConfig(**PLAIN))
    difference = (model_input * 255 - torch.from_numpy(plain.astype(np.float32))).abs()
    assert difference.max() <= 3
    assert difference.mean() < 0.3


def test_a_reduced_jpeg_gives_nearly_the_same_input_and_the_same_geometry():
    config = PreprocessConfig(**PLAIN)
    photo = load_photo(SAMPLES / "cat.jpg").resize((3608, 2400), Image.Resampling.BICUBIC)
    for orientation in TURNS:
        file = turned(photo, orientation, "JPEG", quality=90)
        whole, geometry = preprocess(load_photo(file), config)
        reduced, size = load_reduced(file, at_least=(448, 448))
        assert max(reduced.size) < 1000
        model_input, reduced_geometry = preprocess(reduced, config, size=size)
        assert reduced_geometry == geometry
        assert (model_input - whole).abs().max() * 255 < 3.5
        assert (model_input - whole).abs().mean() * 255 < 0.5


def test_the_cropped_input_is_the_middle_of_the_shrunken_photo():
    photo = load_photo(SAMPLES / "coffee.jpg")  # 400 x 600
    model_input, geometry = preprocess(photo, PreprocessConfig(fit="crop"))
    whole, _ = preprocess(photo, PreprocessConfig(height=224, width=336))
    assert (model_input == whole[:, :, 56 : 56 + 224]).all()
    assert (geometry.top, geometry.left) == (0, 100)
    assert (geometry.seen_height, geometry.seen_width) == (400, 400)
    assert region_box(geometry, 0, 0, (2, 2)) == (100, 0, 300, 200)


@pytest.mark.parametrize("size", [(400, 600), (601, 400), (224, 225), (100, 333), (37, 50)])
def test_the_cropped_input_is_that_of_transformers_clip(size):
    photo = noise(*size)
    config = PreprocessConfig(fit="crop", mean=CLIP_MEAN, std=CLIP_STD)
    theirs = CLIPImageProcessor()(photo, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(preprocess(photo, config)[0], theirs, rtol=0, atol=1e-6)


def test_the_ends_of_a_long_strip_are_cut_off_before_it_is_resized():
    photo, config = noise(10, 1000), PreprocessConfig(height=32, width=48, fit="crop", **PLAIN)
    sizes = []

    def noting(photo, size, interpolation):
        sizes.append((photo.size, size))
        return resize_with_pillow(photo, size, interpolation)

    model_input, geometry = frame(photo, config, resize=noting)
    assert sizes == [((80, 10), (32, 256))]
    assert (geometry.left, geometry.seen_width) == (492.5, 15)
    whole = resize_with_pillow(photo, (32, 3200), "bicubic")[:, 1576 : 1576 + 48]
    assert np.abs(model_input - whole.transpose(2, 0, 1) / 255).max() <= 1 / 255


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1), (2, 3), (3000, 7)])
def test_every_shape_of_photo_is_seen_whole(size, fit):
    height, width = size
    photo = Image.new("RGB", (width, height), (255, 0, 0))
    config = PreprocessConfig(height=32, width=48, fit=fit)
    model_input, geometry = preprocess(photo, config)
    red = (torch.tensor([1.0, 0.0, 0.0]) - torch.tensor(config.mean)) / torch.tensor(config.std)
    seen = (model_input != 0).all(0)
    assert seen.all() if fit == "squash" else seen.any()
    torch.testing.assert_close(model_input[:, seen], red[:, None].expand(3, int(seen.sum())))
    assert geometry.seen_height >= height
    assert geometry.seen_width >= width


# The way back


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_what_fills_a_region_of_the_photo_fills_that_region_of_the_input(height, width, fit):
    config = PreprocessConfig(height=168, width=224, fit=fit, **PLAIN)
    _, geometry = preprocess(Image.new("RGB", (width, height)), config)
    grid = (3, 4)
    for row, col in product(range(3), range(4)):
        box = region_box(geometry, row, col, grid)
        if min(box[2] - box[0], box[3] - box[1]) < 8:
            continue  # padding, or too thin a strip of the photo to aim at
        model_input, _ = preprocess(spot(height, width, box), config)
        pooled = model_input.mean(0).reshape(3, 56, 4, 56).mean((1, 3))
        inside = pooled[row, col].item()
        area = (box[2] - box[0]) * (box[3] - box[1])
        share = area / (geometry.seen_height * geometry.seen_width / 12)
        assert inside == pytest.approx(share, abs=0.08)
        assert pooled.sum().item() - inside == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_spot_of_the_input_leads_back_to_its_place_on_the_photo(height, width, fit):
    config = PreprocessConfig(fit=fit, **PLAIN)
    for y, x in [(10, 8), (height - 14, width - 12), (height // 2, width // 3)]:
        photo = spot(height, width, (x - 4, y - 4, x + 4, y + 4))
        found = centre(*preprocess(photo, config))
        assert found == pytest.approx((y, x), abs=0.3)


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("orientation", TURNS)
def test_the_way_back_leads_to_the_displayed_photo_for_every_exif_orientation(orientation, fit):
    config = PreprocessConfig(fit=fit, **PLAIN)
    shown = spot(301, 517, (400, 60, 430, 80))
    model_input, geometry = preprocess(load_photo(turned(shown, orientation)), config)
    assert (geometry.height, geometry.width) == (301, 517)
    assert centre(model_input, geometry) == pytest.approx((70, 415), abs=0.3)
    large = shown.resize((517 * 8, 301 * 8), Image.Resampling.NEAREST)
    reduced, size = load_reduced(turned(large, orientation, "JPEG"), at_least=(448, 448))
    found = centre(*preprocess(reduced, config, size=size))
    assert found == pytest.approx((70 * 8, 415 * 8), abs=2)


def test_the_boxes_of_a_letterboxed_grid_are_clipped_to_the_photo():
    _, geometry = preprocess(
        Image.new("RGB", (400, 200)), PreprocessConfig(height=200, width=200, fit="letterbox")
    )
    assert geometry == Geometry(
        height=200,
        width=400,
        input_height=200,
        input_width=200,
        top=-100.0,
        left=0.0,
        seen_height=400.0,
        seen_width=400.0,
    )
    assert region_box(geometry, 0, 1, (4, 2)) == (200, 0, 400, 0)  # padding only
    assert region_box(geometry, 1, 1, (4, 2)) == (200, 0, 400, 100)
    assert region_box(geometry, 0, 0, (2, 1)) == (0, 0, 400, 100)  # half padding
    assert region_box(geometry, 2, 0, (3, 3)) == pytest.approx((0, 500 / 3, 400 / 3, 200))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    down=st.integers(1, 16),
    across=st.integers(1, 16),
    fit=st.sampled_from(["squash", "letterbox"]),
)
def test_the_regions_cover_every_pixel_of_the_photo_once(height, width, down, across, fit):
    config = PreprocessConfig(height=40, width=56, fit=fit)
    _, geometry = preprocess(Image.new("RGB", (width, height)), config)
    area = 0.0
    for row, col in product(range(down), range(across)):
        left, top, right, bottom = region_box(geometry, row, col, (down, across))
        assert 0 <= left <= right <= width
        assert 0 <= top <= bottom <= height
        area += (right - left) * (bottom - top)
    assert area == pytest.approx(height * width)


def test_geometry_survives_json():
    _, geometry = preprocess(noise(97, 51), PreprocessConfig(fit="letterbox"))
    assert Geometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry


def test_a_geometry_with_a_value_missing_or_unknown_is_an_error():
    table = preprocess(noise(), PreprocessConfig())[1].to_dict()
    with pytest.raises(ConfigError) as caught:
        Geometry.from_dict({**table, "rows": 7})
    assert "geometry: unknown setting 'rows'" in str(caught.value)
    del table["left"]
    with pytest.raises(ConfigError) as caught:
        Geometry.from_dict(table)
    assert str(caught.value) == "geometry: 'left' is missing."

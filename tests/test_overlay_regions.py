import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.overlay import LEAST_SCALE, choose_scales, peak, spread
from captioner.photo import load_photo
from captioner.photo.preprocess import Geometry, preprocess
from tests.captions import even, one_hot
from tests.photos import TURNS, region_box, turned

FITS = ["squash", "letterbox"]
GRIDS = [(7, 7), (14, 14), (3, 5)]
SIZES = [(333, 517), (1, 999), (999, 1), (61, 40)]


def geometry_of(height, width, fit):
    return preprocess(Image.new("RGB", (width, height)), PreprocessConfig(fit=fit))[1]


def planted(height, width, y, x):
    """A black photo with one white pixel."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y, x] = 255
    return Image.fromarray(pixels)


def region_under(geometry, grid, y, x):
    """The region that covers most of a pixel, by comparing boxes."""

    def covered(region):
        left, top, right, bottom = region_box(geometry, *region, grid)
        return max(0, min(right, x + 1) - max(left, x)) * max(0, min(bottom, y + 1) - max(top, y))

    return max(product(range(grid[0]), range(grid[1])), key=covered)


def touched(box):
    """Rows and columns of the pixels that a box touches by more than a rounding error."""
    left, top, right, bottom = box
    slack = 1e-6
    return (
        slice(int(np.floor(top + slack)), int(np.ceil(bottom - slack))),
        slice(int(np.floor(left + slack)), int(np.ceil(right - slack))),
    )


def by_area(attention, geometry, size):
    """Each pixel's weight from the overlap of its box with every region's, one by one."""
    height, width = size
    down, across = geometry.height / height, geometry.width / width
    grid = tuple(attention.shape)
    weights = np.zeros(size, np.float32)
    for y, x in product(range(height), range(width)):
        total = 0.0
        for row, col in product(range(grid[0]), range(grid[1])):
            left, top, right, bottom = region_box(geometry, row, col, grid)
            high = min(bottom, (y + 1) * down) - max(top, y * down)
            wide = min(right, (x + 1) * across) - max(left, x * across)
            total += attention[row, col] * max(high, 0) * max(wide, 0)
        weights[y, x] = total * attention.size / (down * across)
    return weights


def by_points(attention, geometry, size, points=36):
    """The smooth weight of each pixel as the mean over a grid of points in it."""
    (height, width), (gh, gw) = size, attention.shape

    def blend(start, length, regions, extent, pixels):
        place = (np.arange(pixels * points) + 0.5) / points * (extent / pixels)
        at = ((place - start) / length * regions - 0.5).clip(0, regions - 1)  # 0 is a centre
        low = np.floor(at).clip(max=max(regions - 2, 0)).astype(int)
        t = at - low
        part = t * t * (3 - 2 * t)
        weights = np.zeros((len(at), regions))
        every = np.arange(len(at))
        weights[every, low] += 1 - part
        weights[every, (low + 1).clip(max=regions - 1)] += part
        return weights.reshape(pixels, points, regions).mean(1)

    rows = blend(geometry.top, geometry.seen_height, gh, geometry.height, height)
    cols = blend(geometry.left, geometry.seen_width, gw, geometry.width, width)
    return rows @ attention * attention.size @ cols.T


def random_attention(grid, seed=0):
    """Weights of all sizes that sum to 1."""
    weights = np.exp(3 * np.random.default_rng(seed).standard_normal(grid))
    return (weights / weights.sum()).astype(np.float32)


# Where it lands


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_attention_on_the_region_of_a_pixel_lights_up_exactly_that_region(height, width, grid, fit):
    places = [(0, 0), (height - 1, width - 1), (height // 3, 2 * width // 3), (height // 2, 0)]
    for orientation, (y, x) in zip(TURNS, 2 * places, strict=True):
        photo = load_photo(turned(planted(height, width, y, x), orientation))
        _, geometry = preprocess(photo, PreprocessConfig(fit=fit))
        shown = np.asarray(photo)[..., 0]
        assert np.argwhere(shown == 255).tolist() == [[y, x]]
        region = region_under(geometry, grid, y, x)
        box = region_box(geometry, *region, grid)

        weights = spread(one_hot(grid, *region), geometry)
        assert weights.shape == shown.shape
        inside = np.zeros_like(weights)
        inside[touched(box)] = 1
        assert inside[y, x] == 1
        assert (weights * inside).sum() == pytest.approx(weights.sum())
        assert (weights * (1 - inside)).max() < 1e-6
        assert (weights[touched(box)] > 0).all()
        area = (box[2] - box[0]) * (box[3] - box[1])
        everything = area * grid[0] * grid[1]
        assert weights.sum(dtype=np.float64) == pytest.approx(everything, rel=1e-5)

        smooth = spread(one_hot(grid, *region), geometry, smooth=True)
        peak = divmod(int(smooth.argmax()), width)
        rows, cols = touched(box)
        assert rows.start <= peak[0] < rows.stop
        assert cols.start <= peak[1] < cols.stop


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", TURNS)
def test_what_the_input_shows_bright_is_bright_on_the_displayed_photo(orientation, fit, smooth):
    shown = Image.new("RGB", (517, 333))
    shown.paste("white", (390, 50, 420, 80))
    photo = load_photo(turned(shown, orientation))
    plain = PreprocessConfig(fit=fit, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    model_input, geometry = preprocess(photo, plain)
    light = model_input.mean(0).numpy().clip(min=0).reshape(14, 16, 14, 16).mean((1, 3))
    weights = spread(light / light.sum(), geometry, smooth=smooth).astype(np.float64)
    y = (np.arange(333) + 0.5) @ weights.sum(1) / weights.sum()
    x = (np.arange(517) + 0.5) @ weights.sum(0) / weights.sum()
    # Within less than half a region: 12 to 18 pixels high, 18 wide.
    assert (y, x) == pytest.approx((65, 405), abs=9)
    assert weights[65, 405] > 0.4 * weights.max()


@pytest.mark.parametrize("smooth", [False, True])
def test_uniform_attention_is_one_everywhere(smooth):
    for fit, grid in product(FITS, GRIDS):
        weights = spread(even(grid), geometry_of(97, 61, fit), smooth=smooth)
        assert_allclose(weights, np.ones((97, 61)), atol=1e-5, rtol=1.3e-6)


def test_regions_of_whole_pixels_are_shown_as_blocks():
    geometry = geometry_of(4, 6, "squash")
    attention = np.array([[0.1, 0.2, 0.0], [0.0, 0.3, 0.4]], np.float32)
    assert np.array_equal(
        spread(attention, geometry),
        (attention * 6).repeat(2, axis=0).repeat(2, axis=1),
    )


def test_a_pixel_between_two_regions_takes_from_each_by_area():
    geometry = geometry_of(1, 5, "squash")
    weights = spread(np.array([[0.75, 0.25]], np.float32), geometry)
    assert_allclose(
        weights, np.array([[1.5, 1.5, 1.0, 0.5, 0.5]], np.float32), atol=1e-5, rtol=1.3e-6
    )


def test_one_pixel_shows_the_mean_of_all_regions():
    weights = spread(random_attention((7, 7)), geometry_of(1, 1, "squash"))
    assert_allclose(weights, np.ones((1, 1)), atol=1e-5, rtol=1.3e-6)


@pytest.mark.parametrize("smooth", [False, True])
def test_attention_on_the_padding_lands_nowhere(smooth):
    geometry = geometry_of(100, 400, "letterbox")  # input rows 84 to 140 of 224
    weights = spread(one_hot((14, 14), 0, 7), geometry, smooth=smooth)
    assert np.array_equal(weights, np.zeros((100, 400)))


def test_what_the_model_did_not_see_weighs_nothing():
    seen = {"top": 10.0, "left": 25.0, "seen_height": 20.0, "seen_width": 50.0}
    geometry = Geometry(height=40, width=100, input_height=8, input_width=8, **seen)
    for smooth in (False, True):
        weights = spread(even((2, 2)), geometry, smooth=smooth)
        expected = np.zeros((40, 100))
        expected[10:30, 25:75] = 1
        assert_allclose(weights, expected, atol=1e-5, rtol=1.3e-6)


def test_the_smooth_map_runs_from_centre_to_centre():
    geometry = geometry_of(1, 2000, "squash")
    weights = spread(np.array([[0.2, 0.8]], np.float32), geometry, smooth=True)[0]
    assert_allclose(
        weights[:500], np.full(500, 0.4), atol=1e-5, rtol=1.3e-6
    )  # up to the first centre
    assert_allclose(weights[1500:], np.full(500, 1.6), atol=1e-5, rtol=1.3e-6)
    t = (np.arange(1000) + 0.5) / 1000
    assert_allclose(weights[500:1500], 0.4 + 1.2 * t**2 * (3 - 2 * t), atol=1e-5, rtol=0)


# The fast path and the plain one


@pytest.mark.parametrize("size", [None, (5, 8), (23, 4)])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(13, 9), (3, 17), (1, 1)])
def test_the_maps_equal_what_is_computed_pixel_by_pixel(height, width, fit, size):
    geometry = geometry_of(height, width, fit)
    attention = random_attention((3, 5))
    shape = size or (height, width)
    plain = spread(attention, geometry, size=size)
    assert_allclose(plain, by_area(attention, geometry, shape), atol=1e-5, rtol=0)
    smooth = spread(attention, geometry, size=size, smooth=True)
    assert_allclose(smooth, by_points(attention, geometry, shape), atol=2e-3, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    grid=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    fit=st.sampled_from(FITS),
    smooth=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_attention_is_lost_or_made_on_the_way(size, grid, fit, smooth, seed):
    geometry = geometry_of(*size, fit)
    attention = random_attention(grid, seed)
    weights = spread(attention, geometry, smooth=smooth)
    assert weights.shape == size
    assert weights.dtype == np.float32
    assert (weights >= 0).all()
    heaviest = attention.max() * attention.size
    assert (weights <= heaviest * (1 + 1e-5)).all()
    if not smooth:
        assert on_photo(weights, geometry) == pytest.approx(
            attention_on_photo(attention, geometry), rel=1e-4
        )
    elif fit == "squash":
        assert on_photo(weights, geometry) == pytest.approx(1, rel=1e-4)
    flipped = spread(attention[::-1, ::-1], mirrored(geometry), smooth=smooth)
    assert_allclose(flipped, weights[::-1, ::-1], atol=1e-4, rtol=1e-4)
    twice = spread(2 * attention, geometry, smooth=smooth)
    assert_allclose(twice, 2 * weights, atol=1e-5, rtol=1.3e-6)


def on_photo(weights, geometry):
    """Share of the attention that the weights of the pixels hold."""
    seen = geometry.height * geometry.width / (geometry.seen_height * geometry.seen_width)
    return weights.astype(np.float64).mean() * seen


def attention_on_photo(attention, geometry):
    """Share of the attention that is not in the padding, from the boxes of the regions."""
    grid = tuple(attention.shape)
    region = geometry.seen_height * geometry.seen_width / attention.size
    share = 0.0
    for row, col in product(range(grid[0]), range(grid[1])):
        left, top, right, bottom = region_box(geometry, row, col, grid)
        share += attention[row, col] * (right - left) * (bottom - top) / region
    return share


def mirrored(geometry):
    """The same geometry of the photo turned by half."""
    return Geometry(
        height=geometry.height,
        width=geometry.width,
        input_height=geometry.input_height,
        input_width=geometry.input_width,
        top=geometry.height - geometry.top - geometry.seen_height,
        left=geometry.width - geometry.left - geometry.seen_width,
        seen_height=geometry.seen_height,
        seen_width=geometry.seen_width,
    )


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("fit", FITS)
def test_a_small_display_shows_the_mean_of_the_pixels_it_stands_for(fit, smooth):
    geometry = geometry_of(120, 90, fit)
    attention = random_attention((7, 7))
    whole = spread(attention, geometry, smooth=smooth)
    small = spread(attention, geometry, smooth=smooth, size=(24, 18))
    assert_allclose(small, whole.reshape(24, 5, 18, 5).mean((1, 3)), atol=1e-5, rtol=1.3e-6)


def test_the_smooth_map_peaks_in_the_heaviest_region_whatever_its_neighbours():
    for seed, fit in product(range(8), FITS):
        geometry = geometry_of(333, 517, fit)
        attention = random_attention((5, 5), seed)
        if fit == "letterbox":
            attention[[0, 4]] = 0  # padding, some of it
        row, col = divmod(int(attention.argmax()), 5)
        left, top, right, bottom = region_box(geometry, row, col, (5, 5))
        y, x = divmod(int(spread(attention, geometry, smooth=True).argmax()), 517)
        assert top <= y + 0.5 <= bottom
        assert left <= x + 0.5 <= right


# Scales


def test_a_scale_is_the_heaviest_weight_of_the_word_or_of_any_word():
    maps = [np.array([[1.0, 9.0]], np.float32), np.array([[12.0, 0.0]], np.float32)]
    assert choose_scales(maps, shared=False) == [9, 12]
    assert choose_scales(maps, shared=True) == [12, 12]
    assert choose_scales([], shared=True) == []


def test_words_attended_to_everywhere_do_not_lower_the_scale():
    maps = [np.ones((2, 2), np.float32), np.full((2, 2), 1.1, np.float32)]
    assert choose_scales(maps, shared=False) == [LEAST_SCALE, LEAST_SCALE]


def test_a_peak_counts_in_uniform_attention():
    assert peak(one_hot((7, 7), 2, 3)) == 49
    assert peak(even((3, 5))) == pytest.approx(1)


# Mistakes


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
def test_attention_that_is_none_is_an_error(wrong):
    attention = even((2, 2))
    attention[1, 0] = wrong
    with pytest.raises(ValueError, match=r"^attention must be finite, and nowhere negative\.$"):
        spread(attention, geometry_of(8, 8, "squash"))


@pytest.mark.parametrize("size", [(0, 8), (8, -1)])
def test_a_display_without_pixels_is_an_error(size):
    text = f"cannot draw at {size[0]} x {size[1]} pixels; both must be 1 or more."
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        spread(even(), geometry_of(8, 8, "squash"), size=size)

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from captioner.errors import ConfigError
from captioner.overlay.colours import ColourMap, palette

NAMES = get_args(ColourMap)


def colours(name):
    return np.frombuffer(palette(name), np.uint8).reshape(256, 3)


def lab(srgb):
    """CIELAB of 8-bit sRGB under D65 (IEC 61966-2-1, CIE 15)."""
    c = srgb / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(to_xyz).T / [0.9505, 1, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_more_weight_is_always_brighter(name):
    lightness = lab(colours(name))[:, 0]
    for low, high in pairwise(lightness[::3]):
        assert high > low


@pytest.mark.parametrize("name", NAMES)
def test_equal_steps_of_weight_look_equally_large(name):
    lightness = lab(colours(name))[:, 0]
    straight = np.linspace(lightness[0], lightness[-1], 256)
    assert abs(lightness - straight).max() < 6  # jet: 35


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # Entries 0, 127 and 255 of the published tables.
        ("viridis", [(68, 1, 84), (33, 144, 141), (253, 231, 37)]),
        ("inferno", [(0, 0, 4), (187, 55, 84), (252, 255, 164)]),
        ("magma", [(0, 0, 4), (182, 54, 121), (252, 253, 191)]),
        ("cividis", [(0, 34, 78), (124, 123, 120), (254, 232, 56)]),
    ],
)
def test_the_colours_are_the_published_ones(name, published):
    assert abs(colours(name)[[0, 127, 255]].astype(int) - published).max() <= 6


def test_another_colour_map_is_an_error():
    with pytest.raises(ConfigError) as caught:
        palette("jet")
    assert str(caught.value) == (
        "there is no colour map 'jet'; choose from inferno, magma, viridis, cividis."
    )

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import ConfigError
from captioner.overlay import LEAST_SCALE, Style, heat_layer, heatmap, render, spread, veil
from captioner.overlay.colours import palette
from captioner.overlay.heat import fit, word_maps
from captioner.photo import load_photo, load_reduced
from tests.captions import caption_of, even, one_hot, word
from tests.photos import noise

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
WORDS = [word("a", even()), word("cup", one_hot((7, 7), 3, 3), 0.9)]


def gray(height, width, level=100):
    return Image.new("RGB", (width, height), (level, level, level))


# Colours over the photo


def test_every_pixel_is_mixed_from_the_photo_and_the_colour_of_its_weight():
    weights = np.array([[0.0, 2.5, 5.0, 80.0]], np.float32)
    style = Style(alpha=0.8, colour_map="viridis")
    drawn = np.asarray(heatmap(gray(1, 4), weights, scale=5.0, style=style)).astype(float)
    colours = np.frombuffer(palette("viridis"), np.uint8).reshape(256, 3)
    for x, level in enumerate([0, 128, 255, 255]):
        opacity = 0.8 * (level / 255) ** 0.7
        expected = opacity * colours[level] + (1 - opacity) * 100
        assert drawn[0, x] == pytest.approx(expected, abs=1)


def test_heat_leaves_the_photo_as_it_is_where_no_attention_fell():
    photo = noise(9, 13)
    drawn = heatmap(photo, np.zeros((9, 13), np.float32), scale=4.0)
    assert drawn.tobytes() == photo.tobytes()


def test_a_spotlight_leaves_full_colour_where_attention_fell_and_dims_and_greys_the_rest():
    red = Image.new("RGB", (3, 1), (250, 50, 50))
    weights = np.array([[9.0, 2.0, 0.0]], np.float32)
    drawn = np.asarray(heatmap(red, weights, scale=9.0, style=Style(drawing="spotlight")))
    lit, half_lit, dark = drawn[0].astype(int)
    assert lit.tolist() == [250, 50, 50]
    assert dark.max() < half_lit.max() < 250
    assert dark.max() - dark.min() < 60  # of 200
    assert dark.min() > 20


def test_opacity_follows_the_weight_up_in_heat_and_down_in_a_spotlight():
    for drawing, order in (("heat", 1), ("spotlight", -1)):
        opacities = np.frombuffer(veil(Style(drawing=drawing))[1], np.uint8).astype(int)
        assert (order * np.diff(opacities) >= 0).all()
        assert opacities[::order][0] == 0
        assert opacities[::order][-1] > 150


def test_without_opacity_the_photo_is_left_as_it_is():
    photo, weights = noise(9, 13), np.random.default_rng(0).random((9, 13), np.float32)
    drawn = heatmap(photo, weights, scale=1.0, style=Style(alpha=0.0))
    assert drawn is not photo
    assert drawn.tobytes() == photo.tobytes()


def test_the_transparent_layer_over_the_photo_gives_the_heat_map():
    photo, weights = noise(30, 40), np.random.default_rng(0).random((30, 40), np.float32)
    layer = heat_layer(weights, scale=1.0)
    assert layer.mode == "P"
    stream = BytesIO()
    layer.save(stream, "PNG")
    over = Image.alpha_composite(photo.convert("RGBA"), Image.open(stream).convert("RGBA"))
    drawn = heatmap(photo, weights, scale=1.0)
    difference = np.asarray(over.convert("RGB")).astype(int) - np.asarray(drawn)
    assert abs(difference).max() <= 1


def test_each_word_is_drawn_to_its_own_heaviest_weight_or_all_to_the_captions():
    quiet = np.full((7, 7), 0.016, np.float32)
    quiet[0, 0] = 0.232
    caption = caption_of(gray(70, 70), [*WORDS, word("on", quiet)])
    maps, scales = word_maps(caption, size=(70, 70), style=Style(smooth=False))
    assert scales == pytest.approx([LEAST_SCALE, 49, 49 * 0.232])
    loud = [
        np.asarray(heatmap(gray(70, 70, 0), m, scale=s)) for m, s in zip(maps, scales, strict=True)
    ]
    assert [drawn.max() > 200 for drawn in loud] == [False, True, True]
    _, shared = word_maps(caption, size=(70, 70), style=Style(smooth=False, scale="caption"))
    assert shared == pytest.approx([49, 49, 49])


def test_words_attended_to_everywhere_stay_faint():
    maps, scales = word_maps(caption_of(gray(70, 70), WORDS[:1]), size=(70, 70))
    assert scales == [LEAST_SCALE]
    assert maps[0].max().item() == pytest.approx(1)


@pytest.mark.parametrize("smooth", [False, True])
def test_a_photo_of_twelve_megapixels_is_drawn_whole(smooth):
    photo = gray(3000, 4000)
    caption = caption_of(photo, WORDS)
    weights = spread(caption.words[1].attention, caption.geometry, smooth=smooth)
    drawn = np.asarray(heatmap(photo, weights, scale=49.0))
    assert drawn.shape == (3000, 4000, 3)
    assert (drawn[1500, 2000] > drawn[0, 0]).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_an_error(scale):
    with pytest.raises(ValueError, match=rf"^scale is {scale}; it must be above 0\.$"):
        heatmap(gray(2, 2), np.ones((2, 2), np.float32), scale=scale)


def test_weights_of_another_size_than_the_photo_are_an_error():
    text = (
        "weights of 3 x 2 pixels do not fit a photo of 2 x 3; "
        "spread them with size=(photo.height, photo.width)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        heatmap(gray(2, 3), np.ones((3, 2), np.float32), scale=1.0)


@pytest.mark.parametrize(
    ("name", "known"), [("drawing", "heat, spotlight"), ("scale", "word, caption")]
)
def test_another_drawing_or_scale_is_an_error(name, known):
    style = Style()
    object.__setattr__(style, name, "x")  # the tests' checker of types would refuse it before
    with pytest.raises(ConfigError) as caught:
        style.__post_init__()
    assert str(caught.value) == f"overlay.{name} is 'x'; choose from {known}."


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_opacity_out_of_range_is_an_error(alpha):
    with pytest.raises(ConfigError) as caught:
        Style(alpha=alpha)
    assert str(caught.value) == f"overlay.alpha is {alpha}; it must be from 0 to 1."


# The photo and its caption


@pytest.mark.parametrize("size", [(301, 517), (150, 258), (151, 258), (1, 2), (602, 1034)])
def test_a_photo_may_be_shown_at_any_size(size):
    caption = caption_of(gray(301, 517), WORDS)
    maps, _ = word_maps(caption, size=size)
    assert [tuple(m.shape) for m in maps] == [size, size]


def test_a_photo_that_still_lies_on_its_side_is_an_error():
    caption = caption_of(load_photo(SAMPLES / "coffee.jpg"), WORDS)
    with Image.open(SAMPLES / "coffee.jpg") as lying, pytest.raises(ValueError) as caught:  # noqa: PT011
        word_maps(caption, size=(lying.height, lying.width))
    assert str(caught.value) == (
        "a photo of 600 x 400 pixels is not the captioned one, which is 400 x 600; "
        "load_photo reads it and turns it upright."
    )


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((400, 200), (100, 50)), ((20, 40), (50, 100)), ((999, 1), (100, 1)), ((1, 999), (1, 100))],
)
def test_a_photo_is_scaled_to_its_longer_side(size, fitted):
    assert fit(Image.new("RGB", size), longest=100).size == fitted


# Files


def test_every_kind_of_file_opens_as_what_it_is():
    photo, _ = load_reduced(SAMPLES / "rocket.jpg", at_least=(200, 200))
    caption = caption_of(load_photo(SAMPLES / "rocket.jpg"), WORDS)
    for kind in ("png", "gif", "webp"):
        with Image.open(BytesIO(render(photo, caption, kind=kind))) as file:
            assert file.format == kind.upper()
            assert getattr(file, "n_frames", 1) == (1 if kind == "png" else 3)
    assert render(photo, caption, kind="html").decode().startswith("<!DOCTYPE html>")


def test_the_style_reaches_every_kind_of_file():
    photo = gray(60, 80)
    caption = caption_of(photo, WORDS)
    for kind in ("png", "gif", "webp", "html"):
        files = {
            render(photo, caption, kind=kind, style=style)
            for style in (
                Style(),
                Style(smooth=False),
                Style(alpha=0.2),
                Style(colour_map="cividis"),
                Style(drawing="spotlight"),
                Style(scale="caption"),
            )
        }
        assert len(files) == 6


def test_another_kind_of_file_is_an_error():
    photo = gray(8, 8)
    with pytest.raises(ConfigError) as caught:
        render(photo, caption_of(photo, WORDS), kind="jpeg")
    assert str(caught.value) == "overlays cannot be 'jpeg'; choose from png, gif, webp, html."

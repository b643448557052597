"""Photos of every depth, colour space and transparency, and arrays."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from captioner.errors import ImageError
from captioner.photo import load_photo
from tests.photos import encode, noise, png, press_profile, quarters

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "samples"
WHITE, RED = (255, 255, 255), (255, 0, 0)


def levels(source, **options) -> list:
    """Pixels of the loaded photo; of the first row where there is one only."""
    loaded = np.asarray(load_photo(source, **options)).astype(int)
    return [tuple(pixel) for pixel in loaded[0].tolist()] if len(loaded) == 1 else loaded.tolist()


def gray(*values):
    return [(value,) * 3 for value in values]


def error(source, **options) -> str:
    with pytest.raises(ImageError) as caught:
        load_photo(source, **options)
    return str(caught.value)


# Transparency


def test_transparent_pixels_are_white_and_half_transparent_ones_half_white():
    picture = Image.new("RGBA", (3, 1))
    picture.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    assert levels(encode(picture, "PNG")) == [RED, WHITE, (127, 127, 127)]
    assert levels(picture.convert("RGBa")) == [RED, WHITE, (127, 127, 127)]


def test_gray_with_alpha_is_laid_on_white():
    picture = Image.new("LA", (3, 1))
    picture.putdata([(100, 255), (100, 0), (0, 128)])
    assert levels(encode(picture, "PNG")) == gray(100, 255, 127)
    assert levels(picture.convert("La")) == gray(100, 255, 127)


def test_a_palette_with_one_transparent_colour_or_many_is_laid_on_white():
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 0, 0, 9, 9, 9])
    picture.putdata([0, 1, 2])
    assert levels(encode(picture, "PNG", transparency=1)) == [RED, WHITE, (9, 9, 9)]
    assert levels(encode(picture, "GIF", transparency=1)) == [RED, WHITE, (9, 9, 9)]
    assert levels(encode(picture, "PNG", transparency=bytes([255, 128, 0]))) == [
        RED,
        (127, 127, 127),
        WHITE,
    ]
    assert levels(picture.convert("PA")) == [RED, (0, 0, 0), (9, 9, 9)]
    faded = picture.convert("PA")
    faded.putalpha(Image.new("L", (3, 1), 0))
    assert levels(faded) == [WHITE] * 3


def test_the_colour_a_png_declares_transparent_is_white_at_every_depth():
    gray8 = png((2, 1), 8, 0, bytes([7, 100]), tRNS=struct.pack(">H", 7))
    gray16 = png((2, 1), 16, 0, struct.pack(">2H", 1000, 32768), tRNS=struct.pack(">H", 1000))
    black = png((2, 1), 1, 0, b"\x40", tRNS=struct.pack(">H", 0))
    rgb8 = png((2, 1), 8, 2, bytes([255, 128, 0, 3, 7, 11]), tRNS=struct.pack(">3H", 255, 128, 0))
    rgb16 = png(
        (2, 1), 16, 2, struct.pack(">6H", 65535, 32768, 0, 0, 257, 514),
        tRNS=struct.pack(">3H", 65535, 32768, 0),
    )  # fmt: skip
    assert levels(gray8) == gray(255, 100)
    assert levels(gray16) == gray(255, 128)
    assert levels(black) == gray(255, 255)
    assert levels(rgb8) == [WHITE, (3, 7, 11)]
    assert levels(rgb16) == [WHITE, (0, 1, 2)]


# Depth and colour


def test_gray_one_bit_and_palette_photos_become_rgb():
    assert levels(encode(Image.new("L", (1, 1), 77), "PNG")) == gray(77)
    assert levels(encode(Image.new("1", (1, 1), 1), "PNG")) == gray(255)
    assert levels(encode(Image.new("1", (1, 1), 0), "TIFF")) == gray(0)
    assert load_photo(encode(quarters().quantize(), "PNG")) == quarters()


def test_sixteen_bit_middle_gray_stays_middle_gray():
    half = np.array([[0, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        assert levels(encode(Image.fromarray(half), kind)) == gray(0, 128, 255)
    for mode in ("I;16", "I;16L", "I;16B"):
        assert levels(Image.new(mode, (1, 1), 32768)) == gray(128)
    assert levels(Image.fromarray(half.astype(np.int32))) == gray(0, 128, 255)
    assert levels(half) == gray(0, 128, 255)


def test_sixteen_bit_colour_keeps_its_brightness():
    rgba = png((1, 1), 16, 6, struct.pack(">4H", 65535, 32896, 0, 65535))
    assert levels(rgba) == [(255, 128, 0)]
    assert levels(png((1, 1), 16, 4, struct.pack(">2H", 0, 0))) == gray(255)


def test_twelve_bits_are_scaled_by_what_the_file_says():
    twelve = bytes([0x80, 0x0F, 0xFF])  # 2048 and 4095, packed
    entries = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries.items())
    tiff = b"II*\0" + struct.pack("<I", 12) + twelve + b"\0"
    tiff += struct.pack("<H", len(entries)) + directory + bytes(4)
    assert levels(tiff) == gray(128, 255)
    assert levels(b"P5 2 1 4095\n" + struct.pack(">2H", 2048, 4095)) == gray(128, 255)


def test_integers_and_floats_are_scaled_to_the_first_customary_white_that_holds_them():
    def tiff(values, kind):
        return encode(Image.fromarray(np.array([values], kind)), "TIFF")

    assert levels(tiff([0, 2**30, 2**31 - 1], np.int32)) == gray(0, 128, 255)
    assert levels(tiff([-5, 257, 65535], np.int32)) == gray(0, 1, 255)
    assert levels(tiff([-0.5, 0.5, 1], np.float32)) == gray(0, 128, 255)
    assert levels(tiff([0, 100, 200], np.float32)) == gray(0, 100, 200)
    assert levels(tiff([0, 32896, 65535], np.float32)) == gray(0, 128, 255)
    assert levels(tiff([0, 1e6], np.float32)) == gray(0, 255)


def test_cmyk_ycbcr_lab_and_hsv_become_rgb():
    cmyk = Image.merge("CMYK", [Image.new("L", (8, 8), ink) for ink in (0, 255, 255, 0)])
    assert levels(encode(cmyk, "TIFF"))[0][0] == [255, 0, 0]
    assert levels(encode(cmyk, "JPEG", quality=100))[0][0] == pytest.approx(RED, abs=3)
    assert levels(Image.new("YCbCr", (1, 1), (255, 128, 128))) == [WHITE]
    assert levels(Image.new("HSV", (1, 1), (0, 255, 255))) == [RED]
    lab = Image.new("LAB", (1, 1), (138, 209, 198))  # sRGB red: L 54, a 81, b 70
    assert levels(encode(lab, "TIFF"))[0] == pytest.approx(RED, abs=6)


def test_an_adobe_rgb_photo_is_converted_to_srgb():
    with Image.open(SAMPLES / "rocket.jpg") as rocket:
        profile = rocket.info["icc_profile"]
    patches = [(200, 100, 100), (60, 90, 150), (128, 128, 128)]
    picture = Image.new("RGB", (3, 1))
    picture.putdata(patches)
    # Adobe RGB (1998), section 4.3: gamma and matrix to XYZ; then IEC 61966-2-1 the other way
    adobe = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    srgb = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    light = (np.array(patches) / 255) ** 2.19921875 @ np.array(adobe).T @ np.array(srgb).T
    expected = 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    np.testing.assert_allclose(
        levels(encode(picture, "PNG", icc_profile=profile)), expected, atol=1
    )
    clear = picture.convert("RGBA")
    np.testing.assert_allclose(levels(encode(clear, "PNG", icc_profile=profile)), expected, atol=1)
    palette = encode(picture.quantize(), "PNG", icc_profile=profile)
    np.testing.assert_allclose(levels(palette), expected, atol=1)


def test_an_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert load_photo(encode(noise(), "PNG", icc_profile=profile)) == noise()


def test_cmyk_is_read_through_the_profile_of_its_press():
    cyan = Image.merge("CMYK", [Image.new("L", (1, 1), ink) for ink in (255, 0, 0, 0)])
    paper = Image.new("CMYK", (1, 1))
    profile = press_profile()
    assert levels(encode(cyan, "TIFF")) == [(0, 255, 255)]
    assert levels(encode(cyan, "TIFF", icc_profile=profile))[0] == pytest.approx(RED, abs=4)
    assert levels(encode(paper, "TIFF", icc_profile=profile))[0] == pytest.approx(WHITE, abs=1)


@pytest.mark.parametrize("profile", [b"no profile", press_profile(), press_profile()[:200]])
def test_a_corrupt_or_foreign_profile_is_ignored(profile):
    assert load_photo(encode(quarters(), "PNG", icc_profile=profile)) == quarters()
    assert levels(encode(Image.new("L", (1, 1), 77), "PNG", icc_profile=profile)) == gray(77)


# Arrays


def test_arrays_of_every_kind_become_the_same_photo():
    rgb = np.asarray(quarters())
    for array in (rgb.astype(np.uint16) * 257, rgb / 255, (rgb / 255).astype(np.float16), rgb > 0):
        assert load_photo(array) == quarters()
    assert load_photo(rgb[:, ::-1][:, ::-1]) == quarters()
    assert load_photo(np.asfortranarray(rgb)) == quarters()
    assert levels(np.array([[0, 0.5, 1]])) == gray(0, 128, 255)
    assert levels(np.array([[[0], [9]]], np.uint8)) == gray(0, 9)
    assert levels(np.array([[True, False]])) == gray(255, 0)
    assert levels(np.array([[[1, 0, 0, 1], [0, 0, 0, 0]]], float)) == [RED, WHITE]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (
            np.zeros((0, 4, 3), np.uint8),
            "the photo: the array is empty, its shape is (0, 4, 3); give one with pixels.",
        ),
        (
            np.zeros((3, 8, 8), np.uint8),
            "the photo: an array of shape (3, 8, 8) is not a photo; give (height, width) or "
            "(height, width, channels) with 1, 3 or 4 channels.",
        ),
        (
            np.zeros(8, np.uint8),
            "the photo: an array of shape (8,) is not a photo; give (height, width) or "
            "(height, width, channels) with 1, 3 or 4 channels.",
        ),
        (
            np.zeros((2, 2), np.int64),
            "the photo: an array of int64 is not a photo; "
            "give uint8, uint16, bool, or floats from 0 to 1.",
        ),
        (
            np.array([[0, np.nan]]),
            "the photo: the array holds values that are not numbers; replace them.",
        ),
        (
            np.array([[-3, 255.0]]),
            "the photo: floats must lie from 0 to 1, but these go from -3 to 255; "
            "scale them, or give uint8.",
        ),
    ],
)
def test_an_array_that_is_not_a_photo_is_an_error_with_the_reason(array, text):
    assert error(array) == text

import json
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from captioner import photo
from captioner.errors import ImageError
from captioner.photo import load_photo, load_reduced
from tests.photos import TURNS, encode, noise, png, press_profile, quarters, turned

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


# Formats and where a photo comes from


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 4),
        ("PNG", {}, 0),
        ("GIF", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg", "quality": 95}, 30),
        ("WEBP", {"lossless": True}, 0),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 8),
        ("JPEG2000", {}, 0),
        ("PPM", {}, 0),
        ("TGA", {}, 0),
        ("ICO", {"sizes": [(48, 32)]}, 0),
    ],
)
def test_every_common_format_is_read(kind, options, tolerance, tmp_path):
    if kind == "AVIF" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "photo"  # the content decides, not the ending
    path.write_bytes(encode(quarters(), kind, **options))
    loaded = load_photo(path)
    assert loaded.mode == "RGB"
    difference = np.abs(np.asarray(loaded).astype(int) - np.asarray(quarters()))
    assert difference.max() <= tolerance


def test_a_path_its_text_its_bytes_a_picture_and_an_array_give_the_same_photo(tmp_path):
    path = tmp_path / "photo.png"
    quarters().save(path)
    with Image.open(path) as opened:
        sources = [path, str(path), path.read_bytes(), opened, np.asarray(quarters())]
        for source in sources:
            assert load_photo(source) == quarters()


def test_a_pipe_is_read_like_a_file():
    reader = "from captioner.photo import load_photo; print(load_photo('/dev/stdin').size)"
    command, file = [sys.executable, "-c", reader], encode(quarters(), "PNG")
    ran = subprocess.run(command, input=file, capture_output=True, check=True, cwd=ROOT)
    assert ran.stdout == b"(48, 32)\n"


def test_the_first_frame_of_an_animation_is_the_photo():
    first, second = quarters(), Image.new("RGB", (48, 32), "black")
    for kind, options in {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}.items():
        frames = encode(first, kind, save_all=True, append_images=[second], **options)
        assert load_photo(frames) == first


def test_loading_leaves_the_given_picture_alone_and_shares_nothing_with_it():
    given = quarters()
    given.info["comment"] = "mine"
    loaded = load_photo(given)
    loaded.putpixel((0, 0), (1, 2, 3))
    assert given.getpixel((0, 0)) == RED
    assert given.info == {"comment": "mine"}
    assert loaded.info == {}


def test_photos_are_read_by_many_threads_at_once():
    files = [turned(noise(seed=seed), 1 + seed % 8) for seed in range(32)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(load_photo, files)) == [noise(seed=seed) for seed in range(32)]


def test_the_loader_needs_no_torch():
    check = "import sys, captioner.photo; print('torch' in sys.modules)"
    command = [sys.executable, "-c", check]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "False\n"


# Orientation


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_is_shown_upright(kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert load_photo(turned(quarters(), orientation, kind, **options)) == quarters()


@pytest.mark.parametrize("orientation", TURNS)
def test_every_exif_orientation_of_a_jpeg_is_shown_upright(orientation):
    loaded = load_photo(turned(quarters(), orientation, "JPEG", quality=95, subsampling=0))
    assert loaded.size == (48, 32)
    difference = np.abs(np.asarray(loaded).astype(int) - np.asarray(quarters()))
    assert difference.max() <= 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0 no TIFF at all",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",  # a directory far behind the end
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",  # a directory that breaks off
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x63\0\0",
    ],
    ids=["no exif", "far away", "cut", "orientation 99"],
)
def test_corrupt_exif_is_ignored(exif):
    assert load_photo(encode(quarters(), "JPEG", exif=exif)) == load_photo(
        encode(quarters(), "JPEG")
    )


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


# Decoding large JPEGs small


def test_a_large_jpeg_is_decoded_at_the_smallest_scale_that_is_large_enough():
    file = encode(quarters(800, 1200), "JPEG")
    for at_least, decoded in {
        (100, 150): (150, 100),
        (101, 150): (300, 200),
        (100, 151): (300, 200),
        (800, 1200): (1200, 800),
        (5000, 1): (1200, 800),
        (0, 0): (150, 100),
    }.items():
        picture, size = load_reduced(file, at_least=at_least)
        assert picture.size == decoded
        assert size == (800, 1200)
    assert load_photo(file).size == (1200, 800)


def test_a_jpeg_is_only_decoded_at_scales_that_divide_its_sides():
    for (height, width), decoded in {
        (808, 1204): (301, 202),
        (802, 1208): (604, 401),
        (801, 1200): (1200, 801),
    }.items():
        file = encode(quarters(height, width), "JPEG")
        picture, size = load_reduced(file, at_least=(100, 100))
        assert picture.size == decoded
        assert size == (height, width)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_reduced_photo_is_upright_and_tells_its_displayed_size(orientation):
    file = turned(quarters(800, 1200), orientation, "JPEG")
    picture, size = load_reduced(file, at_least=(150, 300))
    assert size == (800, 1200)
    assert picture.size == (300, 200)
    coarse = np.asarray(picture.resize((2, 2), Image.Resampling.BOX)).astype(int)
    np.testing.assert_allclose(coarse, np.asarray(quarters(2, 2)), atol=6)


def test_other_sources_are_read_whole():
    for source in (encode(quarters(), "PNG"), quarters(), np.asarray(quarters())):
        assert load_reduced(source, at_least=(2, 3)) == (quarters(), (32, 48))


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
def test_an_array_that_is_no_photo_says_why(array, text):
    assert error(array) == text


# Broken photos


def test_a_missing_file_a_folder_and_an_impossible_path_say_so(tmp_path):
    assert error(tmp_path / "no.jpg") == f"{tmp_path}/no.jpg: no such file; check the path."
    assert error(tmp_path) == (
        f"{tmp_path}: this is a folder, not a photo; `captioner folder` captions all photos in it."
    )
    assert error("a\0b") == "a\0b: cannot be opened (embedded null byte); check the path."
    long = "x" * 5000
    assert error(long) == f"{long}: cannot be opened (File name too long); check the path."


def test_a_file_one_may_not_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    quarters().save(path)
    if os.access(path, os.R_OK) and os.geteuid() == 0:  # nothing is forbidden to root

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    path.chmod(0)
    assert (
        error(path) == f"{path}: no permission to read it; allow reading it, or copy it elsewhere."
    )


def test_an_empty_file_and_something_else_than_a_photo_say_so(tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_text("Dear reader, this is no picture.")
    assert error(path) == (
        f"{path}: not an image (it starts with b'Dear reader, thi'); save it as JPEG or PNG."
    )
    path.write_bytes(b"")
    assert error(path) == f"{path}: the file is empty (0 bytes); copy or download it again."
    assert error(path, name="upload 3") == (
        "upload 3: the file is empty (0 bytes); copy or download it again."
    )
    assert error(json) == (
        "the photo: a module is not a photo; "
        "give a path, the bytes of a file, a Pillow picture or a NumPy array."
    )


def test_drawings_and_heic_photos_are_told_apart_from_broken_ones():
    drawing = "the photo: SVG is a drawing, not a photo; export it as PNG first."
    assert error(b'<svg xmlns="http://www.w3.org/2000/svg"/>') == drawing
    assert (
        error(b'<?xml version="1.0"?>\n<!-- a > b -->\n<!DOCTYPE svg>\n<svg width="1">') == drawing
    )
    assert "not an image" in error(b'<?xml version="1.0"?><html><svg>')
    assert error(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n") == (
        "the photo: EPS is a drawing, not a photo; export it as PNG first."
    )
    assert error(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == (
        "the photo: HEIC photos cannot be read; save it as JPEG."
    )


@pytest.mark.filterwarnings("ignore:.*EXIF data|Truncated File Read")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("AVIF", {}),
    ],
)
def test_a_photo_cut_short_anywhere_is_an_error_and_never_half_a_photo(kind, options):
    if kind == "AVIF" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow reads no AVIF")
    whole = encode(noise(), kind, **options)
    for part in (0.01, 0.1, 0.4, 0.7, 0.9, 0.98):
        for at_least in (None, (8, 8)):
            with pytest.raises(ImageError) as caught:
                load_reduced(whole[: int(len(whole) * part)], at_least=at_least, name="holiday")
            assert str(caught.value).startswith("holiday: damaged or cut short (")
            assert str(caught.value).endswith("); copy or download it again.")


def test_a_png_with_flipped_bits_is_an_error():
    damaged = bytearray(encode(noise(), "PNG"))
    damaged[len(damaged) // 2] ^= 0xFF
    assert error(bytes(damaged)).startswith("the photo: damaged or cut short (")


def test_a_decompression_bomb_is_refused_from_its_header(monkeypatch):
    bomb = png((20000, 10000), 8, 2, b"")
    assert error(bomb) == ("the photo: over the limit of 178 megapixels; make it smaller first.")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a host program may lift Pillow's limit
    assert error(bomb) == (
        "the photo: 20000 x 10000 is 200 megapixels, over the limit of 178; make it smaller first."
    )
    monkeypatch.setattr(photo, "MAX_PIXELS", 48 * 32 - 1)
    assert "over the limit" in error(quarters())


def test_a_picture_without_pixels_or_with_pixels_that_are_no_numbers_is_an_error():
    assert error(Image.new("RGB", (0, 5))) == (
        "the photo: it is 0 x 5 pixels; a photo needs one or more."
    )
    assert error(Image.fromarray(np.array([[0.5, np.inf]], np.float32))) == (
        "the photo: it holds pixels that are not numbers; save it as JPEG or PNG."
    )


# The samples


def test_every_sample_is_read_is_small_and_has_its_credit():
    credit = (SAMPLES / "README.md").read_text()
    sizes = {path.name: load_photo(path).size for path in sorted(SAMPLES.glob("*.jpg"))}
    assert sizes == {
        "astronaut.jpg": (512, 512),
        "cat.jpg": (451, 300),
        "coffee.jpg": (600, 400),
        "photographer.jpg": (512, 512),
        "rocket.jpg": (640, 427),
    }
    for name in sizes:
        assert f"`{name}`" in credit
        assert (SAMPLES / name).stat().st_size < 150_000

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.photo import load_photo, load_reduced
from tests.photos import TURNS, encode, noise, quarters, turned

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "samples"


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
    assert given.getpixel((0, 0)) == (255, 0, 0)
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
def test_a_reduced_photo_is_upright_and_returned_with_its_full_size(orientation):
    file = turned(quarters(800, 1200), orientation, "JPEG")
    picture, size = load_reduced(file, at_least=(150, 300))
    assert size == (800, 1200)
    assert picture.size == (300, 200)
    coarse = np.asarray(picture.resize((2, 2), Image.Resampling.BOX)).astype(int)
    np.testing.assert_allclose(coarse, np.asarray(quarters(2, 2)), atol=6)


def test_other_sources_are_read_whole():
    for source in (encode(quarters(), "PNG"), quarters(), np.asarray(quarters())):
        assert load_reduced(source, at_least=(2, 3)) == (quarters(), (32, 48))


# The samples


def test_every_sample_is_read_is_small_and_has_its_credit():
    credit = (SAMPLES / "README.md").read_text()
    sizes = {path.name: load_photo(path).size for path in sorted(SAMPLES.glob("*.jpg"))}
    assert sizes == {
        "astronaut.jpg": (512, 512),
        "cat.jpg": (451, 300),
        "coffee.jpg": (600, 400),
        "gull.jpg": (640, 480),
        "horses.jpg": (640, 424),
        "kites.jpg": (640, 480),
        "photographer.jpg": (512, 512),
        "plate.jpg": (640, 428),
        "rocket.jpg": (640, 427),
        "skateboarder.jpg": (378, 640),
        "street.jpg": (480, 640),
    }
    for name in sizes:
        assert f"`{name}`" in credit
        assert (SAMPLES / name).stat().st_size < 150_000

"""Large JPEG photos: what counts is what is decoded, and how much memory that takes."""

import struct
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from captioner.errors import ImageError
from captioner.photo import faults, load_photo, load_reduced
from tests.photos import encode, noise, quarters, turned

AT_LEAST = (300, 300)


@pytest.fixture
def small_limit(monkeypatch):
    """Photos of over 60,000 pixels are too large to be decoded whole."""
    monkeypatch.setattr(faults, "MAX_PIXELS", 60_000)


def error(source, at_least=(20, 20)) -> str:
    with pytest.raises(ImageError) as caught:
        load_reduced(source, at_least=at_least)
    return str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(16320, 12240), (30000, 6000), (30001, 6003)])
def test_a_phone_photo_of_200_megapixels_and_a_panorama_are_read_in_little_memory(
    width, height, tmp_path
):
    path = tmp_path / "photo.jpg"
    picture = Image.radial_gradient("L").resize((width, height))
    picture.save(path, quality=20)
    reader = (
        "import resource, sys\n"
        "from captioner.photo import load_reduced\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "picture, size = load_reduced(sys.argv[1], at_least=(300, 300))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(*size, *picture.size, (after - before) // 1024)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", reader, path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *sizes, megabytes = map(int, ran.stdout.split())
    assert sizes == [height, width, width // 8, height // 8]
    assert megabytes < 150
    with pytest.raises(ImageError, match=r"megapixels, over the limit of 178; make it smaller"):
        load_photo(path)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photo_that_no_scale_divides_is_shown_to_its_edges(small_limit, orientation):
    photo = quarters(603, 805)  # 8 divides neither side
    file = turned(photo, orientation, "JPEG", quality=95, subsampling=0)
    picture, size = load_reduced(file, at_least=(20, 20))
    assert size == (603, 805)
    assert picture.size == (100, 75)
    levels = np.asarray(picture).astype(int)
    exact = np.asarray(photo.resize((100, 75), Image.Resampling.BOX)).astype(int)
    assert np.abs(levels - exact).mean() < 2
    last = np.asarray(photo)[-1, -1]
    assert np.abs(levels[-1, -1] - last).max() < 12


def test_a_large_photo_is_decoded_as_finely_as_the_limit_lets_if_more_is_asked_for(small_limit):
    file = encode(quarters(400, 600), "JPEG")
    assert load_reduced(file, at_least=(399, 599))[0].size == (300, 200)
    assert load_reduced(file, at_least=(20, 20))[0].size == (75, 50)
    assert load_reduced(file, at_least=(70, 70))[0].size == (150, 100)


def test_a_photo_too_large_at_any_scale_is_refused(small_limit):
    assert error(encode(quarters(2000, 2000), "JPEG")) == (
        "the photo: 2000 x 2000 is 4 megapixels, over the limit of 0; make it smaller first."
    )


def test_a_progressive_photo_counts_by_what_its_decoder_holds(small_limit):
    picture = quarters(300, 300)  # 90,000 pixels; three numbers each without subsampling
    assert load_reduced(encode(picture, "JPEG"), at_least=(20, 20))[1] == (300, 300)
    half = encode(picture, "JPEG", progressive=True, subsampling=2)
    assert load_reduced(half, at_least=(20, 20))[1] == (300, 300)
    assert "over the limit" in error(encode(picture, "JPEG", progressive=True, subsampling=0))


def test_a_photo_whose_scans_hold_one_colour_each_counts_so_too(small_limit):
    picture = quarters(300, 300)
    file = encode(picture, "JPEG", subsampling=0)
    scan = file.index(b"\xff\xda")
    assert file[scan : scan + 5] == b"\xff\xda\0\x0c\3"
    one = file[:scan] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + file[scan + 14 :]
    assert "over the limit" in error(one)


def test_a_file_that_cannot_hold_so_many_pixels_is_refused_before_they_are_decoded():
    file = encode(quarters(), "JPEG")
    frame = file.index(b"\xff\xc0") + 5
    bomb = file[:frame] + struct.pack(">HH", 65_500, 65_500) + file[frame + 4 :]
    assert error(bomb) == (
        "the photo: 65500 x 65500 is 4290 megapixels, over the limit of 178; make it smaller first."
    )


def test_a_photo_of_several_pictures_shows_the_first():
    album = encode(noise(), "MPO", save_all=True, append_images=[quarters()], quality=95)
    first = encode(noise(), "JPEG", quality=95)
    assert load_photo(album) == load_photo(first)
    with Image.open(BytesIO(album)) as opened:
        assert opened.format == "MPO"

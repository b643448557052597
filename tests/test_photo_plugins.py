"""HEIC, JPEG XL and raw photos: shown as they are displayed, or refused with the way out."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import ImageError
from captioner.photo import faults, load_photo, load_reduced
from captioner.photo.colour import from_pq
from captioner.photo.plugins import _jxl_size
from tests.cameras import deep_heic, dng, hdr_heic, heic
from tests.photos import TURNS, encode, noise, quarters, turned

ROOT = Path(__file__).parents[1]
PHOTO = quarters(96, 144)


def far(shown: Image.Image, expected: Image.Image) -> int:
    """Levels between two pictures of the same size."""
    assert shown.size == expected.size
    return int(np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).max())


def error(source, **options) -> str:
    with pytest.raises(ImageError) as caught:
        load_photo(source, **options)
    return str(caught.value)


def jxl(picture: Image.Image, **options) -> bytes:
    import pillow_jxl  # noqa: F401  # registers itself

    return encode(picture, "JXL", **options)


# HEIC


@pytest.mark.parametrize("orientation", TURNS)
def test_a_heic_photo_is_turned_once_whatever_its_exif_says(orientation):
    heif = pytest.importorskip("pillow_heif")
    file = heic(PHOTO, orientation=orientation)
    assert (b"irot" in file or b"imir" in file) == (orientation != 1)
    assert b"Exif" in file or heif.open_heif(BytesIO(file)).info["exif"]
    assert far(load_photo(file), PHOTO) <= 1
    picture, size = load_reduced(file, at_least=(8, 8))
    assert size == (96, 144)
    assert picture.size == (144, 96)


def test_a_heic_photo_of_tiles_as_iphones_write_it_is_whole():
    pytest.importorskip("pillow_heif")
    picture = noise(300, 500)
    assert far(load_photo(heic(picture, tile_size=128)), picture) <= 2


def test_a_gain_map_beside_a_heic_photo_changes_nothing():
    heif = pytest.importorskip("pillow_heif")
    file = heic(PHOTO, gain_map=True)
    assert "urn:com:apple:photo:2020:aux:hdrgainmap" in heif.open_heif(BytesIO(file)).info["aux"]
    assert far(load_photo(file), PHOTO) <= 1


def test_a_heic_photo_of_ten_bits_is_shown_in_eight():
    heif = pytest.importorskip("pillow_heif")
    file = deep_heic(PHOTO)
    assert heif.open_heif(BytesIO(file)).info["bit_depth"] == 10
    assert far(load_photo(file), PHOTO) <= 1


def test_an_hdr_photo_of_a_camera_is_as_bright_and_colourful_as_another():
    heif = pytest.importorskip("pillow_heif")
    with Image.open(ROOT / "data" / "samples" / "cat.jpg") as photo:
        cat = photo.convert("RGB").resize((300, 200))
    file = hdr_heic(cat)
    assert heif.open_heif(BytesIO(file)).info["nclx_profile"]["transfer_characteristics"] == 16
    levels = np.abs(np.asarray(load_photo(file)).astype(int) - np.asarray(cat))
    assert levels.mean() < 2
    assert levels.max() < 30


def test_what_is_brighter_than_white_paper_is_white_and_black_stays_black():
    nits = np.array([0, 203, 1000, 10_000])
    power = (nits / 10_000) ** (2610 / 16384)
    signal = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    gray = np.rint(255 * signal).astype(np.uint8)[None, :, None].repeat(3, -1)
    for wide in (False, True):
        shown = np.asarray(from_pq(Image.fromarray(gray), wide=wide))[0, :, 1].tolist()
        assert shown[0] == 0
        assert shown[1] == pytest.approx(255, abs=3)
        assert shown[2:] == [255, 255]


def test_a_heic_photo_is_read_without_registering_a_plugin_in_pillow():
    pytest.importorskip("pillow_heif")
    check = (
        "import sys; from PIL import Image; from captioner.photo import load_photo\n"
        "plain = 'pillow_heif' in sys.modules\n"
        "print(plain, load_photo(sys.stdin.buffer.read()).size, 'HEIF' in Image.OPEN)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", check], input=heic(PHOTO), capture_output=True, check=True, cwd=ROOT
    )
    assert ran.stdout.decode() == "False (144, 96) False\n"


def test_a_heic_photo_cut_short_is_damaged():
    pytest.importorskip("pillow_heif")
    whole = heic(noise(64, 64))
    for tenths in (1, 3, 5, 7, 9):
        cut = error(whole[: len(whole) * tenths // 10])
        assert cut.startswith("the photo: damaged or cut short (")


# JPEG XL


@pytest.mark.parametrize("options", [{}, {"use_container": True}])
def test_a_jpeg_xl_photo_is_read(options):
    pytest.importorskip("pillow_jxl")
    assert load_photo(jxl(PHOTO, lossless=True, **options)) == PHOTO


def test_the_exif_of_a_jpeg_xl_photo_turns_nothing():
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_photo(jxl(PHOTO, lossless=True, exif=exif.tobytes(), use_container=True)) == PHOTO


@pytest.mark.filterwarnings("ignore:Using JPEG reconstruction")
@pytest.mark.parametrize("orientation", TURNS)
def test_a_jpeg_packed_into_jpeg_xl_is_shown_as_the_jpeg(orientation, tmp_path):
    pytest.importorskip("pillow_jxl")
    path = tmp_path / "photo.jpg"
    path.write_bytes(turned(PHOTO, orientation, "JPEG", quality=95, subsampling=0))
    with Image.open(path) as photo:
        assert load_photo(jxl(photo)) == load_photo(path)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (256, 256), (257, 300), (1920, 1080), (3, 5000)])
@pytest.mark.parametrize("options", [{}, {"use_container": True}])
def test_the_size_of_a_jpeg_xl_photo_is_known_before_it_is_decoded(size, options):
    pytest.importorskip("pillow_jxl")
    file = jxl(Image.new("RGB", size), lossless=True, **options)
    assert _jxl_size(BytesIO(file)) == size


def test_a_jpeg_xl_photo_that_is_too_large_is_refused_from_its_header(monkeypatch):
    pytest.importorskip("pillow_jxl")
    file = jxl(Image.new("RGB", (4000, 3000)), lossless=True)
    assert len(file) < 2000
    monkeypatch.setattr(faults, "MAX_PIXELS", 11_999_999)
    assert error(file) == (
        "the photo: 4000 x 3000 is 12 megapixels, over the limit of 11; make it smaller first."
    )


def test_a_damaged_jpeg_xl_photo_says_so():
    pytest.importorskip("pillow_jxl")
    whole = jxl(noise(64, 64))
    for file in (whole[: len(whole) // 2], whole[:20], b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"):
        assert error(file).startswith("the photo: damaged or cut short (")


# Raw photos


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_raw_photo_is_shown_by_its_largest_preview_upright(orientation, own):
    pytest.importorskip("rawpy")
    shown = PHOTO if orientation < 5 else quarters(144, 96)  # sensors lie
    preview = turned(shown, orientation if own else 1, "JPEG", quality=95, subsampling=0)
    if not own:
        turn = TURNS[orientation]
        stored = shown if turn is None else shown.transpose(turn)
        preview = encode(stored, "JPEG", quality=95, subsampling=0)
    file = dng(preview, orientation=orientation)
    assert far(load_photo(file), shown) <= 4
    small, size = load_reduced(file, at_least=(10, 10))
    assert size == (shown.height, shown.width)
    assert small.width < shown.width


def test_a_preview_that_the_camera_has_turned_already_is_not_turned_again():
    pytest.importorskip("rawpy")
    upright = quarters(144, 96)
    file = dng(encode(upright, "JPEG", quality=95, subsampling=0), orientation=6)
    assert far(load_photo(file), upright) <= 4


def test_a_raw_photo_without_a_preview_or_damaged_says_so():
    pytest.importorskip("rawpy")
    assert error(dng(None)) == (
        "the photo: a raw photo without a preview in JPEG; export it as JPEG."
    )
    assert error(b"FUJIFILMCCD-RAW 0201FF389501" + bytes(1000)).startswith(
        "the photo: a raw photo that LibRaw "
    )


# Without the packages


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "HEIC photos are read by pillow-heif; install it (pip install 'captioner[heif]'), or "
            "save it as JPEG.",
        ),
        (
            b"\xff\x0a\0\x10\xb0\x13",
            "JPEG XL photos are read by pillow-jxl-plugin; install it (pip install "
            "'captioner[jxl]'), or save it as JPEG.",
        ),
        (
            b"\0\0\0\x18ftypcrx \0\0\0\1",
            "raw photos of cameras are read by rawpy; install it (pip install 'captioner[raw]'), "
            "or save it as JPEG.",
        ),
        (
            dng(encode(PHOTO, "JPEG")),
            "raw photos of cameras are read by rawpy; install it (pip install 'captioner[raw]'), "
            "or save it as JPEG.",
        ),
    ],
    ids=["heic", "jxl", "cr3", "dng"],
)
def test_without_its_package_a_photo_says_how_to_install_it(content, text, monkeypatch):
    for package in ("pillow_heif", "pillow_jxl", "pillow_jxl.JpegXLImagePlugin", "rawpy"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert error(content) == f"the photo: {text}"

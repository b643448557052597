"""TIFF files of scanners and instruments are shown as they are, or refused."""

import itertools
import re
import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from captioner.errors import ImageError
from captioner.photo import faults, load_photo
from captioner.photo.scans import read_scan
from captioner.photo.tiff import read_directory
from tests.photos import TURNS, noise, quarters

HEIGHT, WIDTH = 24, 40
TOPS = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "i1": 127, "i2": 32767, "i4": 2**31 - 1}
KINDS = ("gray", "white is zero", "gray alpha", "rgb", "rgba")


def ramps() -> np.ndarray:
    """Red grows to the right, green downwards, blue in waves; from 0 to 1."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    waves = (7 * across + 3 * down) % WIDTH
    return np.stack([across / (WIDTH - 1), down / (HEIGHT - 1), waves / (WIDTH - 1)], -1)


def picture(kind: str) -> np.ndarray:
    """(height, width, channels) from 0 to 1, opaque."""
    rgb, opaque = ramps(), np.ones((HEIGHT, WIDTH, 1))
    gray = rgb.mean(axis=2, keepdims=True)
    gray[0, 0], gray[-1, -1] = 0, 1
    colours = rgb if kind.startswith("rgb") else gray
    return np.concatenate([colours, opaque], -1) if kind in ("gray alpha", "rgba") else colours


def stored(fractions: np.ndarray, dtype: str) -> np.ndarray:
    return (
        fractions.astype(dtype)
        if dtype[0] == "f"
        else np.rint(fractions * TOPS[dtype]).astype(dtype)
    )


def tiff(values: np.ndarray, *, planar: bool = False, **options) -> bytes:
    """A file of (height, width, channels)."""
    if planar:
        options["planarconfig"] = "separate"
        values = np.moveaxis(values, -1, 0)
    elif values.shape[2] > 1:
        options["planarconfig"] = "contig"
    else:
        values = values[..., 0]
    if "tile" not in options:
        options.setdefault("rowsperstrip", 7)
    stream = BytesIO()
    tifffile.imwrite(stream, np.ascontiguousarray(values), metadata=None, **options)
    return stream.getvalue()


def error(source) -> str:
    with pytest.raises(ImageError) as caught:
        load_photo(source)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [*TOPS, "f2", "f4", "f8"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_depth_order_layout_and_packing_shows_the_same_picture(kind, dtype):
    fractions = picture(kind)
    shown = np.broadcast_to(
        fractions[..., : 3 if kind.startswith("rgb") else 1], (HEIGHT, WIDTH, 3)
    )
    values = stored(fractions, dtype)
    options = {"photometric": "rgb" if kind.startswith("rgb") else "minisblack"}
    if kind == "white is zero":
        options["photometric"] = "miniswhite"
        values = stored(1 - fractions, dtype)
    if kind in ("gray alpha", "rgba"):
        options["extrasamples"] = ["unassalpha"]
    layouts = itertools.product(
        (False, True) if values.shape[2] > 1 else (False,),
        (None, "zlib"),
        "<>",
        ({}, {"tile": (16, 16)}),
        (False, True),
    )
    tolerance = 1 if dtype != "i1" else 2
    seen = 0
    for planar, compression, order, tiles, predictor in layouts:
        if predictor and (compression is None or dtype[0] == "f"):
            continue
        file = tiff(
            values, planar=planar, compression=compression, byteorder=order, predictor=predictor,
            **options, **tiles,
        )  # fmt: skip
        levels = np.asarray(load_photo(file)).astype(int)
        far = np.abs(levels - np.rint(shown * 255)).max()
        assert far <= tolerance, (planar, compression, order, tiles, predictor)
        seen += 1
    assert seen >= 8


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_four_inks_are_the_same_in_every_layout(dtype, planar):
    inks = np.concatenate([ramps(), ramps()[..., :1] / 2], -1)
    expected = Image.frombytes("CMYK", (WIDTH, HEIGHT), stored(inks, "u1").tobytes()).convert("RGB")
    for compression, order in itertools.product((None, "zlib"), "<>"):
        file = tiff(
            stored(inks, dtype), planar=planar, photometric="separated", compression=compression,
            byteorder=order,
        )  # fmt: skip
        far = np.asarray(load_photo(file)).astype(int) - np.asarray(expected)
        assert np.abs(far).max() <= 2


@pytest.mark.parametrize("meaning", ["cielab", "ycbcr"])
def test_lab_and_ycbcr_are_the_same_in_every_layout(meaning):
    values = stored(0.3 + 0.4 * ramps(), "u1")
    options = {"photometric": meaning} | ({"subsampling": (1, 1)} if meaning == "ycbcr" else {})
    mode = "LAB" if meaning == "cielab" else "YCbCr"
    expected = load_photo(Image.frombytes(mode, (WIDTH, HEIGHT), values.tobytes(), "raw", mode))
    for planar, compression, order in itertools.product((False, True), (None, "zlib"), "<>"):
        file = tiff(values, planar=planar, compression=compression, byteorder=order, **options)
        far = np.asarray(load_photo(file)).astype(int) - np.asarray(expected)
        assert np.abs(far).max() <= 2, (planar, compression, order)


def test_transparency_of_deep_files_is_laid_on_white():
    gray = np.array([[[0.5, 1.0], [0.5, 0.0], [0.0, 0.5]]])
    for extra, expected in {"unassalpha": [128, 255, 127], "assocalpha": [128, 255, 127]}.items():
        values = gray.copy()
        if extra == "assocalpha":
            values[..., 0] *= values[..., 1]
        for dtype in ("u2", "f4"):
            file = tiff(stored(values, dtype), photometric="minisblack", extrasamples=[extra])
            levels = np.asarray(load_photo(file))[0, :, 0].astype(int)
            assert np.abs(levels - expected).max() <= 1
    unknown = tiff(stored(gray, "u2"), photometric="minisblack", extrasamples=["unspecified"])
    assert np.asarray(load_photo(unknown))[0, :, 0].tolist() == [128, 128, 0]


def test_white_of_floats_and_of_wide_integers_is_the_first_customary_one():
    for values in [(0, 128, 255), (0, 0.50196, 1), (0, 32896, 65535), (0, 501960, 1e6)]:
        file = tiff(np.array([values], "f8")[..., None].repeat(3, -1), photometric="rgb")
        assert np.asarray(load_photo(file))[0, :, 1].tolist() == [0, 128, 255]
    for values in [(0, 32896, 65535), (0, 2**31, 2**32 - 1)]:
        file = tiff(np.array([values], "u4")[..., None], photometric="minisblack")
        assert np.asarray(load_photo(file))[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize("orientation", TURNS)
def test_a_deep_file_is_turned_upright(orientation):
    turn = TURNS[orientation]
    pixels = np.asarray(quarters() if turn is None else quarters().transpose(turn))
    file = tiff(
        pixels.astype("u2") * 257, planar=True, photometric="rgb",
        extratags=[(274, 3, 1, orientation, True)],
    )  # fmt: skip
    assert load_photo(file) == quarters()


def test_a_deep_file_is_read_through_its_profile():
    with Image.open("data/samples/rocket.jpg") as rocket:
        profile = rocket.info["icc_profile"]
    pixels = np.asarray(noise(20, 20))
    plain = tiff(pixels, photometric="rgb", iccprofile=profile)
    deep = tiff(pixels.astype("u2") * 257, planar=True, photometric="rgb", iccprofile=profile)
    assert load_photo(deep) == load_photo(plain)
    assert load_photo(deep) != noise(20, 20)


def test_floats_packed_by_another_program_are_read():
    values = np.random.default_rng(0).random((HEIGHT, WIDTH)).astype("f4")
    for predictor in (1, 3):  # libtiff writes the differences of bytes
        stream = BytesIO()
        Image.fromarray(values).save(
            stream, "TIFF", compression="tiff_deflate", tiffinfo={317: predictor}
        )
        tags = Image.open(stream).tag_v2
        assert tags[317] == predictor
        shown, _ = read_scan(stream, read_directory(stream))
        assert np.abs(np.asarray(shown).astype(int) - np.rint(values * 255)).max() == 0


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (
            lambda: tiff(stored(ramps(), "u4").astype("u8"), photometric="rgb"),
            "64-bit RGB",
        ),
        (lambda: tiff(stored(ramps(), "u2"), photometric="cielab"), "16-bit LAB"),
    ],
)
def test_an_unsupported_kind_of_tiff_is_named(file, what):
    assert error(file()) == (
        f"the photo: a kind of TIFF that cannot be read ({what}); save it as 8-bit TIFF, PNG or "
        "JPEG."
    )


def test_a_kind_of_compression_that_is_not_undone_is_named():
    stream = BytesIO()
    Image.fromarray(np.zeros((9, 9), "f4")).save(stream, "TIFF", compression="tiff_lzw")
    file = bytearray(stream.getvalue())
    assert load_photo(bytes(file)).size == (9, 9)  # Pillow reads this one
    meaning = file.index(b"\x06\x01\x03\0\1\0\0\0\1\0")
    file[meaning + 8] = 0  # 0 is white
    assert error(bytes(file)) == (
        "the photo: a kind of TIFF that cannot be read (32-bit floating-point gray, LZW); save it "
        "as 8-bit TIFF, PNG or JPEG."
    )


def test_deep_files_that_are_cut_too_large_or_hold_no_numbers_say_so(monkeypatch):
    whole = tiff(stored(ramps(), "u2"), planar=True, photometric="rgb")
    packed = tiff(stored(ramps(), "f4"), photometric="rgb", compression="zlib")
    for file in (whole, packed):
        for end in (-20, -len(file) // 3):
            assert error(file[:end]).startswith("the photo: damaged or cut short (")
    lost = ramps()
    lost[3, 3, 1] = np.nan
    assert error(tiff(lost, photometric="rgb")) == (
        "the photo: it holds pixels that are not numbers; save it as JPEG or PNG."
    )
    monkeypatch.setattr(faults, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    assert "over the limit" in error(whole)


def test_one_strip_of_any_rows_is_read_with_its_length_or_without():
    white = {"photometric": "miniswhite", "rowsperstrip": HEIGHT}
    whole = tiff(stored(1 - picture("gray"), "u2"), **white)
    (start,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, start)
    entries = {
        struct.unpack_from("<H", whole, start + 2 + 12 * n)[0]: start + 2 + 12 * n
        for n in range(count)
    }
    shown = load_photo(whole)
    for tag, entry in {278: (278, 4, 1, 2**32 - 1), 279: (65000, 4, 1, 0)}.items():
        file = bytearray(whole)
        struct.pack_into("<HHII", file, entries[tag], *entry)
        assert load_photo(bytes(file)) == shown


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_picture_of_which_strips_are_missing_is_damaged_and_not_black(dtype):
    whole = tiff(stored(ramps(), dtype), photometric="rgb")
    (start,) = struct.unpack_from("<I", whole, 4)
    file = bytearray(whole)
    place = whole.index(struct.pack("<HHI", 273, 4, 4), start)
    struct.pack_into("<I", file, place + 4, 3)
    assert error(bytes(file)) == (
        "the photo: damaged or cut short (3 of 4 parts); copy or download it again."
    )


def test_samples_of_an_undefined_kind_are_whole_numbers():
    for dtype in ("u1", "u2"):
        values, stream = stored(picture("gray"), dtype), BytesIO()
        Image.fromarray(values[..., 0]).save(stream, "TIFF", tiffinfo={339: 4})
        assert read_directory(stream)[339] == (4,)
        expected = load_photo(tiff(values, photometric="minisblack"))
        assert load_photo(stream.getvalue()) == expected


@pytest.mark.parametrize("entry", [(278, 4, 1, 0), (277, 3, 1, 9), (273, 2, 1, 0), (259, 3, 1, 7)])
def test_tags_that_cannot_be_true_are_damage_or_named(entry):
    whole = tiff(stored(1 - picture("gray"), "u2"), photometric="miniswhite", rowsperstrip=HEIGHT)
    (start,) = struct.unpack_from("<I", whole, 4)
    file = bytearray(whole)
    place = whole.index(struct.pack("<H", entry[0]), start)
    struct.pack_into("<HHII", file, place, *entry)
    assert re.match(r"the photo: (damaged or cut short|a kind of TIFF that)", error(bytes(file)))


def test_a_picture_that_pillow_opened_and_shows_wrong_is_refused():
    wrong = tiff(stored(ramps(), "u2"), planar=True, photometric="rgb")
    with Image.open(BytesIO(wrong)) as image:
        assert error(image) == (
            "the photo: Pillow shows this kind of TIFF (16-bit RGB) wrong; give the path or the "
            "bytes of the file."
        )
    right = tiff(stored(ramps(), "u2"), photometric="rgb")
    with Image.open(BytesIO(right)) as image:
        assert load_photo(image) == load_photo(right)

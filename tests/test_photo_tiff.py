"""TIFF files of scanners and instruments are shown as they are, or refused."""

import itertools
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
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
def test_a_kind_that_nobody_reads_is_named(file, what):
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


def handmade(order: str, size: tuple[int, int], parts: list[bytes], tags: dict) -> bytes:
    """A file of (width, height), its strips or tiles first."""
    tiled, start = 322 in tags, 8
    offsets = []
    for part in parts:
        offsets.append(start)
        start += len(part)
    tags = {256: size[0], 257: size[1], **tags}
    tags |= {324 if tiled else 273: offsets, 325 if tiled else 279: [len(part) for part in parts]}
    head, body, beyond = (
        struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, start),
        b"",
        b"",
    )
    beyond_start = start + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place, beyond = struct.pack(order + "I", beyond_start + len(beyond)), beyond + packed
        else:
            place = packed
        body += struct.pack(order + "HHI", tag, 4, len(numbers)) + place
    directory = struct.pack(order + "H", len(tags)) + body + bytes(4)
    return head + b"".join(parts) + directory + beyond


def test_files_made_by_hand_show_the_known_pixels():
    planes = [  # (rows, columns), 16 bits, differences along the rows
        struct.pack(">4H", 0, 65535, 2570, 2570),
        struct.pack(">4H", 257, 257, 65535, 1),
        struct.pack(">4H", 5140, 0, 0, 25700),
    ]
    file = handmade(
        ">", (2, 2), [zlib.compress(plane) for plane in planes],
        {258: [16, 16, 16], 259: 8, 262: 2, 277: 3, 278: 2, 284: 2, 317: 2},
    )  # fmt: skip
    assert np.asarray(load_photo(file)).tolist() == [
        [[0, 1, 20], [255, 2, 20]],
        [[10, 255, 0], [20, 0, 100]],
    ]
    tiles = [np.full((16, 16), 65535 - 257 * gray, "<u2") for gray in (10, 20)]
    file = handmade(
        "<", (17, 1), [tile.tobytes() for tile in tiles],
        {258: 16, 259: 1, 262: 0, 277: 1, 322: 16, 323: 16},
    )  # fmt: skip
    assert np.asarray(load_photo(file))[0, :, 0].tolist() == [10] * 16 + [20]


@pytest.mark.parametrize("order", "<>")
def test_the_floating_point_predictor_is_undone_as_adobe_describes_it(order):
    row = [0, 0.2, 0.4, 1, 0.6, 0.8]  # two pixels of three colours
    file_bytes = [struct.pack(">f", value) for value in row]
    planes = [value[n] for n in range(4) for value in file_bytes]
    steps = planes[:3] + [(b - a) % 256 for a, b in zip(planes, planes[3:], strict=False)]
    file = handmade(
        order, (2, 1), [zlib.compress(bytes(steps))],
        {258: [32, 32, 32], 259: 8, 262: 2, 277: 3, 278: 1, 317: 3, 339: [3, 3, 3]},
    )  # fmt: skip
    assert np.asarray(load_photo(file)).tolist() == [[[0, 51, 102], [255, 153, 204]]]


def test_a_strip_that_inflates_to_more_than_its_pixels_takes_no_memory():
    content = zlib.compress(bytes(2**26))
    tags = {258: 16, 259: 8, 262: 0, 277: 1, 278: 1}
    load_photo(handmade("<", (2, 1), [zlib.compress(bytes(4))], tags))  # imports what it needs
    tracemalloc.start()
    try:
        shown = load_photo(handmade("<", (2, 1), [content], tags))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.asarray(shown).tolist() == [[[255] * 3] * 2]
    assert peak < 2**21


def test_bits_that_are_stored_in_reverse_are_turned_or_refused():
    tags = {258: 16, 259: 1, 262: 0, 266: 2, 277: 1, 278: 1}
    file = handmade("<", (1, 1), [b"\0\1"], tags)  # 0x8000
    assert np.asarray(load_photo(file)).tolist() == [[[127] * 3]]
    assert error(handmade("<", (1, 1), [zlib.compress(b"\0\1")], tags | {259: 8})) == (
        "the photo: a kind of TIFF that cannot be read (16-bit gray); save it as 8-bit TIFF, PNG "
        "or JPEG."
    )


def test_a_tag_with_more_numbers_than_it_may_have_is_damage():
    file = handmade(
        "<", (2, 2), [bytes(512)], {258: 16, 259: 1, 262: 0, 277: 1, 322: [16, 16], 323: 16}
    )  # fmt: skip
    assert error(file) == (
        "the photo: damaged or cut short ('>' not supported between instances of 'tuple' and "
        "'int'); copy or download it again."
    )


def test_what_is_odd_about_tags_is_not_logged(tmp_path):
    file = handmade(
        "<", (2, 2), [bytes(8), bytes(8)], {258: 16, 259: 1, 262: 0, 277: 1, 278: 2}
    )  # fmt: skip
    (tmp_path / "odd.tif").write_bytes(file)
    code = "import sys; from captioner.photo import load_photo; print(load_photo(sys.argv[1]).size)"
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "odd.tif"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (run.stdout, run.stderr) == ("(2, 2)\n", "")


def test_tifffile_is_imported_only_when_pillow_is_not_enough(tmp_path):
    (tmp_path / "right.tif").write_bytes(tiff(stored(ramps(), "u2"), photometric="rgb"))
    Image.new("RGB", (8, 8)).save(tmp_path / "right.jpg")
    code = (
        "import sys; from captioner.photo import load_photo\n"
        "for path in sys.argv[1:]: load_photo(path)\n"
        "assert 'tifffile' not in sys.modules"
    )
    paths = [tmp_path / "right.tif", tmp_path / "right.jpg"]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)

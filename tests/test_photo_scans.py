"""TIFF files made by hand, as no program writes them."""

import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from captioner.photo import load_photo
from tests.test_photo_tiff import error, ramps, stored, tiff


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

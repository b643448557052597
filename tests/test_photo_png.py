"""PNG files with much text or a large profile are sound."""

import json
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from captioner.photo import load_photo
from tests.odd_images.odd import chunk
from tests.photos import encode, noise, press_profile, quarters, turned

MEGABYTE = 2**20
PHOTO = encode(quarters(), "PNG")
HEAD, REST = PHOTO[:33], PHOTO[33:]


def ztxt(keyword: bytes, text: bytes) -> bytes:
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


def itxt(keyword: bytes, text: bytes) -> bytes:
    return chunk(b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(text))


def with_first(*chunks: bytes) -> bytes:
    return HEAD + b"".join(chunks) + REST


@pytest.mark.parametrize(
    "chunks",
    [
        [itxt(b"workflow", json.dumps(["x" * 100] * 30_000).encode())],
        [ztxt(b"parameters", b"x" * 3 * MEGABYTE)],
        [chunk(b"tEXt", b"prompt\0" + b"x" * 70 * MEGABYTE)],
        [ztxt(b"n%d" % n, b"x" * MEGABYTE) for n in range(70)],
        [ztxt(b"first", b"x" * 2 * MEGABYTE), chunk(b"iTXt", b"second\0\0\0\0\0short")],
    ],
    ids=["workflow", "zTXt", "tEXt", "many", "two"],
)
def test_a_png_with_more_text_than_pillow_reads_is_shown(chunks):
    assert load_photo(with_first(*chunks)) == quarters()
    end = chunk(b"IEND", b"")
    assert load_photo(PHOTO[: -len(end)] + b"".join(chunks) + end) == quarters()


def test_pillow_refuses_such_files_and_its_limits_stay_as_they_are():
    limits = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    file = with_first(ztxt(b"parameters", b"x" * 3 * MEGABYTE))
    assert load_photo(file) == quarters()
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"):
        Image.open(BytesIO(file))


def test_the_orientation_is_kept_whether_exif_or_a_text_says_it():
    large = ztxt(b"parameters", b"x" * 3 * MEGABYTE)
    for orientation in (3, 6):
        file = turned(quarters(), orientation)
        assert load_photo(file[:33] + large + file[33:]) == quarters()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    lying = encode(quarters().transpose(Image.Transpose.ROTATE_90), "PNG")
    small = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert load_photo(lying[:33] + small + lying[33:]) == quarters()
    assert load_photo(lying[:33] + large + small + lying[33:]) == quarters()
    vast = itxt(b"XML:com.adobe.xmp", xmp + b" " * 3 * MEGABYTE)
    assert load_photo(lying[:33] + vast + lying[33:]).size == (32, 48)


def test_a_profile_larger_than_pillow_reads_is_used():
    with Image.open("data/samples/rocket.jpg") as rocket:
        profile = rocket.info["icc_profile"]
    plain = encode(noise(), "PNG", icc_profile=profile)
    padded = bytearray(profile.ljust(3 * MEGABYTE, b"\0"))
    padded[:4] = len(padded).to_bytes(4)
    large = encode(noise(), "PNG", icc_profile=bytes(padded))
    assert load_photo(large) == load_photo(plain)
    assert load_photo(large) != noise()
    both = large[:33] + ztxt(b"parameters", b"x" * 3 * MEGABYTE) + large[33:]
    assert load_photo(both) == load_photo(plain)


def test_a_bomb_of_a_profile_or_text_is_passed_over():
    bomb = zlib.compress(bytes(200 * MEGABYTE))
    for file in (
        with_first(chunk(b"iCCP", b"ICC\0\0" + bomb)),
        with_first(chunk(b"zTXt", b"Comment\0\0" + bomb)),
        with_first(chunk(b"iCCP", b"ICC\0\0" + zlib.compress(press_profile()))),
    ):
        assert load_photo(file) == quarters()


def test_a_damaged_text_spoils_no_photo():
    for broken in (
        chunk(b"zTXt", b"Comment\0\0no zlib"),
        chunk(b"iTXt", b"cut"),
        chunk(b"iTXt", b"Comment\0\1\0\0\0no zlib"),
        chunk(b"tEXt", b"no end"),
    ):
        assert load_photo(with_first(broken)) == quarters()
        large = ztxt(b"parameters", b"x" * 3 * MEGABYTE)
        assert load_photo(with_first(broken, large)) == quarters()


def test_what_is_left_out_is_not_what_is_shown():
    picture = noise(200, 300)
    file = encode(picture, "PNG")
    large = file[:33] + ztxt(b"parameters", b"x" * 3 * MEGABYTE) + file[33:]
    assert np.array_equal(np.asarray(load_photo(large)), np.asarray(picture))

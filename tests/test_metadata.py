"""Captions inside JPEG, PNG and WebP files, and beside them."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin

from captioner.errors import MetadataError
from captioner.metadata import embed, read_photo, sidecar
from captioner.metadata.placeholders import caption_in
from tests.photos import encode, noise, quarters, turned
from tests.written import read_caption, read_sidecar

CAPTION = "ein Hund & \"zwei\" <Katzen> 'laufen': 犬 🐕\nüber Gras"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
COLOURS = noise(20, 31)
CLEAR = COLOURS.convert("RGBA")
CLEAR.putalpha(Image.linear_gradient("L").resize(CLEAR.size))

FILES = {
    "jpeg": encode(COLOURS, "JPEG"),
    "progressive jpeg": encode(COLOURS, "JPEG", progressive=True),
    "gray jpeg": encode(COLOURS.convert("L"), "JPEG"),
    "cmyk jpeg": encode(COLOURS.convert("CMYK"), "JPEG"),
    "turned jpeg": turned(COLOURS, 6, "JPEG"),
    "jpeg with a profile": encode(COLOURS, "JPEG", icc_profile=bytes(70_000)),
    "jpeg with something behind it": encode(COLOURS, "JPEG") + b"MotionPhoto_Data\xff\xd8\xff\xd9",
    "png": encode(COLOURS, "PNG"),
    "palette png": encode(COLOURS.quantize(), "PNG"),
    "clear png": encode(CLEAR, "PNG"),
    "animated png": encode(COLOURS, "PNG", save_all=True, append_images=[quarters(20, 31)]),
    "png with something behind it": encode(COLOURS, "PNG") + b"more",
    "webp": encode(COLOURS, "WEBP"),
    "lossless webp": encode(COLOURS, "WEBP", lossless=True),
    "clear webp": encode(CLEAR, "WEBP"),
    "clear lossless webp": encode(CLEAR, "WEBP", lossless=True),
    "animated webp": encode(COLOURS, "WEBP", save_all=True, append_images=[quarters(20, 31)]),
    "turned webp": turned(COLOURS, 6, "WEBP"),
    "webp with something behind it": encode(COLOURS, "WEBP") + b"more",
}


def pixels(file: bytes) -> np.ndarray:
    with Image.open(BytesIO(file)) as image:
        frames = []
        for n in range(getattr(image, "n_frames", 1)):
            image.seek(n)
            frames.append(np.asarray(image.convert(image.mode if n == 0 else "RGBA")))
        return np.concatenate([frame.ravel() for frame in frames])


def descriptions(file: bytes) -> dict[str, str]:
    """dc:description as Pillow and its XML parser read it."""
    with Image.open(BytesIO(file)) as image:
        items = image.getxmp()["xmpmeta"]["RDF"]["Description"]["description"]["Alt"]["li"]
    items = items if isinstance(items, list) else [items]
    return {item["lang"]: item.get("text", "") for item in items}


def iptc_caption(file: bytes) -> bytes | None:
    with Image.open(BytesIO(file)) as image:
        return (IptcImagePlugin.getiptcinfo(image) or {}).get((2, 120))


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [k + struct.pack("<I", len(c)) + c + bytes(len(c) % 2) for k, c in chunks]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def error(file: bytes, caption: str = CAPTION) -> str:
    with pytest.raises(MetadataError) as caught:
        embed(file, caption, name="p")
    return str(caught.value)


# What every kind of file has in common


@pytest.mark.parametrize("kind", FILES)
def test_a_caption_is_written_and_read_and_no_pixel_changes(kind):
    file = FILES[kind]
    assert read_caption(file, name="p") is None
    captioned = embed(file, CAPTION, name="p")
    assert read_caption(captioned, name="p") == CAPTION
    assert descriptions(captioned) == {"x-default": CAPTION}
    assert iptc_caption(captioned) == (CAPTION.encode() if "jpeg" in kind else None)
    np.testing.assert_array_equal(pixels(captioned), pixels(file))


@pytest.mark.parametrize("kind", FILES)
def test_bytes_outside_the_caption_are_unchanged(kind):
    file = FILES[kind]
    captioned = embed(file, CAPTION, name="p")
    if "webp" in kind:  # the size of the file and the flags of its first chunk tell of the caption
        size = int.from_bytes(file[4:8], "little")
        added = captioned.index(b"XMP ")
        assert int.from_bytes(captioned[4:8], "little") == size + len(captioned) - len(file)
        assert captioned[added:].endswith(file[8 + size :])
        if file[12:16] == b"VP8X":
            assert captioned[20] == file[20] | 4
            assert captioned[21:added] == file[21 : 8 + size]
        else:
            assert captioned[12:16] == b"VP8X"
            assert captioned[30:added] == file[12 : 8 + size]
        return
    start = next(n for n, (a, b) in enumerate(zip(file, captioned, strict=False)) if a != b)
    rest = len(file) - start
    assert rest > 0
    assert captioned[-rest:] == file[start:]


@pytest.mark.parametrize("kind", FILES)
def test_writing_a_caption_again_changes_nothing_and_another_one_takes_its_place(kind):
    first = embed(FILES[kind], CAPTION, name="p")
    assert embed(first, CAPTION, name="p") == first
    second = embed(first, "a dog", name="p")
    assert second == embed(FILES[kind], "a dog", name="p")
    assert b"Katzen" not in second


@pytest.mark.parametrize("kind", ["jpeg", "png", "clear webp"])
@settings(max_examples=25, deadline=None)
@given(
    captions=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
            min_size=1,  # an empty one takes out what is there
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_caption_comes_back_after_any_others(kind, captions):
    file = FILES[kind]
    for caption in captions:
        file = embed(file, caption, name="p")
    last = caption_in(captions[-1])  # a blank is none
    assert read_caption(file, name="p") == last
    assert read_sidecar(sidecar(captions[-1], name="p"), name="p") == last
    assert file == embed(FILES[kind], captions[-1], name="p")


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "clear lossless webp"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_captioned_but_never_crashes(kind, data):
    file = bytearray(embed(FILES[kind], CAPTION, name="p"))
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, min(len(file), 900) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(file[: data.draw(st.integers(1, len(file)))])
    try:
        captioned = embed(damaged, "a dog", name="holiday")
    except MetadataError:
        return
    assert read_caption(captioned, name="holiday") == "a dog"


@pytest.mark.parametrize("kind", FILES)
def test_what_is_read_of_a_file_suffices_for_its_caption(kind, tmp_path):
    path = tmp_path / "photo"
    file = embed(FILES[kind], CAPTION, name="p")
    path.write_bytes(file + bytes(2**19))
    content = read_photo(path)
    assert read_caption(content, name="p") == CAPTION
    assert len(content) == (2**18 if "jpeg" in kind else len(file) + 2**19)
    path.write_bytes(file[:100])
    assert read_photo(path) == file[:100]


# What cannot be written


def test_other_files_are_refused_and_hold_no_caption():
    for file in (encode(COLOURS, "GIF"), encode(COLOURS, "TIFF"), b"", b"Dear reader"):
        assert error(file) == (
            "p: captions can be written into JPEG, PNG and WebP files only; write a sidecar."
        )
        assert read_caption(file, name="p") is None


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_file_cut_short_in_its_metadata_is_refused(kind):
    whole = FILES[kind]
    for length in (13, 20, 31):
        assert error(whole[:length]) == "p: damaged or cut short; copy or download it again."


@pytest.mark.parametrize(
    "file",
    [
        b"\xff\xd8" + segment(0xE0, b"JFIF\0") + b"\xff\xd9\0\0",
        FILES["png"][:33] + chunk(b"IEND", b""),
        riff((b"VP8X", bytes(10))),
    ],
    ids=["jpeg", "png", "webp"],
)
def test_a_file_without_a_picture_is_refused(file):
    assert error(file) == "p: it contains no image; copy or download it again."


def test_a_character_that_xml_cannot_hold_is_refused():
    for character in ("\0", "\x1b", "\ud800", "\ufffe"):
        assert error(FILES["png"], f"a {character} dog") == (
            f"p: the caption contains {character!r}, which XMP cannot store; remove it."
        )


@pytest.mark.parametrize(
    "signed",
    [
        b"\xff\xd8" + segment(0xEB, b"JP\0\1jumb....c2pa") + FILES["jpeg"][2:],
        FILES["png"][:33] + chunk(b"caBX", b"jumb") + FILES["png"][33:],
        riff((b"VP8 ", FILES["webp"][20:]), (b"C2PA", b"jumb")),
    ],
    ids=["jpeg", "png", "webp"],
)
def test_a_signed_photo_is_refused(signed):
    assert error(signed) == (
        "p: it carries Content Credentials, a signature that any change would break; "
        "write a sidecar."
    )


# JPEG


def test_the_other_pictures_of_a_jpeg_are_still_found():
    album = [noise(40, 50, seed=seed) for seed in range(3)]
    file = encode(album[0], "MPO", save_all=True, append_images=album[1:])
    captioned = embed(file, CAPTION, name="p")
    with Image.open(BytesIO(file)) as old, Image.open(BytesIO(captioned)) as new:
        assert new.format == "MPO"
        for n in range(3):
            old.seek(n)
            new.seek(n)
            assert new.tobytes() == old.tobytes()
        size, added = old.mpinfo[0xB002][0]["Size"], len(captioned) - len(file)
        assert new.mpinfo[0xB002][0]["Size"] == size + added
        assert [e["Size"] for e in new.mpinfo[0xB002][1:]] == [
            e["Size"] for e in old.mpinfo[0xB002][1:]
        ]


def test_metadata_behind_the_index_of_pictures_moves_what_it_points_to():
    album = [noise(40, 50, seed=seed) for seed in range(2)]
    file = encode(album[0], "MPO", save_all=True, append_images=album[1:])
    place = file.index(b"\xff\xdb")  # the first table, behind the index
    packet = segment(0xE1, XMP_HEAD + sidecar("old", name="p"))
    behind = file[:place] + packet + file[place:]
    start = behind.index(b"MPF\0") + 4
    entries = behind.index(struct.pack("<HH", 0xB002, 7), start)
    (first,) = struct.unpack_from("<I", behind, entries + 8)
    behind = bytearray(behind)
    for n, field, by in ((0, 4, len(packet)), (1, 8, len(packet))):
        at = start + first + 16 * n + field
        struct.pack_into("<I", behind, at, struct.unpack_from("<I", behind, at)[0] + by)
    captioned = embed(bytes(behind), "a much longer caption", name="p")
    with Image.open(BytesIO(captioned)) as new:
        new.seek(1)
        assert new.tobytes() == Image.open(BytesIO(encode(album[1], "JPEG"))).tobytes()


def test_a_damaged_index_of_pictures_is_refused():
    for index in (b"MPF\0", b"MPF\0II*\0\xff\xff\xff\xff", b"MPF\0no index"):
        file = b"\xff\xd8" + segment(0xE2, index) + FILES["jpeg"][2:]
        assert error(file) == "p: its index of images (MPF) is damaged; write a sidecar."


def test_a_packet_too_long_for_a_jpeg_loses_its_padding_or_is_refused():
    packet = sidecar("old", name="p") + b" " * 64_000 + b"<?xpacket end='w'?>"
    file = b"\xff\xd8" + segment(0xE1, XMP_HEAD + packet) + FILES["jpeg"][2:]
    captioned = embed(file, "x" * 1500, name="p")
    assert read_caption(captioned, name="p") == "x" * 1500
    assert len(captioned) < len(file)
    assert error(file, "x" * 66_000).startswith("p: its XMP would be 66")
    assert error(file, "x" * 66_000).endswith(
        " bytes, more than the 65504 a JPEG can hold; write a sidecar."
    )


def test_extended_xmp_is_kept_unless_it_holds_the_caption():
    def extension(content: bytes) -> bytes:
        head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
        middle = len(content) // 2
        parts = [(middle, content[middle:]), (0, content[:middle])]  # in any order
        return b"".join(
            segment(0xE1, head + struct.pack(">II", len(content), offset) + part)
            for offset, part in parts
        )

    empty = sidecar("x", name="p").replace(b"dc:description", b"dc:title")
    file = b"\xff\xd8" + extension(empty) + FILES["jpeg"][2:]
    captioned = embed(file, CAPTION, name="p")
    assert extension(empty) in captioned
    assert read_caption(captioned, name="p") == CAPTION
    file = b"\xff\xd8" + extension(sidecar("x", name="p")) + FILES["jpeg"][2:]
    assert error(file) == (
        "p: its caption is in extended XMP or Exif, which cannot be changed; write a sidecar."
    )


def test_fill_bytes_before_a_marker_are_not_damage():
    file = b"\xff\xd8\xff\xff" + FILES["jpeg"][2:]
    captioned = embed(file, CAPTION, name="p")
    assert captioned.startswith(b"\xff\xd8\xff\xff\xff\xe0")
    np.testing.assert_array_equal(pixels(captioned), pixels(file))


# PNG


@pytest.mark.parametrize("compressed", [False, True])
def test_xmp_that_a_png_has_already_is_merged(compressed):
    packet = sidecar("old", name="p").replace(b"<rdf:Description ", b'<rdf:Description a="1" ')
    body = zlib.compress(packet) if compressed else packet
    text = b"XML:com.adobe.xmp\0" + bytes([compressed, 0]) + b"en\0words\0" + body
    file = FILES["png"]
    end = len(file) - 12
    file = file[:end] + chunk(b"iTXt", text) + file[end:]  # behind the pixels
    assert read_caption(file, name="p") == "old"
    captioned = embed(file, "new", name="p")
    with Image.open(BytesIO(captioned)) as image:
        image.load()
        assert image.info["XML:com.adobe.xmp"] == packet.replace(b"old", b"new").decode()
    assert captioned[:end] == file[:end]


def test_packed_xmp_that_does_not_unpack_is_refused():
    def packed(content: bytes) -> bytes:
        text = b"XML:com.adobe.xmp\0\1\0\0\0" + content
        return FILES["png"][:33] + chunk(b"iTXt", text) + FILES["png"][33:]

    assert error(packed(b"no zlib")).startswith("p: its XMP is damaged (Error -3 ")
    bomb = zlib.compress(bytes(2**24 + 1))
    for content in (bomb, zlib.compress(b"<x/>")[:-5]):
        assert error(packed(content)) == (
            "p: its XMP is cut short or over 16777216 bytes; remove it."
        )
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0")
    assert error(FILES["png"][:33] + text + FILES["png"][33:]) == (
        "p: its XMP is damaged (no text in it); remove it first."
    )


# Several packets


@pytest.mark.parametrize(
    "file",
    [
        b"\xff\xd8" + 2 * segment(0xE1, XMP_HEAD) + FILES["jpeg"][2:],
        FILES["png"][:33] + 2 * chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0") + FILES["png"][33:],
        riff((b"VP8 ", FILES["webp"][20:]), (b"XMP ", b""), (b"XMP ", b"")),
    ],
    ids=["jpeg", "png", "webp"],
)
def test_two_packets_in_one_file_are_refused(file):
    assert error(file) == "p: it holds 2 XMP packets; leave only one."


# WebP


@pytest.mark.parametrize("size", [(1, 1), (16383, 1), (1, 16383), (300, 200)])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_simple_webp_tells_its_size_and_transparency_when_extended(size, lossless):
    for mode, flag in (("RGB", 0), ("RGBA", 16 if lossless else 0)):
        file = encode(Image.new(mode, size, (9, 8, 7, 6)[: len(mode)]), "WEBP", lossless=lossless)
        if file[12:16] == b"VP8X":  # lossy ones with transparency are extended already
            continue
        captioned = embed(file, CAPTION, name="p")
        assert captioned[12:20] == b"VP8X" + struct.pack("<I", 10)
        assert captioned[20] & 0x14 == flag | 4
        width, height = (int.from_bytes(captioned[n : n + 3], "little") + 1 for n in (24, 27))
        assert (width, height) == size
        np.testing.assert_array_equal(pixels(captioned), pixels(file))


@pytest.mark.parametrize("side", [26, 28])  # where a lossy WebP holds its width and its height
def test_a_webp_without_a_pixel_is_damaged(side):
    data = bytearray(encode(quarters(), "WEBP"))
    assert data[23:26] == b"\x9d\x01\x2a"
    data[side : side + 2] = b"\0\0"
    with pytest.raises(MetadataError, match=r"photo\.webp: damaged or cut short"):
        embed(bytes(data), "a cat", name="photo.webp")

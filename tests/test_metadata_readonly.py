"""Captions in files and places that are read and not written."""

import struct
import zlib

import pytest

from captioner.errors import MetadataError, UnsupportedFileError
from captioner.metadata import embed, read_captions, sidecar
from tests.makers import (
    ASCII,
    BYTE,
    HUMAN,
    UNDEFINED,
    alternatives,
    block,
    chunk,
    jpeg,
    packet,
    png,
    records,
    text,
    wide,
)
from tests.test_metadata_exif import described
from tests.written import read_caption

# TIFF


def test_captions_of_a_tiff_are_read_from_all_its_places():
    content = b"\x1c\2\x78\0\4Rome"
    resources = records((2, 120, b"Rome"))[18:]
    for value in (
        text(0x010E, "Rome"),
        (0x02BC, BYTE, len(sidecar("Rome", name="p")), sidecar("Rome", name="p")),
        (0x83BB, UNDEFINED, len(content), content),
        (0x8649, UNDEFINED, len(resources), resources),
        (0x9C9C, BYTE, len(wide("Rome")), wide("Rome")),
    ):
        for order in "<>":
            assert read_captions(block(order, [value]), name="p") == ["Rome"], hex(value[0])
    assert read_captions(block("<", [text(0x010E, "ImageJ=1.53t")]), name="p") == []
    broken = (0x02BC, BYTE, 5, b"<x:xm")
    assert read_captions(block("<", [broken, text(0x010E, "Rome")]), name="p") == ["Rome"]
    assert read_captions(b"II*\0", name="p") == []


def test_captions_of_a_bigtiff_are_read():
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 16)
    entry = struct.pack("<HHQQ", 0x010E, ASCII, len(HUMAN) + 1, 16 + 8 + 20 + 8)
    data = head + struct.pack("<Q", 1) + entry + bytes(8) + HUMAN.encode() + b"\0"
    assert read_captions(data, name="p") == [HUMAN]


# Other kinds


def test_captions_in_files_of_other_kinds_are_found_and_not_written():
    head = struct.pack(">I", 24) + b"ftypheic" + bytes(12)
    for content in (
        described(">"),
        b"\0\0\0\6Exif\0\0" + described(">"),
        packet(alternatives("dc:description", ("x-default", HUMAN))),
    ):
        file = head + bytes(99) + content + bytes(99)
        assert read_captions(file, name="p") == ([] if content.startswith(b"MM") else [HUMAN])
        with pytest.raises(UnsupportedFileError, match="JPEG, PNG and WebP files only"):
            embed(file, "a dog", name="p")
    assert read_captions(head + b"<x:xmpmeta>torn</x:xmpmeta>Exif\0\0II*\0", name="p") == []
    assert read_captions(b"IIRO" + described("<")[4:], name="p") == [HUMAN]


# PNG


def test_texts_of_a_png_change_if_they_hold_the_caption():
    kept = [chunk(b"tEXt", b"Title\0Rome"), chunk(b"tEXt", b"Comment\0Created with GIMP")]
    comment = b"COMMENT\0\0" + zlib.compress(b"Gr\xf6\xdfe")
    file = png(*kept, chunk(b"tEXt", b"description\0Gr\xf6\xdfe"), chunk(b"zTXt", comment))
    assert read_captions(file, name="p") == ["Größe"]
    changed = embed(file, "ein Hündchen", name="p")
    for part in (
        *kept,
        chunk(b"iTXt", b"description" + bytes(5) + "ein Hündchen".encode()),
        chunk(b"iTXt", b"COMMENT" + bytes(5) + "ein Hündchen".encode()),
    ):
        assert part in changed
    assert chunk(b"tEXt", b"description\0a dog") in embed(file, "a dog", name="p")
    for other in (b"drawn by Bo", b'{"steps": 28}'):
        comment = chunk(b"tEXt", b"Comment\0" + other)
        file = png(kept[0], comment, chunk(b"tEXt", b"Description\0Rome"))
        assert comment in embed(file, "a dog", name="p")


def test_captions_in_profiles_of_imagemagick_are_seen_and_refused():
    def profile(kind: str, content: bytes) -> bytes:
        lines = f"\n{kind}\n{len(content):8}\n{content.hex()}\n".encode()
        return chunk(b"zTXt", f"Raw profile type {kind}\0\0".encode() + zlib.compress(lines))

    for kind, content in (
        ("exif", b"Exif\0\0" + described("<")),
        ("APP1", b"Exif\0\0" + described("<")),
        ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + sidecar(HUMAN, name="p")),
        ("xmp", sidecar(HUMAN, name="p")),
        ("iptc", records((2, 120, HUMAN.encode()))[18:]),
    ):
        file = png(profile(kind, content))
        assert read_caption(file, name="p") == HUMAN, kind
        with pytest.raises(MetadataError) as caught:
            embed(file, "a dog", name="p")
        assert str(caught.value) == (
            "p: its caption is in a profile of ImageMagick, which cannot be changed; "
            "write a sidecar."
        )
    broken = png(
        profile("iptc", b"8BIM"), chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nxyzt")
    )
    assert read_caption(embed(broken, "a dog", name="p"), name="p") == "a dog"


def test_extended_xmp_is_read_as_well():
    content = packet(alternatives("dc:description", ("x-default", "Rome")))
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    extension = head + struct.pack(">II", len(content), 0) + content
    file = jpeg(struct.pack(">BBH", 0xFF, 0xE1, len(extension) + 2) + extension)
    assert read_captions(file, name="p") == ["Rome"]

"""The caption in Exif data: changed in its place or behind everything, and nothing is moved."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import MetadataError
from captioner.metadata import embed, read_captions
from captioner.metadata.exif import read_captions as read_both
from captioner.metadata.exif import set_caption
from captioner.metadata.placeholders import caption_in, distinct
from tests.makers import (
    ASCII,
    BYTE,
    HUMAN,
    PREVIEW,
    SONY_PREVIEW,
    THUMBNAIL,
    UNDEFINED,
    block,
    camera,
    canon,
    chunk,
    details,
    directory,
    jpeg,
    make,
    png,
    segment,
    text,
    webp,
    wide,
)
from tests.written import read_caption

LONG = "a photograph of a dog that runs across a beach"


def described(order: str, description: str = HUMAN, **options) -> bytes:
    return block(
        order,
        camera(order, "Canon", "Canon EOS 40D", description),
        details(order),
        canon,
        **options,
    )


def put(data: bytes, caption: str, *outdated: str) -> bytes:
    changed = set_caption(data, caption, outdated=outdated)
    assert set_caption(changed, caption, outdated=outdated) == changed
    return changed


def field(tag: int, order: str, data: bytes) -> int:
    """Where the field of this tag lies."""
    return data.index(struct.pack(f"{order}H", tag))


@pytest.mark.parametrize("order", "<>")
def test_a_caption_that_fits_takes_the_place_of_the_old_one(order):
    data = described(order, thumbnail=THUMBNAIL)
    changed = put(data, "a dog")
    at, start = field(0x010E, order, data), data.index(HUMAN.encode())
    expected = bytearray(data)
    expected[start : start + len(HUMAN)] = b"a dog".ljust(len(HUMAN), b"\0")
    struct.pack_into(f"{order}I", expected, at + 4, 6)
    assert changed == bytes(expected)
    assert read_both(changed)[0] == ["a dog"]


@pytest.mark.parametrize("order", "<>")
def test_a_longer_caption_goes_behind_everything_and_nothing_is_moved(order):
    data = described(order, thumbnail=THUMBNAIL)
    changed = put(data, LONG)
    at, start = field(0x010E, order, data), data.index(HUMAN.encode())
    expected = bytearray(data)
    expected[start : start + len(HUMAN)] = bytes(len(HUMAN))
    expected += bytes(len(data) % 2)
    struct.pack_into(f"{order}II", expected, at + 4, len(LONG) + 1, len(expected))
    assert changed == bytes(expected) + LONG.encode() + b"\0"
    again = put(changed, LONG + " again")
    struct.pack_into(f"{order}I", expected, at + 4, len(LONG + " again") + 1)
    assert again == bytes(expected) + LONG.encode() + b" again\0"


@pytest.mark.parametrize("order", "<>")
def test_captions_of_up_to_four_bytes_lie_in_the_field_itself(order):
    data = described(order)
    short = put(data, "cat")
    at = field(0x010E, order, data)
    assert short[at : at + 12] == struct.pack(f"{order}HHI", 0x010E, ASCII, 4) + b"cat\0"
    assert len(short) == len(data)
    assert read_both(put(short, LONG))[0] == [LONG]


def test_a_value_that_another_field_has_too_is_left_to_it():
    data = bytearray(described("<"))
    other, own = field(0x0131, "<", data), field(0x010E, "<", data)
    data[other + 4 : other + 12] = data[own + 4 : own + 12]  # Software
    for caption in ("a dog", LONG):
        changed = put(bytes(data), caption)
        assert changed[: len(data)].count(HUMAN.encode()) == 1
        assert read_both(changed)[0] == [caption]


@pytest.mark.parametrize("order", "<>")
def test_user_comments_are_read_and_written_in_every_encoding(order):
    unicode = "utf-16-le" if order == "<" else "utf-16-be"
    other = "utf-16-be" if order == "<" else "utf-16-le"
    for content, expected in (
        (b"ASCII\0\0\0" + HUMAN.encode(), HUMAN),
        (bytes(8) + HUMAN.encode(), HUMAN),
        (HUMAN.encode(), HUMAN),
        (b"UNICODE\0" + "Größe".encode(unicode), "Größe"),
        (b"UNICODE\0" + "Größe".encode(other), "Größe"),
        (b"UNICODE\0" + "犬".encode(unicode), "犬"),
        (b"UNICODE\0" + "Größe".encode("utf-16"), "Größe"),
        (b"JIS\0\0\0\0\0" + "犬".encode("iso2022_jp"), "犬"),
    ):
        value = (0x9286, UNDEFINED, len(content), content)
        data = block(order, camera(order, "Canon", "EOS"), [*details(order), value], canon)
        assert read_both(data)[0] == [expected]
        assert read_both(put(data, "a dog"))[0] == ["a dog"]
        assert read_both(put(data, "ein Hündchen: 犬"))[0] == ["ein Hündchen: 犬"]
    for blank in (bytes(8), b"ASCII\0\0\0" + b" " * 30, b"UNICODE\0" + bytes(8), b""):
        value = (0x9286, UNDEFINED, len(blank), blank)
        data = block(order, camera(order, "Canon", "EOS"), [*details(order), value], canon)
        assert read_both(data)[0] == []
        assert put(data, "a dog") == data


def test_titles_and_comments_of_windows_change_if_they_repeat_the_caption():
    fields = [
        (tag, BYTE, len(wide(words)), wide(words))
        for tag, words in ((0x9C9B, "Größe"), (0x9C9C, "scanned by Bo"), (0x9C9F, " "))
    ]
    data = block(">", [*camera(">", "Canon", "EOS"), *fields])
    assert read_both(data) == ([], ["scanned by Bo", "Größe"])
    assert put(data, "a dog", "something else") == data
    changed = put(data, "ein Hündchen am Strand", "Größe")
    assert read_both(changed)[1] == ["scanned by Bo", "ein Hündchen am Strand"]
    alone = jpeg(exif=data)
    assert read_captions(alone, name="p") == ["scanned by Bo", "Größe"]
    assert "Größe".encode("utf-16-le") not in embed(alone, "a dog", name="p")


def test_what_cameras_and_programs_write_there_is_no_caption():
    for words in (
        "OLYMPUS DIGITAL CAMERA         ", "SONY DSC", " " * 31, "\0\0\0", "DCIM", "rhdr",
        "DCIM\\100GOPRO\\GOPR1.JPG", "<Digimax S500 / Kenox S500>", "canon eos 40d",
        "Canon Canon EOS 40D",
    ):  # fmt: skip
        data = described("<", words)
        assert read_both(data)[0] == [], words
        assert read_both(put(data, "a dog"))[0] == ["a dog"], words
    for words in (
        '{"prompt": {"1": 2}}',
        'workflow:{"a": []}',
        "ImageJ=1.53t\nimages=1",
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7",
    ):
        data = described("<", words)
        assert read_both(data)[0] == []
        assert put(data, "a dog") == data, "it is a program's, and stays"
    for words in (
        "a digital camera on a table",
        "{a dog}",
        "default settings",
        "[no] 1",
        "DCIM here",
    ):
        assert caption_in(words) == words


def test_captions_that_say_what_others_say_are_left_out():
    assert distinct(["Gr??e in Rom", "Größe in Rom", "Größe", "b", "b ", "Rom, 1974"]) == [
        "Gr??e in Rom", "b", "Rom, 1974",
    ]  # fmt: skip


@pytest.mark.parametrize("pointer", [b"\xff" * 4, b"\xff" * 400, b""])
def test_a_pointer_to_nowhere_costs_no_other_field(pointer):
    fields = [text(0x010E, HUMAN), (0x8769, UNDEFINED, len(pointer), pointer)]
    data = b"II*\0\x08\0\0\0" + directory(fields, order="<", at=8)
    assert read_both(data)[0] == [HUMAN]
    assert read_both(put(data, LONG))[0] == [LONG]


def test_type_129_stays_and_latin_1_is_read():
    data = bytearray(described("<", "Gr_ße"))
    at = field(0x010E, "<", data)
    struct.pack_into("<H", data, at + 2, 129)
    changed = put(bytes(data), "a dog")
    assert changed[at + 2 : at + 4] == b"\x81\0"
    data = described("<", "Gr__e").replace(b"Gr__e", b"Gr\xf6\xdfe")
    assert read_both(data)[0] == ["Größe"]


# Files


def test_exif_that_would_be_too_long_for_a_jpeg_is_refused_and_fits_elsewhere():
    exif = described("<")
    caption = "x" * 65_000
    with pytest.raises(MetadataError) as caught:
        embed(jpeg(exif=exif + bytes(1000)), caption, name="p")
    assert str(caught.value) == (
        f"p: its Exif data would be {len(exif) + 1000 + len(exif) % 2 + 65_001} bytes, more than "
        "the 65527 a JPEG can hold; write a sidecar."
    )
    for file in (png(chunk(b"eXIf", exif)), webp(exif=exif)):
        assert read_captions(embed(file, caption, name="p"), name="p") == [caption]


def test_further_exif_data_stays_and_is_refused_if_it_holds_a_caption():
    def with_further(further: bytes, first: bytes) -> bytes:
        return jpeg(segment(0xE1, b"Exif\0\0" + further), exif=first)

    plain = block("<", camera("<", "Canon", "Canon EOS 40D"))
    changed = embed(with_further(plain, described("<")), LONG, name="p")
    assert read_captions(changed, name="p") == [LONG]
    assert segment(0xE1, b"Exif\0\0" + plain) in changed
    file = with_further(described("<"), described("<", "a"))
    assert read_captions(file, name="p") == [HUMAN]
    with pytest.raises(MetadataError, match=r"^p: its caption is in extended XMP or Exif, which"):
        embed(file, "a dog", name="p")


@pytest.mark.parametrize("nothing", [b"", bytes(99), b"II", b"no TIFF structure at all"])
def test_what_is_no_exif_data_stays(nothing):
    file = jpeg(exif=b"") if not nothing else jpeg(exif=nothing)
    changed = embed(file, "a dog", name="p")
    assert read_captions(changed, name="p") == ["a dog"]
    assert b"Exif\0\0" + nothing in changed or not nothing


def test_the_mark_that_some_write_before_exif_in_a_webp_stays():
    plain = webp(exif=described("<"))
    start = plain.index(b"EXIF")
    length = int.from_bytes(plain[start + 4 : start + 8], "little")
    content = b"Exif\0\0" + plain[start + 8 : start + 8 + length]
    new = b"EXIF" + struct.pack("<I", len(content)) + content
    file = plain[:start] + new + plain[start + 8 + length :]
    file = b"RIFF" + struct.pack("<I", len(file) - 8) + file[8:]
    changed = embed(file, LONG, name="p")
    assert read_captions(file, name="p") == [HUMAN]
    assert read_captions(changed, name="p") == [LONG]
    assert changed[start + 8 :].startswith(b"Exif\0\0II*\0")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:4] + b"\xff\xff\0\0" + data[8:], "unpack_from requires a buffer of"),
        (lambda data: data[:30], "a directory outside the data"),
        (
            lambda data: data.replace(b"\x0e\1\2\0\x16\0\0\0", b"\x0e\1\2\0\x16\0\0\x7f"),
            "a value outside",
        ),
    ],
)
def test_damaged_exif_holds_no_caption_and_is_refused(damage, reason):
    file = jpeg(exif=damage(described("<")))
    assert read_captions(file, name="p") == []
    with pytest.raises(MetadataError) as caught:
        embed(file, "a dog", name="p")
    assert str(caught.value).startswith(f"p: its Exif data is damaged ({reason}")
    assert str(caught.value).endswith("; remove it first, or write a sidecar.")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_exif_damaged_anywhere_never_crashes(data):
    comment = b"UNICODE\0" + HUMAN.encode("utf-16-be")
    fields = [*details(">"), (0x9286, UNDEFINED, len(comment), comment)]
    whole = block(">", camera(">", "Canon", "EOS", HUMAN), fields, canon, thumbnail=THUMBNAIL)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_both(bytes(damaged))
    try:
        changed = set_caption(bytes(damaged), LONG, outdated=())
    except MetadataError:
        return
    assert {*read_both(changed)[0]} <= {LONG}


@pytest.mark.parametrize("caption", ["a dog", LONG])
@pytest.mark.parametrize(
    ("maker", "order", "head"),
    [
        ("alpha.jpg", "<", struct.pack("<HHI", 0x2001, UNDEFINED, len(SONY_PREVIEW))),
        ("casio.jpg", ">", struct.pack(">HHI", 0x0004, 4, 1)),
        ("eos300d.jpg", "<", struct.pack("<5I", 24, 2, len(PREVIEW), 48, 32)),
    ],
)
def test_pointers_to_previews_behind_the_picture_follow_them(maker, order, head, caption):
    file = make()[maker]
    preview = SONY_PREVIEW if maker == "alpha.jpg" else PREVIEW
    for shown in (file, embed(file, caption, name="p")):
        (pointer,) = struct.unpack_from(f"{order}I", shown, shown.index(head) + len(head))
        assert shown[12 + pointer :] == preview
    moved = embed(file[: -len(preview)] + bytes(len(preview)), caption, name="p")
    (pointer,) = struct.unpack_from(f"{order}I", moved, moved.index(head) + len(head))
    assert 12 + pointer == len(file) - len(preview), "what points to nothing is let be"


# All


FILES = make()


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_damaged_photo_is_refused_or_captioned_but_never_crashes(kind, data):
    file = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, min(len(file), 2500) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(file[: data.draw(st.integers(1, len(file)))])
    try:
        read_captions(damaged, name="holiday")
        captioned = embed(damaged, LONG, name="holiday")
    except MetadataError:
        return
    assert read_caption(captioned, name="holiday") == LONG
    assert embed(captioned, LONG, name="holiday") == captioned

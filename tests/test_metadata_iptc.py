"""The caption among IPTC records and Photoshop resources that others have written."""

import struct
from hashlib import md5

import pytest

from captioner.errors import MetadataError
from captioner.metadata.iptc import get_caption, set_caption

UTF8 = b"\x1c\1Z\0\3\x1b%G"
VERSION = b"\x1c\2\0\0\2\0\4"


def data_set(record: int, number: int, content: bytes) -> bytes:
    return b"\x1c" + struct.pack(">BBH", record, number, len(content)) + content


def resource(number: int, content: bytes, name: bytes = b"\0\0", kind: bytes = b"8BIM") -> bytes:
    head = kind + struct.pack(">H", number) + name + struct.pack(">I", len(content))
    return head + content + bytes(len(content) % 2)


def records(*sets: bytes) -> bytes:
    return resource(0x0404, b"".join(sets))


def error(resources: bytes, caption: str = "new") -> str:
    with pytest.raises(MetadataError) as caught:
        set_caption(resources, caption)
    return str(caught.value)


def test_a_photo_without_records_gets_these():
    expected = records(UTF8, VERSION, data_set(2, 120, "Hündin".encode()))
    assert set_caption(b"", "Hündin") == expected
    assert get_caption(expected) == "Hündin"
    assert get_caption(b"") is None
    assert get_caption(records(VERSION)) is None


def test_other_records_and_resources_stay_byte_for_byte():
    keywords = data_set(2, 25, b"dog") + data_set(2, 25, "Gräser".encode())
    digital = data_set(3, 10, b"\0") + data_set(7, 20, b"x")
    long = b"\x1c\2\x7a\x80\4\0\0\1\0" + bytes(256)  # an extended data set: 4 bytes of length
    clip = resource(2000, b"path", name=b"\5outer")
    mesa = resource(1, b"odd", kind=b"MeSa")

    def file(*captions: bytes) -> bytes:
        own = records(data_set(1, 0, b"\0\4"), UTF8, VERSION, keywords, *captions, long, digital)
        return clip + own + mesa + b"\0\0"

    old = data_set(2, 120, b"old"), data_set(2, 120, b"older")
    assert set_caption(file(*old), "new") == file(data_set(2, 120, b"new"))
    assert get_caption(file(*old)) == "old"


def test_a_new_caption_stands_at_the_end_of_its_record():
    old = records(UTF8, VERSION, data_set(2, 25, b"dog"), data_set(3, 10, b"\0"))
    new = records(
        UTF8, VERSION, data_set(2, 25, b"dog"), data_set(2, 120, b"new"), data_set(3, 10, b"\0")
    )
    assert set_caption(old, "new") == new


def test_missing_heads_of_the_records_are_added_in_front():
    old, new = data_set(2, 25, "Gräser".encode()), data_set(2, 120, b"new")
    assert set_caption(records(old), "new") == records(UTF8, VERSION, old, new)


def test_the_digest_of_the_records_follows_them():
    digest = resource(0x0425, bytes(16))
    content = UTF8 + VERSION + data_set(2, 120, b"new")
    assert set_caption(digest + records(VERSION), "new") == (
        resource(0x0425, md5(content).digest()) + resource(0x0404, content)
    )


def test_of_several_groups_of_records_one_is_left():
    twice = records(VERSION, data_set(2, 120, b"old")) + records(data_set(2, 120, b"older"))
    assert set_caption(twice, "new") == set_caption(b"", "new")


def test_texts_of_an_unknown_alphabet_are_left_alone():
    for head in (b"", data_set(1, 90, b"\x1b.A")):
        latin = data_set(2, 25, "Gräser".encode("latin-1"))
        changed = set_caption(records(head, VERSION, latin), "new")
        assert changed == records(head, VERSION, latin, data_set(2, 120, b"new"))
        assert error(records(head, VERSION, latin), "Hündin") == (
            "its IPTC texts are not UTF-8, but 'Hündin' is not ASCII; convert them first, or write "
            "a sidecar."
        )
    assert get_caption(records(data_set(2, 120, "Hündin".encode("cp1252")))) == "Hündin"


def test_a_caption_longer_than_the_data_set_is_cut_at_a_character():
    written = get_caption(set_caption(b"", "犬" * 700))
    assert written == "犬" * 666
    assert get_caption(set_caption(b"", "x" * 2000)) == "x" * 2000


@pytest.mark.parametrize(
    "resources",
    [
        b"8BIM",
        b"8BIM\4\4\0\0\0\0\0\1",
        b"8BIM\4\4\xff",
        b"no resource",
        records(VERSION) + b"?",
        records(b"\x1c\2"),
        records(b"\x1c\2x\0\5dog"),
        records(b"\x1c\2x\xff\xffdog"),
        records(VERSION, b"?"),
    ],
)
def test_damaged_resources_are_refused(resources):
    text = "its IPTC texts are damaged; remove them, or write a sidecar."
    assert error(resources) == text
    with pytest.raises(MetadataError) as caught:
        get_caption(resources)
    assert str(caught.value) == text

"""Lines of the journal: as they were written, edited, damaged, and repaired."""

import json

import pytest

from captioner.folder.journal.records import CutOffError, JournalRecord
from tests.test_folder import NAMES, captions

RECORD = JournalRecord(
    image="a.jpg", status="captioned", caption="a dog in Köln", log_probability=-1.5
)


def test_a_line_is_read_back_as_it_was_written():
    line = RECORD.to_line()
    assert line == (
        '{"image": "a.jpg", "status": "captioned", "caption": "a dog in Köln", '
        '"log_probability": -1.5, "crc32": "'.encode()
        + line[-11:]
    )
    assert JournalRecord.from_line(line) == RECORD
    assert JournalRecord.from_line(line[:-1] + b"\r\n") == RECORD


@pytest.mark.parametrize(
    "style", [{"separators": (",", ":")}, {"ensure_ascii": False}, {"sort_keys": True}]
)
def test_reformatted_json_is_not_an_edit(style):
    line = json.dumps(json.loads(RECORD.to_line()), **style).encode() + b"\n"
    assert JournalRecord.from_line(line) == RECORD


def test_a_line_without_a_checksum_is_not_an_edit():
    line = json.dumps(RECORD.to_dict()).encode() + b"\n"
    assert JournalRecord.from_line(line) == RECORD


def test_another_caption_is_an_edit():
    line = RECORD.to_line().replace(b"a dog", b"my dog")
    record = JournalRecord.from_line(line)
    assert (record.caption, record.edited) == ("my dog in Köln", True)
    assert JournalRecord.from_line(record.to_line()) == record


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"-1.5", b'"much"', "its log_probability is 'much'"),
        (b'"a dog in K\xc3\xb6ln"', b"5", "its caption is 5"),
        (b'"captioned"', b'"done"', "its status is 'done'"),
        (b'"caption": "a dog in K\xc3\xb6ln", ', b"", "it has no caption"),
        (b"-1.5", b'-1.5, "words": [{"word": 5}]', "its word is 5"),
        (b"-1.5", b'-1.5, "words": [5]', "5 instead of an object"),
        (b"-1.5", b'-1.5, "size": "large"', "its size is 'large'"),
        (b"image", b"picture", "unexpected keyword argument 'picture'"),
    ],
)
def test_values_of_another_kind_are_named(old, new, error):
    with pytest.raises(ValueError, match=error) as raised:
        JournalRecord.from_line(RECORD.to_line().replace(old, new))
    assert not isinstance(raised.value, CutOffError)


@pytest.mark.parametrize(
    "damage", [b"\0" * 40, b"not JSON", b'{"image": 5, "status": "captioned"}']
)
def test_damaged_lines_are_set_aside_on_request_and_nothing_else_is_lost(command, folder, damage):
    output = folder / "captions.jsonl"
    command(folder, "--prefix", "A ")
    told = captions(output)
    first, _, third, fourth = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join([first, damage + b"\n", third, fourth]))
    status, _, (error,) = command(folder, "--prefix", "A ")
    assert status == 2
    assert error == (
        f"captioner: {output}: line 2 is damaged; restore the file, or use --repair to move "
        "damaged lines to another file and caption their photos again."
    )
    status, lines, errors = command(folder, "--prefix", "A ", "--repair")
    assert (status, errors) == (0, [])
    assert "1 captioned, 3 already captioned" in lines[0]
    assert captions(output) == told
    assert sorted(captions(output)) == NAMES
    assert (folder / "captions.damaged.jsonl").read_bytes() == damage + b"\n"
    assert command(folder, "--prefix", "A ", "--repair")[0] == 0
    assert (folder / "captions.damaged.jsonl").read_bytes() == damage + b"\n"

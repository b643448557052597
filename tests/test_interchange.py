import csv
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.folder.journal.records import JournalRecord
from captioner.interchange import guard, portable, readable, restored, unguard

GERMAN = os.fsdecode("Größe.jpg".encode("latin-1"))
"""A file name in Latin-1, as old archives and cameras leave it."""


@pytest.mark.parametrize(
    ("cell", "guarded"),
    [
        ("a dog", "a dog"),
        ("", ""),
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-5 degrees", "'-5 degrees"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\nx", "'\nx"),
        ("\uff1d1", "'\uff1d1"),
        ("a=b", "a=b"),
        ("'t is", "'t is"),
        ("'=1", "''=1"),
    ],
)
def test_cells_that_begin_like_formulas_are_quoted_and_read_back(cell, guarded):
    assert guard(cell) == guarded
    assert unguard(guarded) == cell


@given(st.text(alphabet="'=+-@\t\r\nx\uff1d"))
def test_every_cell_is_read_back_as_it_was(cell):
    assert unguard(guard(cell)) == cell


def test_text_stays_as_it_is():
    table = {"image": "Größe 大.jpg", "caption": "ein Hund", "log_probability": -1.5, "words": []}
    assert portable(table) == table
    assert restored(table) == table
    assert readable("Größe 大.jpg") == "Größe 大.jpg"


def test_a_name_that_is_not_text_is_readable_and_keeps_its_bytes():
    table = {"image": GERMAN, "reason": f"{GERMAN} cannot be read."}
    written = portable(table)
    assert written == {
        "image": r"Gr\udcf6\udcdfe.jpg",
        "image_bytes": "4772f6df652e6a7067",
        "reason": r"Gr\udcf6\udcdfe.jpg cannot be read.",
    }
    assert bytes.fromhex(written["image_bytes"]) == "Größe.jpg".encode("latin-1")
    assert restored(written)["image"] == GERMAN
    assert restored(portable({"image": r"Gr\udcf6.jpg"})) == {"image": r"Gr\udcf6.jpg"}


@pytest.mark.parametrize("name", ["a.jpg", GERMAN, "\udcff", "Größe\u2028\n.jpg", r"\udcff"])
def test_records_read_back_every_name_from_valid_json(name):
    record = JournalRecord(image=name, status="captioned", caption="a dog", log_probability=-1.0)
    line = record.to_line()
    assert line.count(b"\n") == 1
    assert JournalRecord.from_line(line) == record
    json.loads(line)["image"].encode()  # no lone surrogates


def test_journals_that_escaped_such_names_are_still_read():
    line = json.dumps({"image": GERMAN, "status": "failed", "reason": "x"}).encode() + b"\n"
    assert b"\\udcf6" in line
    assert JournalRecord.from_line(line) == JournalRecord(image=GERMAN, status="failed", reason="x")


@pytest.mark.parametrize("broken", ["zz", 5, None, ["61"]])
def test_bytes_that_are_none_make_no_record(broken):
    table = {"image": "a.jpg", "image_bytes": broken, "status": "failed"}
    with pytest.raises(ValueError, match="not a record"):
        JournalRecord.from_dict(table)


def test_json_lines_with_such_a_name_are_read_by_pyarrow_and_pandas():
    arrow = pytest.importorskip("pyarrow.json")
    lines = b"".join(
        JournalRecord(image=name, status="captioned", caption="a dog").to_line()
        for name in ("a.jpg", GERMAN, "b.jpg")
    )
    table = arrow.read_json(io.BytesIO(lines))
    assert table["image"].to_pylist() == ["a.jpg", r"Gr\udcf6\udcdfe.jpg", "b.jpg"]
    assert table["image_bytes"].to_pylist() == [None, "4772f6df652e6a7067", None]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_json(io.BytesIO(lines), lines=True)
    assert list(frame["image"]) == table["image"].to_pylist()


def test_a_guarded_cell_survives_csv():
    text = io.StringIO()
    csv.writer(text).writerow([guard("\rx"), guard('=HYPERLINK("a","b")')])
    text.seek(0)
    (row,) = csv.reader(text)
    assert list(map(unguard, row)) == ["\rx", '=HYPERLINK("a","b")']

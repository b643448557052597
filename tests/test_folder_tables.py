import csv
import os
from dataclasses import replace

import pytest

from captioner.cli import main
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.contract import COLUMNS
from captioner.folder.outputs.tables import write_table
from captioner.interchange import unguard
from captioner.pytorch import TorchCaptioner

pytest.importorskip("pyarrow")

FAILED = JournalRecord(image="broken.jpg", status="failed", reason="the file is empty.")


def journal(path, *records):
    with Journal(path, {}) as written:
        written.commit([PendingEntry(record=record) for record in records])
    return path


def captioned(checkpoint, photo, *, words):
    """The record of a photo, as this model captions it."""
    caption = TorchCaptioner.load(checkpoint, device="cpu").caption(photo)
    return JournalRecord(
        image=photo.name,
        status="captioned",
        caption=caption.text,
        log_probability=caption.log_probability,
        words=caption.to_dict()["words"] if words else None,
    )


@pytest.mark.parametrize("words", [False, True])
def test_the_tables_of_all_shards_have_the_same_columns(checkpoints, photos, tmp_path, words):
    from pyarrow import dataset

    shards = [
        FAILED,
        captioned(checkpoints["lstm"], photos[0], words=words),
        captioned(checkpoints["transformer"], photos[1], words=words),
    ]
    gates = [{word["gate"] is None for word in shard.words or ()} for shard in shards]
    assert gates == ([set(), {False}, {True}] if words else [set(), set(), set()])
    for number, record in enumerate(shards, start=1):
        lines = journal(tmp_path / f"{number}.jsonl", record)
        table = tmp_path / f"captions-00{number}-of-003.parquet"
        write_table(table, lines, words=words)
    tables = sorted(tmp_path.glob("captions-*-of-*.parquet"))
    read = dataset.dataset(tables, format="parquet").to_table()
    columns = list(COLUMNS)
    assert read.column_names == columns + ["words"] * words
    rows = [{n: v for n, v in row.items() if v is not None} for row in read.to_pylist()]
    assert rows == [record.to_dict() for record in shards]
    assert len({str(dataset.dataset(table).schema) for table in tables}) == 1


def test_shards_without_captions_have_words_too(command, tmp_path):
    from pyarrow import parquet

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/broken.jpg").write_bytes(b"")
    table = tmp_path / "c.parquet"
    assert command(tmp_path / "photos", "--words", "--output", table)[0] == 1
    assert parquet.read_schema(table).names[-1] == "words"
    assert command(tmp_path / "photos", "--output", tmp_path / "d.parquet")[0] == 1
    assert "words" not in parquet.read_schema(tmp_path / "d.parquet").names


def test_a_table_for_spreadsheets_begins_with_a_mark_and_holds_no_formula(tmp_path):
    odd = os.fsdecode(b"odd-\xff.jpg")
    names = ["Größe.jpg", "=1+1.jpg", odd]
    texts = ["ein Hund", "@home", "-1"]
    records = [
        JournalRecord(image=name, status="captioned", caption=text, log_probability=-2.5)
        for name, text in zip(names, texts, strict=True)
    ]
    known = {"confidence": 0.75, "photo_probability": 0.9, "is_photo": True}
    records[0] = replace(records[0], **known)
    write_table(tmp_path / "c.csv", journal(tmp_path / "c.jsonl", *records), words=False)
    assert (tmp_path / "c.csv").read_bytes().decode() == (
        "\ufeffimage,status,caption,log_probability,confidence,photo_probability,is_photo,reason\r\n"
        "Größe.jpg,captioned,ein Hund,-2.5,0.75,0.9,True,\r\n"
        "'=1+1.jpg,captioned,'@home,-2.5,,,,\r\n"
        "odd-\\udcff.jpg,captioned,'-1,-2.5,,,,\r\n"
    )
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [unguard(row["caption"]) for row in csv.DictReader(file)] == texts


@pytest.mark.skipif(os.name != "posix", reason="names of other systems are text")
def test_a_photo_whose_name_is_not_text_is_captioned_once_and_read_by_arrow(
    checkpoints, photos, tmp_path, capfd
):
    from pyarrow import json, parquet

    odd = os.path.join(os.fsencode(tmp_path), b"odd-\xff.png")
    with open(odd, "wb") as file:
        file.write(photos[0].read_bytes())
    command = ["folder", str(tmp_path), "--checkpoint", str(checkpoints["lstm"])]
    command += ["--output", str(tmp_path / "c.jsonl"), "--output", str(tmp_path / "c.parquet")]
    assert [main(command), main(command)] == [0, 0]
    assert "0 captioned, 1 already captioned" in capfd.readouterr().out
    (row,) = json.read_json(tmp_path / "c.jsonl").to_pylist()
    assert (row["image"], row["image_bytes"]) == (r"odd-\udcff.png", b"odd-\xff.png".hex())
    assert parquet.read_table(tmp_path / "c.parquet").to_pylist()[0]["image"] == row["image"]

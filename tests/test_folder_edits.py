"""The disk is the truth: edited tables, missing files, photos replaced, outputs that come later."""

import csv
import json
import os
import shutil

import pytest

from tests.photos import noise, quarters
from tests.test_folder import NAMES, captions, records
from tests.written import read_caption, read_sidecar


def rows(table):
    with table.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def edit(table, image, caption, *, delimiter=",", encoding="utf-8-sig"):
    """Change a caption, as in a spreadsheet."""
    found = rows(table)
    for row in found:
        if row["image"] == image:
            row["caption"] = caption
    with table.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(found[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(found)


@pytest.fixture
def table(folder, tmp_path):
    return tmp_path / "c.csv"


@pytest.mark.parametrize(
    "saved", [{}, {"delimiter": ";"}, {"encoding": "utf-16"}, {"encoding": "utf-8"}]
)
def test_a_caption_edited_in_a_table_is_kept_everywhere(command, folder, table, saved):
    outputs = ("--output", table, "--sidecar", "txt", "--sidecar", "xmp", "--in-place")
    command(folder, *outputs)
    edit(table, "flag.png", "Großmutter's flag, 1974", **saved)
    status, lines, errors = command(folder, *outputs)
    assert (status, errors) == (0, [])
    assert lines[0].endswith("0 captioned, 4 already captioned, 0 skipped, 0 failed")
    assert {row["image"]: row["caption"] for row in rows(table)}["flag.png"] == (
        "Großmutter's flag, 1974"
    )
    assert captions(table.with_suffix(".jsonl"))["flag.png"] == "Großmutter's flag, 1974"
    assert (folder / "flag.txt").read_text() == "Großmutter's flag, 1974\n"
    for read, name in ((read_sidecar, "flag.png.xmp"), (read_caption, "flag.png")):
        assert read((folder / name).read_bytes(), name=name) == "Großmutter's flag, 1974"
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert command(folder, *outputs)[0] == 0
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_percent_sign_in_the_name_of_a_table_means_nothing(command, folder, tmp_path):
    table = tmp_path / "50% csv.csv"
    command(folder, "--output", table)
    edit(table, "flag.png", "mine")
    assert command(folder, "--output", table)[0] == 0
    assert captions(table.with_suffix(".jsonl"))["flag.png"] == "mine"


def test_a_caption_edited_in_parquet_is_kept(command, folder, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = tmp_path / "c.parquet"
    command(folder, "--output", table, "--words")
    found = parquet.read_table(table)
    texts = [*found["caption"].to_pylist()[:3], "a tower of mine"]
    column = found.schema.get_field_index("caption")
    parquet.write_table(found.set_column(column, "caption", arrow.array(texts)), table)
    assert command(folder, "--output", table, "--words")[0] == 0
    assert parquet.read_table(table)["caption"].to_pylist() == texts
    assert captions(table.with_suffix(".jsonl"))["tower.png"] == "a tower of mine"


def test_an_edited_caption_of_a_photo_that_failed_becomes_its_caption(command, folder, table):
    (folder / "broken.jpg").write_bytes(b"")
    command(folder, "--output", table)
    edit(table, "broken.jpg", "a letter of mine")
    status, lines, _ = command(folder, "--output", table)
    assert status == 0
    assert "5 photos: 0 captioned, 5 already captioned" in lines[0]
    assert captions(table.with_suffix(".jsonl"))["broken.jpg"] == "a letter of mine"


def test_an_edited_sidecar_is_kept_when_the_table_is_edited(command, folder, table):
    options = ("--output", table, "--sidecar", "txt")
    command(folder, *options)
    (folder / "flag.txt").write_text("written by hand")
    edit(table, "flag.png", "written in the table")
    assert command(folder, *options)[0] == 0
    assert (folder / "flag.txt").read_text() == "written by hand"
    assert captions(table.with_suffix(".jsonl"))["flag.png"] == "written in the table"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("reason", "reason,mine", 1), "its columns are image, status,"),
        (lambda text: text.rsplit("tower.png", 1)[0], "1 rows are missing"),
        (lambda text: text + "new.png,captioned,a dog,,\r\n", "it has a row for 'new.png', which"),
        (lambda text: text + "new.png\r\n", "line 6 has the wrong number of cells"),
        (lambda text: "A list of mine\n", "its columns are A list of mine"),
    ],
)
def test_edits_that_cannot_be_kept_stop_the_run(command, folder, table, change, why):
    command(folder, "--output", table)
    table.write_text(change(table.read_bytes().decode("utf-8-sig")), newline="")
    before = table.read_bytes()
    status, _, (error,) = command(folder, "--output", table)
    assert status == 2
    assert error.startswith(
        f"captioner: {table}: edited since it was written, and the edits cannot be kept: {why}"
    )
    assert error.endswith("Move the file away to keep it, or delete it to have it written again.")
    assert table.read_bytes() == before
    table.unlink()
    assert command(folder, "--output", table)[0] == 0
    assert [row["image"] for row in rows(table)] == NAMES


def test_a_table_in_another_encoding_is_asked_about(command, folder, table):
    command(folder, "--output", table)
    edit(table, "flag.png", "Größe", encoding="cp1252")
    status, _, (error,) = command(folder, "--output", table)
    assert status == 2
    assert "it is not UTF-8" in error


def test_a_table_older_than_the_journal_after_a_kill_is_not_an_edit(command, folder, table):
    command(folder, "--output", table, "--include", "flag.png")
    old = table.read_bytes()
    command(folder, "--output", table)
    table.write_bytes(old)
    notes = table.with_suffix(".tables.json")
    notes.unlink()  # as if the run had been killed before it was written
    assert command(folder, "--output", table)[0] == 0
    assert [row["image"] for row in rows(table)] == NAMES


def test_a_line_edited_in_the_journal_is_kept_when_its_photo_changes(command, folder):
    output = folder / "captions.jsonl"
    command(folder)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    lines[0]["caption"] = "a flag of mine"
    output.write_text("".join(json.dumps(line) + "\n" for line in lines))
    quarters(20, 20).save(folder / "flag.png")
    status, printed, _ = command(folder)
    assert status == 0
    assert "0 captioned, 4 already captioned" in printed[0]
    assert captions(output)["flag.png"] == "a flag of mine"


@pytest.mark.parametrize("left", [None, b"", b" \n"])
def test_sidecars_that_are_gone_or_empty_are_written_from_the_captions(
    command, folder, left, monkeypatch
):
    options = ("--sidecar", "txt", "--sidecar", "xmp")
    command(folder, *options)
    files = {path: path.read_bytes() for path in (folder / "flag.txt", folder / "strip.jpg.xmp")}
    for path in files:
        path.unlink()
        if left is not None and path.suffix == ".txt":
            path.write_bytes(left)
    (folder / "tower.txt").write_text("written by hand")
    from captioner.pytorch import TorchCaptioner

    monkeypatch.delattr(TorchCaptioner, "open")  # no model is needed
    status, lines, errors = command(folder, *options)
    assert (status, errors) == (0, [])
    assert lines[0].endswith("4 photos: 0 captioned, 4 already captioned, 0 skipped, 0 failed")
    assert {path: path.read_bytes() for path in files} == files
    assert (folder / "tower.txt").read_text() == "written by hand"
    assert len(records(folder / "captions.jsonl")) == 4


def test_outputs_can_be_added_later_without_a_model(command, folder, monkeypatch, tmp_path):
    command(folder)
    told = captions(folder / "captions.jsonl")
    from captioner.pytorch import TorchCaptioner

    monkeypatch.delattr(TorchCaptioner, "open")
    options = ("--sidecar", "txt", "--sidecar", "xmp", "--in-place")
    more = ("--output", folder / "captions.jsonl", "--output", tmp_path / "c.csv")
    status, lines, errors = command(folder, *options, *more)
    assert (status, errors) == (0, [])
    assert "0 captioned, 4 already captioned, 0 skipped, 0 failed" in lines[0]
    for name, caption in told.items():
        photo = folder / name
        assert photo.with_suffix(".txt").read_text() == caption + "\n"
        assert read_caption(photo.read_bytes(), name=name) == caption
        assert read_sidecar((folder / f"{name}.xmp").read_bytes(), name=name) == caption
    assert captions(folder / "captions.jsonl") == told
    assert [row["caption"] for row in rows(tmp_path / "c.csv")] == list(told.values())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.txt")}
    assert command(folder, *options, *more)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.txt")} == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="marks a photo as read-only")
def test_a_caption_that_cannot_be_written_now_stays_in_the_journal(command, folder):
    command(folder)
    told = captions(folder / "captions.jsonl")
    (folder / "flag.png").chmod(0o444)
    status, lines, (error,) = command(folder, "--in-place")
    assert status == 1
    assert "0 captioned, 3 already captioned, 0 skipped, 1 failed" in lines[0]
    assert error.startswith("captioner: flag.png: flag.png is read-only and was left alone")
    assert captions(folder / "captions.jsonl") == told


def test_a_photo_replaced_under_its_name_is_captioned_again(command, folder):
    options = ("--sidecar", "txt", "--sidecar", "xmp", "--in-place")
    command(folder, *options)
    old = captions(folder / "captions.jsonl")
    (folder / "strip.txt").write_text("written by hand")
    shutil.copyfile(folder / "tower.png", folder / "flag.png")
    noise(64, 48, seed=6).save(folder / "strip.jpg")
    status, lines, errors = command(folder, *options)
    assert (status, errors) == (0, [])
    assert lines[0].endswith("4 photos: 2 captioned, 2 already captioned, 0 skipped, 0 failed")
    new = captions(folder / "captions.jsonl")
    assert {name for name in new if new[name] != old[name]} <= {"flag.png", "strip.jpg"}
    assert new["flag.png"] == old["tower.png"] != old["flag.png"]
    assert (folder / "flag.txt").read_text() == new["flag.png"] + "\n"
    xmp = (folder / "flag.png.xmp").read_bytes()
    assert read_sidecar(xmp, name="x") == new["flag.png"]
    assert (folder / "strip.txt").read_text() == "written by hand"
    assert len(records(folder / "captions.jsonl")) == 4
    assert "0 captioned, 4 already captioned" in command(folder, *options)[1][0]


def test_a_photo_whose_metadata_changed_keeps_its_caption(command, folder):
    command(folder)
    told = captions(folder / "captions.jsonl")
    os.utime(folder / "flag.png", (0, 0))
    assert "1 captioned, 3 already captioned" in command(folder)[1][0]
    assert captions(folder / "captions.jsonl") == told
    assert "0 captioned, 4 already captioned" in command(folder)[1][0]


def test_a_dry_run_names_what_would_be_written_and_what_was_replaced(command, folder):
    command(folder, "--sidecar", "txt")
    (folder / "tower.txt").unlink()
    noise(64, 48, seed=5).save(folder / "flag.png")
    _, lines, (summary,) = command(folder, "--sidecar", "txt", "--dry-run")
    assert lines == [
        "caption again\tflag.png", "done\tmore/large.jpg", "done\tstrip.jpg", "write\ttower.png",
    ]  # fmt: skip
    assert summary == ("captioner: dry run, nothing written: caption again 1, done 2, write 1.")

"""What somebody edits stays: during runs, after killed ones, in odd tables and beside photos."""

import csv
import errno
import json
import os
import shutil
import tarfile

import pytest

from captioner.folder.journal.index import read_index
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import CutOffError, JournalRecord
from captioner.folder.outputs.edits import read_edits, remember_tables
from captioner.folder.outputs.tables import write_table
from tests.photos import noise
from tests.test_folder import NAMES, captions, records
from tests.test_folder_edits import edit, rows
from tests.written import read_caption


def written(tmp_path, *texts):
    """A journal and its table, with photos called a.jpg, b.jpg and so on."""
    journal, table = tmp_path / "c.jsonl", tmp_path / "c.csv"
    add(journal, **{f"{chr(97 + number)}.jpg": text for number, text in enumerate(texts)})
    write_table(table, journal, words=False)
    remember_tables([table], journal)
    return journal, table


def add(journal, **captions):
    with Journal(journal, {}) as opened:
        opened.commit(
            [
                PendingEntry(record=JournalRecord(image=image, status="captioned", caption=caption))
                for image, caption in captions.items()
            ]
        )


def test_an_edit_made_during_the_run_is_kept(command, folder, tmp_path, monkeypatch):
    from captioner.folder.engines.local import LocalEngine

    table, run = tmp_path / "c.csv", LocalEngine.run
    command(folder, "--output", table, "--include", "flag.png")

    def edited_meanwhile(self, photos):
        edit(table, "flag.png", "a flag of mine")
        yield from run(self, photos)

    monkeypatch.setattr(LocalEngine, "run", edited_meanwhile)
    assert command(folder, "--output", table)[0] == 0
    assert [row["image"] for row in rows(table)] == NAMES
    assert captions(table.with_suffix(".jsonl"))["flag.png"] == "a flag of mine"


def test_a_table_older_than_the_journal_is_edited_in_what_was_edited_alone(tmp_path):
    journal, table = written(tmp_path, "a dog", "a cat", "a cow")
    edit(table, "b.jpg", "my cat")
    with Journal(journal, {}) as opened:  # a run that was killed: a.jpg is another photo by now
        record = JournalRecord(image="a.jpg", status="captioned", caption="a horse")
        opened.commit(
            [
                PendingEntry(record=record),
                PendingEntry(record=JournalRecord(image="d.jpg", status="failed")),
            ]
        )
    assert read_edits([table], read_index(journal)) == {"b.jpg": "my cat"}


def test_two_captions_for_one_photo_are_asked_about(tmp_path):
    journal, table = written(tmp_path, "a dog", "a cat")
    other = table.with_name("d.csv")
    other.write_bytes(table.read_bytes())
    remember_tables([table, other], journal)
    edit(table, "a.jpg", "my dog")
    assert read_edits([table, other], read_index(journal)) == {"a.jpg": "my dog"}
    edit(other, "a.jpg", "his dog")
    with pytest.raises(Exception, match=r"d\.csv: .* another table has a different caption for 'a"):
        read_edits([table, other], read_index(journal))
    table.write_text(table.read_text() + "a.jpg,captioned,her dog,,\n")
    with pytest.raises(Exception, match=r"c\.csv: .* it has two rows for 'a\.jpg'"):
        read_edits([table], read_index(journal))


@pytest.mark.parametrize(
    "saved",
    [
        "image;status;caption;log_probability;reason\na.jpg;captioned;a dog, mine;-1,5;\n{rest}",
        '\ufeffImage,Status,Caption,Log_Probability,Reason,\na.jpg,,"a dog, mine",,,\n{rest},,\n',
        'image,status,caption,log_probability,reason\ra.jpg,captioned,"a dog, mine"\r{rest}\r',
        '"caption"\t"image"\t"status"\t"reason"\t"log_probability"\na dog, mine\ta.jpg\n{tabs}\n',
        'image,status,caption,log_probability,reason\n,,,,\na.jpg,,"a dog, mine",,\n{rest}\n,,,,\n',
    ],
)
def test_a_table_is_read_however_a_spreadsheet_saved_it(tmp_path, saved):
    journal, table = written(tmp_path, "a dog", "two\nlines")
    rest = 'b.jpg,captioned,"two\r\nlines",'
    if ";" in saved:
        rest = rest.replace(",", ";")
    text = saved.format(rest=rest, tabs='"two\r\nlines"\tb.jpg\tcaptioned')
    table.write_text(text, encoding="utf-8", newline="")
    assert read_edits([table], read_index(journal)) == {"a.jpg": "a dog, mine"}


def test_a_caption_of_any_length_is_read_back(tmp_path):
    journal, table = written(tmp_path, "a dog", "b" * 200_000)
    edit(table, "a.jpg", "c" * 300_000)
    assert read_edits([table], read_index(journal)) == {"a.jpg": "c" * 300_000}


def test_reading_a_table_takes_no_memory_for_what_was_not_edited(tmp_path):
    import tracemalloc

    journal, table = written(tmp_path, "a dog", *("b" * 50_000 for _ in range(200)))
    edit(table, "a.jpg", "my dog")
    index = read_index(journal)
    tracemalloc.start()
    assert read_edits([table], index) == {"a.jpg": "my dog"}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_table_that_matches_the_journal_is_not_rewritten(command, folder, tmp_path):
    table = tmp_path / "c.csv"
    command(folder, "--output", table)
    before = table.stat()
    assert command(folder, "--output", table)[0] == 0
    assert (table.stat().st_ino, table.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    table.unlink()
    assert command(folder, "--output", table)[0] == 0
    assert [row["image"] for row in rows(table)] == NAMES


@pytest.mark.parametrize(
    ("existing", "text"), [("overwrite", "by hand"), ("append", "by hand"), ("prepend", "by hand")]
)
def test_a_sidecar_edited_since_stays_when_its_photo_is_replaced(command, folder, existing, text):
    options = ("--sidecar", "txt", "--sidecar", "xmp", "--existing", existing)
    command(folder, *options)
    (folder / "flag.txt").write_text(text)
    noise(64, 48, seed=6).save(folder / "flag.png")
    assert command(folder, *options)[0] == 0
    assert (folder / "flag.txt").read_text() == text
    assert captions(folder / "captions.jsonl")["flag.png"] in (
        (folder / "flag.png.xmp").read_text()
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="marks a file as read-only")
def test_a_file_that_an_edit_did_not_reach_fails_until_it_does(command, folder, tmp_path):
    options = ("--output", tmp_path / "c.csv", "--sidecar", "txt")
    command(folder, *options)
    (folder / "flag.txt").chmod(0o444)
    edit(tmp_path / "c.csv", "flag.png", "a flag of mine")
    for _ in range(2):
        status, lines, (error,) = command(folder, *options)
        assert status == 1
        assert "0 captioned, 3 already captioned, 0 skipped, 1 failed" in lines[0]
        assert error.startswith("captioner: flag.png: flag.txt is read-only and was left alone")
        (report,) = (tmp_path / "c.failed.jsonl").read_text().splitlines()
        assert json.loads(report)["image"] == "flag.png"
        assert captions(tmp_path / "c.jsonl")["flag.png"] == "a flag of mine"
    (folder / "flag.txt").chmod(0o644)
    assert command(folder, *options)[0] == 0
    assert (folder / "flag.txt").read_text() == "a flag of mine\n"


def test_files_left_out_when_a_caption_was_edited_follow_later(command, folder, tmp_path):
    options = ("--output", tmp_path / "c.csv")
    command(folder, *options, "--sidecar", "txt", "--sidecar", "xmp")
    edit(tmp_path / "c.csv", "flag.png", "a flag of mine")
    command(folder, *options)
    command(folder, *options, "--sidecar", "txt", "--sidecar", "xmp")
    assert (folder / "flag.txt").read_text() == "a flag of mine\n"
    assert "a flag of mine" in (folder / "flag.png.xmp").read_text()


def test_a_caption_that_was_deleted_is_no_longer_written(command, folder, tmp_path):
    options = ("--output", tmp_path / "c.csv", "--sidecar", "txt")
    command(folder, *options)
    edit(tmp_path / "c.csv", "flag.png", "")
    (folder / "flag.txt").unlink()
    for _ in range(2):
        status, lines, _ = command(folder, *options)
        assert (status, "4 already captioned" in lines[0]) == (0, True)
        assert not (folder / "flag.txt").exists()


def test_a_dry_run_names_captions_that_are_kept(command, folder, tmp_path):
    options = ("--output", tmp_path / "c.csv")
    command(folder, *options)
    edit(tmp_path / "c.csv", "flag.png", "a flag of mine")
    _, lines, (summary,) = command(folder, *options, "--dry-run")
    assert lines[0] == "keep edit\tflag.png"
    assert summary == "captioner: dry run, nothing written: keep edit 1, done 4."


def test_events_of_edits_follow_the_first_one(command, folder, tmp_path):
    options = ("--output", tmp_path / "c.csv", "--in-place")
    command(folder, *options)
    edit(tmp_path / "c.csv", "flag.png", "a flag of mine")
    (folder / "flag.png").write_bytes(b"not a photo any more")
    _, _, errors = command(folder, *options, "--log", "json")
    events = [json.loads(line) for line in errors]
    assert [event["event"] for event in events] == ["begin", "failed", "end"]
    assert (events[-1]["before"], events[-1]["failed"]) == (3, 1)


def test_joining_takes_captions_that_were_edited_in_a_shard_since(command, folder):
    for part in ("1/2", "2/2"):
        command(folder, "--shard", part)
    command(folder, "--join")
    for part in folder.glob("captions-*-of-002.jsonl"):
        part.write_bytes(part.read_bytes().replace(b'"caption": "', b'"caption": "Mine: '))
    assert command(folder, "--join")[0] == 0
    whole = captions(folder / "captions.jsonl")
    assert (len(whole), all(text.startswith("Mine: ") for text in whole.values())) == (4, True)


def test_a_last_line_without_its_end_is_kept(command, folder):
    output = folder / "captions.jsonl"
    command(folder)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    lines[-1]["caption"] = "a tower of mine"
    output.write_text("\n".join(map(json.dumps, lines)))  # as scripts do
    noise(40, 40).save(folder / "new.png")
    _, told, _ = command(folder)
    assert "1 captioned, 4 already captioned" in told[0]
    assert captions(output)[lines[-1]["image"]] == "a tower of mine"
    assert len(records(output)) == 5


def test_a_last_line_spoiled_by_an_edit_is_set_aside(command, folder):
    output = folder / "captions.jsonl"
    command(folder)
    output.write_bytes(output.read_bytes().replace(b'"tower.png",', b'"tower.png'))
    assert "1 captioned, 3 already captioned" in command(folder)[1][0]
    (line,) = (folder / "captions.damaged.jsonl").read_bytes().splitlines()
    assert line.startswith(b'{"image": "tower.png "status"')
    output.write_bytes(b"nothing but this\n")
    assert "4 captioned, 0 already captioned" in command(folder)[1][0]
    assert (folder / "captions.damaged.jsonl").read_bytes().endswith(b"\nnothing but this\n")


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":' * 100_000 + b"\n",
        b"[" * 100_000 + b"]" * 100_000 + b"\n",
        b'{"image": "a", "status": "captioned", "caption": "x", "also_in": [["txt"]]}\n',
        b'{"image": "a", "status": "captioned", "caption": "x", "replaces": [1]}\n',
        b'{"image": "a", "status": "captioned", "caption": "x", "words": [{"word": "\\ud800"}]}\n',
    ],
)  # fmt: skip
def test_lines_made_to_do_harm_are_damaged(line):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # of either kind
        JournalRecord.from_line(line)
    assert type(raised.value) in (ValueError, CutOffError, UnicodeEncodeError)


def test_a_name_that_no_file_can_have_ends_no_run(command, folder):
    command(folder, "--sidecar", "txt")
    record = JournalRecord(image="a\0b/c.jpg", status="captioned", caption="a dog")
    with (folder / "captions.jsonl").open("ab") as file:
        file.write(record.to_line())
    status, lines, _ = command(folder, "--sidecar", "txt", "--output", folder / "captions.jsonl")
    assert (status, "4 already captioned" in lines[0]) == (0, True)


@pytest.mark.parametrize(("shift", "again"), [(1, 0), (-1, 0), (3600, 0), (-3599, 0), (60, 1)])
def test_times_that_file_systems_shift_make_no_other_photo(command, folder, shift, again):
    os.utime(folder / "flag.png", (1_700_000_000, 1_700_000_000))
    command(folder)
    os.utime(folder / "flag.png", (1_700_000_000 + shift, 1_700_000_000 + shift))
    assert f"{again} captioned, {4 - again} already captioned" in command(folder)[1][0]


def test_lines_without_stamps_are_captions_as_any_other(command, folder, tmp_path):
    table = tmp_path / "c.csv"
    command(folder, "--output", table)
    journal = table.with_suffix(".jsonl")
    old = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in old:
        del line["size"], line["modified"], line["crc32"]
    journal.write_text("".join(json.dumps(line) + "\n" for line in old))
    noise(40, 40).save(folder / "flag.png")
    edit(table, "tower.png", "a tower of mine")
    _, lines, _ = command(folder, "--output", table, "--sidecar", "txt")
    assert "0 captioned, 4 already captioned" in lines[0]
    assert (folder / "tower.txt").read_text() == "a tower of mine\n"


def test_a_table_after_ctrl_c_has_one_row_a_photo(command, folder, tmp_path, monkeypatch):
    from captioner.folder.engines.local import LocalEngine

    table, run = tmp_path / "c.csv", LocalEngine.run
    command(folder, "--output", table)
    noise(40, 40).save(folder / "flag.png")

    def interrupted(self, photos):
        yield from run(self, photos)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalEngine, "run", interrupted)
    command(folder, "--output", table)
    with table.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_file_systems_that_have_no_fsync_are_trusted(command, folder, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    options = ("--output", tmp_path / "c.csv", "--sidecar", "txt")
    assert command(folder, *options)[0] == 0
    with (tmp_path / "c.jsonl").open("ab") as file:
        file.write(b"spoiled\n" + b"\0\n")
    assert command(folder, *options, "--repair")[0] == 0
    assert (tmp_path / "c.damaged.jsonl").read_bytes() == b"spoiled\n\0\n"


def test_captions_of_photos_in_archives_and_lists_are_edited_as_others(command, folder, tmp_path):
    with tarfile.open(folder / "x.tar", "w") as archive:
        archive.add(folder / "flag.png", "flag.png")
    (tmp_path / "list.txt").write_text("x.tar\n./tower.png\n")
    table = tmp_path / "c.csv"
    options = (folder, "--list", tmp_path / "list.txt", "--output", table, "--sidecar", "txt")
    command(folder, "--output", table)
    edit(table, "x.tar/flag.png", "a flag of mine")
    before = {record["image"]: record for record in records(table.with_suffix(".jsonl"))}
    assert command(*options)[0] == 0
    edit(table, "./tower.png", "a tower of mine")
    assert command(*options)[0] == 0
    after = {record["image"]: record for record in records(table.with_suffix(".jsonl"))}
    assert after["x.tar/flag.png"]["caption"] == "a flag of mine"
    assert after["x.tar/flag.png"]["size"] == before["x.tar/flag.png"]["size"]
    assert (folder / "tower.txt").read_text() == "a tower of mine\n"


def test_a_photo_replaced_while_it_is_captioned_in_place_is_captioned_again(
    command, folder, monkeypatch
):
    from captioner.folder.engines.local import LocalEngine

    run = LocalEngine.run

    def replaced_meanwhile(self, photos):
        for outcomes in run(self, photos):
            if any(photo.name == "flag.png" for photo, _ in outcomes):
                shutil.copy(folder / "tower.png", folder / "flag.png")
            yield outcomes

    with monkeypatch.context() as patched:
        patched.setattr(LocalEngine, "run", replaced_meanwhile)
        command(folder, "--in-place")
    assert "1 captioned, 3 already captioned" in command(folder, "--in-place")[1][0]
    told = captions(folder / "captions.jsonl")
    assert told["flag.png"] == told["tower.png"]
    flag = (folder / "flag.png").read_bytes()
    assert read_caption(flag, name="flag.png") == told["tower.png"]
    assert "4 already captioned" in command(folder, "--in-place")[1][0]


@pytest.mark.parametrize(
    "name", ["captions.run.json", "captions.failed.jsonl", "captions.tables.json"]
)
def test_a_file_beside_the_captions_that_was_made_to_do_harm_ends_no_run_in_a_traceback(
    command, folder, name
):
    options = ("--output", folder / "captions.jsonl", "--output", folder / "c.csv")
    command(folder, *options)
    (folder / name).write_bytes(b"[" * 100_000)
    status, _, errors = command(folder, *options)
    assert (status, len(errors)) == ((2, 1) if "run" in name else (0, 0))

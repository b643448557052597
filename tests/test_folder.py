import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from captioner.cli import main
from captioner.folder.journal.journal import Journal
from captioner.folder.outputs.contract import COLUMNS
from captioner.pytorch import TorchCaptioner
from tests.photos import encode, noise, quarters

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def model(checkpoints):
    return TorchCaptioner.load(checkpoints["lstm"], device="cpu")


NAMES = ["flag.png", "more/large.jpg", "strip.jpg", "tower.png"]


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def captions(path):
    return {record["image"]: record.get("caption") for record in records(path)}


def test_a_folder_is_captioned_as_its_photos_are_one_by_one(command, folder, model):
    status, lines, errors = command(folder, "--batch-size", 3)
    output = folder / "captions.jsonl"
    summary = "4 photos: 4 captioned, 0 already captioned, 0 skipped, 0 failed"
    assert (status, lines, errors) == (0, [f"{output}: {summary}"], [])
    assert [record["image"] for record in records(output)] == NAMES
    for record in records(output):
        expected = model.caption(folder / record["image"])
        assert record["status"] == "captioned"
        assert record["caption"] == expected.text
        assert record["log_probability"] == pytest.approx(expected.log_probability, abs=1e-4)
        status = (folder / record["image"]).stat()
        assert (record["size"], record["modified"]) == (status.st_size, int(status.st_mtime))
        assert list(record) == [
            "image", "status", "caption", "log_probability", "size", "modified", "crc32",
        ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == [
        "captions.jsonl", "captions.run.json", "flag.png", "more", "strip.jpg", "tower.png",
    ]  # fmt: skip


def test_a_second_run_captions_what_is_new_without_loading_a_model_for_nothing(
    command, folder, monkeypatch
):
    assert command(folder)[0] == 0
    before = (folder / "captions.jsonl").read_bytes()
    with monkeypatch.context() as patched:
        patched.delattr(TorchCaptioner, "open")
        status, lines, _ = command(folder)
    assert status == 0
    assert lines[0].endswith("4 photos: 0 captioned, 4 already captioned, 0 skipped, 0 failed")
    quarters().save(folder / "new.png")
    _, lines, _ = command(folder)
    assert lines[0].endswith("5 photos: 1 captioned, 4 already captioned, 0 skipped, 0 failed")
    after = (folder / "captions.jsonl").read_bytes()
    assert after.startswith(before)
    assert list(captions(folder / "captions.jsonl")) == [*NAMES, "new.png"]


def test_words_hold_what_the_caption_command_prints(command, folder, model):
    command(folder, "--words", "--search", "greedy")
    for record in records(folder / "captions.jsonl"):
        expected = model.caption(folder / record["image"], method="greedy").to_dict()["words"]
        assert [word["word"] for word in record["words"]] == [word["word"] for word in expected]
        assert record["words"][0]["attention"]["grid"] == expected[0]["attention"]["grid"]
        assert record["words"][0]["probability"] == pytest.approx(
            expected[0]["probability"], abs=1e-4
        )


def test_broken_files_fail_with_their_reason_and_the_others_are_captioned(command, folder):
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("a dog on a beach")
    (folder / "half.jpg").write_bytes(encode(noise(), "JPEG")[:3000])
    (folder / "wrong.jpg").write_bytes(encode(quarters(), "PNG"))
    status, lines, errors = command(folder)
    assert status == 1
    assert lines[0].endswith("8 photos: 5 captioned, 0 already captioned, 0 skipped, 3 failed")
    failed = records(folder / "captions.failed.jsonl")
    assert [record["image"] for record in failed] == ["empty.jpg", "half.jpg", "text.png"]
    assert failed[0]["reason"] == "the file is empty (0 bytes); copy or download it again."
    assert errors == [f"captioner: {f['image']}: {f['reason']}" for f in failed]
    assert captions(folder / "captions.jsonl")["wrong.jpg"]
    assert len(records(folder / "captions.jsonl")) == 8


def test_what_failed_is_tried_again_only_when_asked(command, folder):
    broken = folder / "broken.png"
    broken.write_bytes(b"")
    command(folder)
    quarters().save(broken)
    quarters().save(folder / "new.png")
    failures = folder / "captions.failed.jsonl"
    for quiet in ([], ["--quiet"]):
        status, lines, errors = command(folder, "--exclude", "new.png", *quiet)
        assert (status, errors) == (
            1,
            [
                "captioner: 1 photo failed in an earlier run, for the reasons in "
                f"{failures}; --retry-failed retries them."
            ],
        )
        assert quiet or lines[0].endswith(
            "5 photos: 0 captioned, 4 already captioned, 0 skipped, 1 failed"
        )
    assert failures.exists()
    status, lines, _ = command(folder, "--retry-failed")
    assert status == 0
    assert lines[0].endswith("6 photos: 1 captioned, 4 already captioned, 1 skipped, 0 failed")
    assert not (folder / "captions.failed.jsonl").exists()
    assert list(captions(folder / "captions.jsonl")) == sorted([*NAMES, "broken.png"])
    assert None not in captions(folder / "captions.jsonl").values()


def test_csv_and_parquet_hold_what_the_json_lines_hold(command, folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (folder / "empty.jpg").write_bytes(b"")
    outputs = [tmp_path / "out" / name for name in ("c.jsonl", "c.csv", "c.parquet")]
    command(folder, "--words", *(part for path in outputs for part in ("--output", path)))
    lines = records(outputs[0])
    with outputs[1].open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    table = parquet.read_table(outputs[2]).to_pylist()
    for line, row, entry in zip(lines, rows, table, strict=True):
        assert row["caption"] == (line.get("caption") or "")
        assert float(row["log_probability"] or 0) == line.get("log_probability", 0)
        assert {name: value for name, value in entry.items() if value is not None} == {
            name: value for name, value in line.items() if name in entry
        }
    assert not (folder / "captions.jsonl").exists()


def test_a_table_alone_has_its_json_lines_beside_it(command, folder, tmp_path):
    assert command(folder, "--output", tmp_path / "c.csv")[0] == 0
    assert list(captions(tmp_path / "c.jsonl")) == NAMES


def test_photos_in_archives_are_captioned_but_get_no_sidecar(command, folder, model):
    with tarfile.open(folder / "shard.tar", "w") as archive:
        archive.add(folder / "flag.png", "0001.png")
    (folder / "flag.png").unlink()
    status, lines, _ = command(folder, "--words", "--gallery", folder / "gallery")
    name = "shard.tar/0001.png"
    assert (status, len(captions(folder / "captions.jsonl"))) == (0, 4)
    with tarfile.open(folder / "shard.tar") as archive:
        expected = model.caption(archive.extractfile("0001.png").read()).text
    assert captions(folder / "captions.jsonl")[name] == expected
    page = (folder / "gallery/index.html").read_text(encoding="utf-8")
    assert page.count("<img") >= 4
    assert expected in html.unescape(re.sub("<[^>]*>", "", page))
    _, lines, _ = command(folder, "--sidecar", "txt", "--output", folder / "other.jsonl")
    assert "3 captioned, 0 already captioned, 1 skipped" in lines[0]


def test_a_dry_run_prints_the_plan_and_writes_nothing(command, folder, monkeypatch):
    monkeypatch.delattr(TorchCaptioner, "open")
    (folder / "flag.txt").write_text("sks dog")
    before = sorted(folder.rglob("*"))
    status, lines, errors = command(folder, "--dry-run", "--sidecar", "txt")
    assert status == 0
    assert errors == ["captioner: dry run, nothing written: skip 1, caption 3."]
    assert lines == [
        "skip\tflag.png\tflag.txt exists",
        "caption\tmore/large.jpg",
        "caption\tstrip.jpg",
        "caption\ttower.png",
    ]
    assert sorted(folder.rglob("*")) == before


def test_a_list_gives_names_and_order(command, folder, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("tower.png\nflag.png\ntower.png\nnone.png\nmore\n")
    status, lines, errors = command(folder, "--list", tmp_path / "list.txt")
    assert status == 1
    assert lines[0].endswith("5 photos: 2 captioned, 1 already captioned, 0 skipped, 2 failed")
    assert errors == [
        "captioner: none.png: no such file; check the path.",
        "captioner: more: this is a folder, not a photo; `captioner folder` captions all photos in "
        "it.",
    ]
    assert list(captions(folder / "captions.jsonl")) == [
        "tower.png",
        "flag.png",
        "none.png",
        "more",
    ]


def test_standard_input_is_a_list(checkpoints, folder, tmp_path):
    output = tmp_path / "out.jsonl"
    done = real(
        checkpoints, "-", "--output", output, "--null", "--log", "json",
        input=b"\0".join(os.fsencode(folder / name) for name in NAMES),
    )  # fmt: skip
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert (done.returncode, done.stdout) == (0, b"")
    assert list(captions(output)) == [str(folder / name) for name in NAMES]
    assert {event["event"] for event in events} <= {"begin", "progress", "end"}
    assert events[-1].items() >= {"captioned": 4, "before": 0, "skipped": 0, "failed": 0}.items()


def real(checkpoints, *arguments, **options):
    """Run the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "captioner", "folder", *map(os.fspath, arguments)]
    command += ["--checkpoint", str(checkpoints["lstm"]), "--precision", "float32"]
    return subprocess.run(command, capture_output=True, env=environment, check=False, **options)


def test_other_settings_are_noticed_and_explained(command, folder):
    command(folder)
    output = folder / "captions.jsonl"
    before = output.read_bytes()
    status, lines, errors = command(folder, "--beam", 3, "--prefix", "A ")
    assert (status, lines) == (2, [])
    assert errors == [
        f"captioner: {output}: was created with other settings: search.beam was 2 and is now 3; "
        'text.prefix was "" and is now "A ". Use the old settings to resume, choose another '
        "--output, or start over with --overwrite."
    ]
    assert output.read_bytes() == before
    assert command(folder, "--beam", 3, "--prefix", "A ", "--overwrite")[0] == 0
    assert all(text.startswith("A ") for text in captions(output).values())
    assert command(folder, "--beam", 3, "--prefix", "A ")[0] == 0


def test_another_checkpoint_is_noticed_even_under_the_same_name(
    command, folder, checkpoints, capfd
):
    command(folder)
    shutil.copy(checkpoints["lstm"], folder / "other.safetensors")
    with (folder / "other.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    other = ["--checkpoint", str(folder / "other.safetensors")]
    assert main(["folder", str(folder), "--precision", "float32", *other]) == 2
    assert "other settings: weights was" in capfd.readouterr().err


def test_a_folder_moves_together_with_its_captions(command, folder, tmp_path):
    command(folder)
    folder.rename(tmp_path / "elsewhere")
    _, lines, _ = command(tmp_path / "elsewhere")
    assert lines[0].endswith("4 photos: 0 captioned, 4 already captioned, 0 skipped, 0 failed")


def test_two_runs_on_one_output_are_refused(command, folder):
    output = folder / "captions.jsonl"
    with Journal(output, {}):
        status, lines, errors = command(folder)
    assert (status, lines) == (2, [])
    assert errors == [
        f"captioner: {output}: in use by another run; wait for it to finish, or choose another "
        "--output."
    ]


def test_a_file_of_another_program_is_not_overwritten(command, folder):
    output = folder / "captions.jsonl"
    output.write_text('{"my": "data"}\n')
    status, _, errors = command(folder)
    assert (status, output.read_text()) == (2, '{"my": "data"}\n')
    assert errors == [
        f"captioner: {output}: exists, but without captions.run.json it is not known to be "
        "captioner's; choose another --output, or replace it with --overwrite."
    ]
    assert command(folder, "--overwrite")[0] == 0
    output.write_text('{"my": "data"}\n')
    status, _, errors = command(folder)
    assert (status, output.read_text()) == (2, '{"my": "data"}\n')
    assert errors[0].startswith(f"captioner: {output}: line 1 is damaged; restore the file")


def test_a_half_line_at_the_end_is_cut_off_and_its_photo_captioned_again(command, folder):
    command(folder)
    output = folder / "captions.jsonl"
    whole, told = output.read_bytes(), captions(output)
    for torn in (whole[:-1], whole[:-20], whole + b"\0\0\0\0", whole + b"\0\n{\n"):
        output.write_bytes(torn)
        assert command(folder)[0] == 0
        assert output.read_bytes()[:200] == whole[:200]
        assert captions(output) == told


def test_damage_in_the_middle_does_not_come_from_a_crash(command, folder):
    command(folder)
    output = folder / "captions.jsonl"
    first, second, *rest = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join([first, second[:-9] + b"\n", *rest]))
    status, _, errors = command(folder)
    assert status == 2
    assert errors[0].startswith(f"captioner: {output}: line 2 is damaged; restore the file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_explained_and_what_was_written_stays(command, folder, monkeypatch):
    command(folder, "--include", "flag.png")
    output = folder / "captions.jsonl"
    before = output.read_bytes()
    write = os.write

    def full(file, content):
        if os.path.realpath(f"/proc/self/fd/{file}") == os.path.realpath(output):
            write(file, bytes(content)[:10])
            with open("/dev/full", "wb", buffering=0) as disk:
                disk.write(content)
        return write(file, content)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        status, _, errors = command(folder)
    assert status == 2
    assert errors == [
        f"captioner: {output}: cannot be written: No space left on device; make room and run the "
        "same command again; what was written so far is kept."
    ]
    assert output.read_bytes() == before
    assert command(folder)[0] == 0
    assert list(captions(output)) == NAMES


def test_an_interruption_keeps_what_is_done(command, folder, monkeypatch):
    whole = TorchCaptioner.caption_batch

    def interrupted(self, photos, **options):
        if photos[0].image.endswith(NAMES[0]):
            return whole(self, photos, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TorchCaptioner, "caption_batch", interrupted)
        status, lines, errors = command(folder, "--batch-size", 2)
    output = folder / "captions.jsonl"
    assert (status, lines) == (130, [])
    assert errors == [
        f"captioner: {output}: interrupted after 2 photos: 2 captioned, 0 already captioned, 0 "
        "skipped, 0 failed; run the same command to resume."
    ]
    assert list(captions(output)) == NAMES[:2]
    assert command(folder)[0] == 0
    assert list(captions(output)) == NAMES

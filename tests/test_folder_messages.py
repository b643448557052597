"""What `captioner folder` says: of what cannot be meant, what was found, and what went wrong."""

import json
import os
import struct
import sys
import tarfile

import pytest

from tests.cameras import dng
from tests.photos import encode, quarters
from tests.test_folder import captions, records


def test_a_damaged_archive_is_reported_until_it_is_repaired(command, folder):
    shard = folder / "shard.tar"
    shard.write_bytes(b"no archive")
    status, lines, errors = command(folder)
    assert (status, len(errors)) == (1, 1)
    assert lines[0].endswith("5 photos: 4 captioned, 0 already captioned, 0 skipped, 1 failed")
    (failed,) = records(folder / "captions.failed.jsonl")
    assert failed["image"] == "shard.tar/"
    assert errors == [f"captioner: shard.tar/: {failed['reason']}"]
    with tarfile.open(shard, "w") as archive:
        archive.add(folder / "flag.png", "0001.png")
    assert command(folder)[0] == 0
    assert not (folder / "captions.failed.jsonl").exists()


def test_the_reason_for_skipping_is_printed_once(command, folder):
    for name in ("flag", "strip"):
        (folder / f"{name}.txt").write_text("sks dog")
    _, _, errors = command(folder, "--sidecar", "txt", "--include", "flag.png")
    assert errors == ["captioner: skipped flag.png: flag.txt exists."]
    _, lines, errors = command(folder, "--sidecar", "txt")
    assert "4 photos: 2 captioned, 0 already captioned, 2 skipped" in lines[0]
    assert errors == [
        "captioner: skipped flag.png: flag.txt exists; and 1 more (--dry-run lists them)."
    ]
    assert command(folder, "--sidecar", "txt", "--quiet") == (0, [], [])


@pytest.mark.skipif(os.name != "posix", reason="names as on POSIX")
def test_a_name_takes_one_line_whatever_is_in_it(command, folder):
    (folder / "a\nb\x1b[31m.jpg").write_bytes(b"")
    only = (folder, "--include", "a*")
    assert command(*only, "--dry-run")[1] == ["caption\ta\\nb\\x1b[31m.jpg"]
    (error,) = command(*only)[2]
    assert error.startswith("captioner: a\\nb\\x1b[31m.jpg: the file is empty")
    assert list(captions(folder / "captions.jsonl")) == ["a\nb\x1b[31m.jpg"]


def test_all_that_is_written_is_named(command, folder, tmp_path):
    table, gallery = tmp_path / "c.csv", tmp_path / "gallery"
    _, lines, _ = command(folder, "--output", table, "--gallery", gallery)
    assert lines == [
        f"{table.with_suffix('.jsonl')}, {table}: 4 photos: 4 captioned, 0 already captioned, 0 "
        "skipped, 0 failed",
        f"{gallery / 'index.html'}: open it in a browser",
    ]


def test_an_unwritable_output_is_reported_before_the_run(command, folder, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("my page")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/photo.jpg").touch()
    for option, place in (
        ("--gallery", "file"),
        ("--gallery", "site"),
        ("--gallery", "more"),
        ("--output", "file/c.csv"),
    ):
        output = () if option == "--output" else ("--output", folder / "c.jsonl")
        status, _, (error,) = command(folder, option, tmp_path / place, *output)
        assert status == 2
        assert error.startswith(f"captioner: {tmp_path / place}: cannot be written: ")
    assert (tmp_path / "site/index.html").read_text() == "my page"
    assert not (folder / "c.jsonl").exists()


def test_finding_no_photos_explains_what_to_check(command, folder, tmp_path):
    status, lines, errors = command(folder, "--include", "*.tif")
    assert (status, len(lines)) == (0, 1)
    assert errors == [
        f"captioner: {folder}: no photos match --include and --exclude; check the patterns."
    ]
    (tmp_path / "none").mkdir()
    assert "no photos found; check the path" in command(tmp_path / "none")[2][0]


def test_errors_are_json_events_too(command, folder):
    command(folder)
    status, lines, (event,) = command(folder, "--beam", 3, "--log", "json")
    assert (status, lines) == (2, [])
    table = json.loads(event)
    assert (table["event"], "search.beam was 2 and is now 3" in table["message"]) == ("error", True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "captioner: no input: give a folder, or use --list FILE."),
        (["-"], "captioner: a list needs --output FILE.jsonl to say where captions go."),
        (["none"], "captioner: none: no such folder; check the path."),
        ([""], "captioner: the folder name is empty; use . for the current folder."),
        (["n" * 300], ": cannot be read: File name too long."),
        (
            [".", "--watch", "--retry-failed"],
            "captioner: --watch captions new photos, while --retry-",
        ),
        (["--list", "none", "--output", "x.jsonl"], "captioner: none: the list cannot be read: "),
        ([".", "--output", "x.txt"], "captioner: x.txt: unknown format '.txt'; choose "),
        ([".", "--output", "x"], "captioner: x: no file name extension; choose from .jsonl"),
        ([".", "--output", "."], "captioner: .: is a folder; --output needs the name of a file."),
        (["a", "b", "c"], "captioner: b: a run takes one folder, here a; run the command "),
        ([".", "--overwrite", "--retry-failed"], "captioner: --overwrite starts over, while --ret"),
        (
            [".", "--overwrite", "--sidecar", "txt"],
            "captioner: --overwrite needs --existing, which",
        ),
        (
            [".", "--output", "x.jsonl", "--output", "y.jsonl"],
            "captioner: y.jsonl: would duplicate x.jsonl; use one .jsonl output.",
        ),
        ([".", "--template", "{captoin}"], "captioner: template '{captoin}': unknown field "),
        ([".", "--template", "{"], "captioner: template '{': "),
        ([".", "--list", "x", "--watch"], "captioner: --watch needs a folder, not a list."),
        ([".", "--workers", "0"], "argument --workers: 0 is not 1 or more"),
    ],
)
def test_invalid_options_are_usage_errors(command, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    status, lines, errors = command(*arguments)
    assert (status, lines) == (2, [])
    assert problem in errors[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (encode(quarters(), "PNG"), "a photo, not a folder; `captioner caption` captions single"),
        (b"hello", "neither a folder nor a tar archive: not an uncompressed tar archive"),
    ],
)
def test_a_file_in_place_of_a_folder_is_named(command, tmp_path, content, problem):
    file = tmp_path / "file.jpg"
    file.write_bytes(content)
    status, lines, (error,) = command(file)
    assert (status, lines) == (2, [])
    assert error.startswith(f"captioner: {file}: {problem}")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--existing", "append"), "--existing has no effect without --sidecar or --in-"),
        (("--separator", " "), "--separator has no effect without --existing append or prep"),
        (("--null",), "--null has no effect without a list"),
    ],
)
def test_options_without_effect_are_refused(command, folder, options, why):
    status, lines, (error,) = command(folder, *options)
    assert (status, lines) == (2, [])
    assert error.startswith(f"captioner: {why}")
    assert error.endswith("; omit it.")


def test_skipped_system_folders_are_listed_at_the_end(command, folder):
    for name in ("@eaDir", "a/@eaDir", "#recycle"):
        (folder / name).mkdir(parents=True)
        (folder / name / "thumbnail.jpg").write_bytes(encode(quarters(), "JPEG"))
    status, lines, errors = command(folder)
    assert status == 0
    assert lines[0].endswith("4 photos: 4 captioned, 0 already captioned, 0 skipped, 0 failed")
    assert errors == [
        "captioner: skipped 3 system folders: @eaDir (2 times), #recycle; use --hidden to include "
        "their photos."
    ]
    assert errors[0] in command(folder, "--dry-run")[2]
    assert command(folder, "--quiet")[2] == []
    end = json.loads(command(folder, "--log", "json")[2][-1])
    assert (end["event"], end["skipped_folders"]) == ("end", {"#recycle": 1, "@eaDir": 2})
    assert "7 photos: 3 captioned" in command(folder, "--hidden")[1][0]


def test_photos_that_nothing_installed_reads_fail_and_say_what_would(command, folder, monkeypatch):
    for package in ("pillow_heif", "rawpy", "pillow_jxl", "pillow_jxl.JpegXLImagePlugin"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    (folder / "canon.CR3").write_bytes(b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(99))
    (folder / "nikon.NEF").write_bytes(dng(encode(quarters(), "JPEG")))
    (folder / "iphone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    (folder / "web.jxl").write_bytes(b"\xff\x0a\0\x10\xb0\x13")
    status, lines, errors = command(folder)
    assert status == 1
    assert lines[0].endswith("8 photos: 4 captioned, 0 already captioned, 0 skipped, 4 failed")
    assert errors == [
        "captioner: canon.CR3: raw photos of cameras are read by rawpy; install it (pip install "
        "'captioner[raw]'), or save it as JPEG.",
        "captioner: iphone.HEIC: HEIC photos are read by pillow-heif; install it (pip install "
        "'captioner[heif]'), or save it as JPEG.",
        "captioner: nikon.NEF: raw photos of cameras are read by rawpy; install it (pip install "
        "'captioner[raw]'), or save it as JPEG.",
        "captioner: web.jxl: JPEG XL photos are read by pillow-jxl-plugin; install it (pip install "
        "'captioner[jxl]'), or save it as JPEG.",
    ]


def test_layers_of_photoshop_are_captioned(command, folder):
    planes = b"".join(band.tobytes() for band in quarters().split())
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 32, 48, 8, 3) + bytes(12) + bytes(2)
    (folder / "layers.psd").write_bytes(head + planes)
    assert "5 photos: 5 captioned" in command(folder)[1][0]
    written = captions(folder / "captions.jsonl")
    assert written["layers.psd"] == written["flag.png"]


def test_comments_and_urls_on_a_list_are_reported(command, folder, tmp_path):
    (tmp_path / "list").write_text(
        f'# of our holiday\n"{folder}/flag.png"\nhttps://example.org/photo.jpg\n'
    )
    output = tmp_path / "c.jsonl"
    status, lines, errors = command("--list", tmp_path / "list", "--output", output)
    assert status == 1
    assert "3 photos: 1 captioned, 0 already captioned, 0 skipped, 2 failed" in lines[0]
    assert errors == [
        "captioner: # of our holiday: no such file; if it is a comment, remove it: lists contain "
        "only paths.",
        "captioner: https://example.org/photo.jpg: an address, not a file; download it first.",
    ]

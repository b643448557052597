"""Photos that are copied slowly into a folder that is watched: real files, another process."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from captioner.folder.journal.index import JournalIndex
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sources.inputs import Filter, Photo, find_photos
from captioner.folder.watching import Watched, _is_being_written
from tests.photos import encode, noise
from tests.test_folder import NAMES, captions

PIECES = 4
WRITE = f"""
import sys
content = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb", buffering=0) as file:
    for begin in range(0, len(content), 1 + len(content) // {PIECES}):
        file.write(content[begin : begin + 1 + len(content) // {PIECES}])
        print("written", flush=True)
        sys.stdin.readline()
"""
"""Copies a file in pieces, and waits for a line after each."""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what is open for writing")
def test_a_photo_copied_with_long_pauses_is_met_only_when_it_is_whole(tmp_path):
    whole = encode(noise(200, 200), "JPEG")
    (tmp_path / "source").write_bytes(whole)
    watched_folder = tmp_path / "watched"
    watched_folder.mkdir()
    late = watched_folder / "late.jpg"
    with late.open("wb"):
        if not _is_being_written(str(late)):
            pytest.skip("this file system does not tell")
    watched = Watched(JournalIndex(tmp_path), seconds=0)  # every pause is long
    command = [sys.executable, "-c", WRITE, tmp_path / "source", late]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, bufsize=1) as writer:
        for _ in range(PIECES):
            assert writer.stdout.readline() == "written\n"
            assert list(watched.news(find_photos(watched_folder, Filter()))) == []
            writer.stdin.write("go on\n")
    (item,) = watched.news(find_photos(watched_folder, Filter()))
    assert isinstance(item, Photo)
    assert late.read_bytes() == whole


def test_a_photo_that_is_just_being_replaced_is_met_when_it_is_whole(tmp_path):
    index = JournalIndex(tmp_path / "captions.jsonl")
    index.add(
        JournalRecord(image="a.jpg", status="captioned", caption="a", size=1, modified=1), start=0
    )
    (tmp_path / "a.jpg").write_bytes(encode(noise(20, 20), "JPEG"))
    watched = Watched(index, seconds=3600)
    assert list(watched.news(find_photos(tmp_path, Filter()))) == []
    os.utime(tmp_path / "a.jpg", (0, 0))
    assert [item.name for item in watched.news(find_photos(tmp_path, Filter()))] == ["a.jpg"]


def test_watching_captions_what_comes_and_counts_everything_once(command, folder, monkeypatch):
    looks = iter(range(4))

    def pause(seconds):
        look = next(looks)
        if look == 0:
            shutil.copy(folder / "flag.png", folder / "old.png")
            os.utime(folder / "old.png", (0, 0))
            shutil.copy(folder / "flag.png", folder / "young.png")
            os.utime(folder / "young.png", (time.time(), time.time()))
        if look == 1:
            assert "young.png" not in captions(folder / "captions.jsonl")
            os.utime(folder / "young.png", (0, 0))
        if look == 3:
            raise KeyboardInterrupt

    for path in folder.rglob("*.*"):
        os.utime(path, (0, 0))
    monkeypatch.setattr("captioner.folder.job.time.sleep", pause)
    status, _, errors = command(folder, "--watch", "--log", "json")
    assert status == 130
    assert json.loads(errors[-1]).items() >= {"captioned": 6, "before": 0, "failed": 0}.items()
    assert list(captions(folder / "captions.jsonl")) == [*NAMES, "old.png", "young.png"]


def test_watching_many_photos_takes_a_small_part_of_a_core(command, folder, monkeypatch):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    times = iter([0.0, 0.01, 1.0, 1.5, 2.0, 9.0])
    monkeypatch.setattr("captioner.folder.job.time.sleep", pause)
    monkeypatch.setattr("captioner.folder.job.time.thread_time", lambda: next(times))
    assert command(folder, "--watch")[0] == 130
    assert pauses == [2.0, 15.0, 60.0]


def test_watching_captions_a_photo_again_that_took_the_place_of_another(
    command, folder, monkeypatch
):
    looks = iter(range(4))

    def pause(seconds):
        look = next(looks)
        if look == 1:
            shutil.copy(folder / "tower.png", folder / "flag.png")
            os.utime(folder / "flag.png", (5, 5))
        if look == 3:
            raise KeyboardInterrupt

    for path in folder.rglob("*.*"):
        os.utime(path, (0, 0))
    monkeypatch.setattr("captioner.folder.job.time.sleep", pause)
    assert command(folder, "--watch")[0] == 130
    told = captions(folder / "captions.jsonl")
    assert told["flag.png"] == told["tower.png"]


def test_a_photo_met_half_copied_is_captioned_once_it_is_whole(command, folder, monkeypatch):
    whole = (folder / "flag.png").read_bytes()
    late = folder / "late.png"
    looks = iter(range(5))

    def put(content, moment):
        late.write_bytes(content)
        os.utime(late, (moment, moment))

    def pause(seconds):
        look = next(looks)
        if look == 1:
            put(whole[:60], 2)  # another part, and no better
        if look == 2:
            put(whole, 3)
        if look == 4:
            raise KeyboardInterrupt

    put(whole[:50], 1)
    for name in NAMES:
        os.utime(folder / name, (0, 0))
    monkeypatch.setattr("captioner.folder.job.time.sleep", pause)
    status, _, errors = command(folder, "--watch", "--log", "json")
    events = [json.loads(line) for line in errors]
    assert status == 130
    assert [event["event"] for event in events] == ["begin", "failed", "failed", "interrupted"]
    assert events[-1].items() >= {"captioned": 5, "before": 0, "failed": 0}.items()
    assert list(captions(folder / "captions.jsonl")) == sorted([*NAMES, "late.png"])
    assert not (folder / "captions.failed.jsonl").exists()

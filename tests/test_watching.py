"""Photos that are copied slowly into a folder that is watched: real files, another process."""

import subprocess
import sys
import time

import pytest

from captioner.folder.held import Held
from captioner.folder.inputs import Filter, Photo, find_photos
from captioner.folder.records import Record
from captioner.folder.watching import Watched, _is_being_written
from tests.photos import encode, noise

WRITE = """
import sys, time
content = sys.stdin.buffer.read()
with open(sys.argv[1], "wb", buffering=0) as file:
    for begin in range(0, len(content), 1 + len(content) // 4):
        file.write(content[begin : begin + 1 + len(content) // 4])
        print("written", flush=True)
        time.sleep(0.4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what is open for writing")
def test_a_photo_copied_with_long_pauses_is_met_only_when_it_is_whole(tmp_path):
    whole = encode(noise(200, 200), "JPEG")
    late = tmp_path / "late.jpg"
    with late.open("wb"):
        if not _is_being_written(str(late)):
            pytest.skip("this file system does not tell")
    watched = Watched(Held(tmp_path), seconds=0.1)
    met, looks = [], 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, late], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdin.write(whole)
        writer.stdin.close()
        writer.stdout.readline()
        while not met:
            for item in watched.news(find_photos(tmp_path, Filter())):
                assert isinstance(item, Photo)
                met.append(late.read_bytes())
            looks += 1
            time.sleep(0.05)
            assert looks < 400
    assert met == [whole]
    assert looks > 10


def test_a_photo_that_is_just_being_replaced_is_met_when_it_is_whole(tmp_path):
    held = Held(tmp_path / "captions.jsonl")
    held.add(Record(image="a.jpg", status="captioned", caption="a", size=1, modified=1), start=0)
    (tmp_path / "a.jpg").write_bytes(encode(noise(20, 20), "JPEG"))
    watched = Watched(held, seconds=0.3)
    assert list(watched.news(find_photos(tmp_path, Filter()))) == []
    time.sleep(0.4)
    assert [item.name for item in watched.news(find_photos(tmp_path, Filter()))] == ["a.jpg"]

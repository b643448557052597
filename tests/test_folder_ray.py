"""The same captions from a Ray cluster: two workers, of which one is killed at work."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from captioner.folder.inputs import Photo
from captioner.folder.ray_engine import _chunks
from tests.photos import encode, noise

ROOT = Path(__file__).parent.parent
PHOTOS = 400


@pytest.fixture
def many(tmp_path):
    """Tiny photos, one of them broken, and an archive."""
    place = tmp_path / "many"
    place.mkdir()
    for number in range(PHOTOS - 3):
        noise(8, 8, seed=number).save(place / f"{number:03}.png")
    (place / "007.png").write_bytes((place / "007.png").read_bytes()[:60])
    with tarfile.open(place / "shard.tar", "w") as archive:
        for own in range(3):
            content = encode(noise(8, 8, seed=1000 + own), "PNG")
            member = tarfile.TarInfo(f"{own}.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place


@pytest.fixture
def environment():
    """Of programs that begin a cluster."""
    with TemporaryDirectory(prefix="ray", dir="/tmp") as place:  # paths of sockets must be short
        yield os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_ADDRESS": "",
            "RAY_TMPDIR": place,
        }


def workers(ancestor):
    """Processes that hold a model, of all that descend from this one."""
    parents, found = {}, []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text()
            title = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
        if title.startswith(b"ray::MapWorker"):
            found.append(int(entry.name))
    ours = []
    for process in found:
        above = process
        while above > 1 and above != ancestor:
            above = parents.get(above, 0)
        if above == ancestor:
            ours.append(process)
    return ours


def lines(path):
    """Whole lines; the run may be writing one."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(environment, *arguments):
    """Begin a run on a cluster of two cores."""
    command = [sys.executable, "-m", "captioner", "folder", *map(os.fspath, arguments)]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:2])  # which the process inherits
    try:
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, cores)


def wait_for(path, count, process):
    while lines(path) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_run_that_is_killed_and_loses_a_worker_captions_as_one_without_a_cluster(
    command, many, tmp_path, environment, checkpoints
):
    pytest.importorskip("ray")
    local, there = tmp_path / "local.jsonl", tmp_path / "there.jsonl"
    options = ("--words", "--search", "greedy", "--batch-size", "2", "--precision", "float32")
    command(many, *options, "--output", local)

    arguments = (many, *options, "--engine", "ray", "--log", "json", "--output", there)
    arguments += ("--checkpoint", checkpoints["lstm"])
    first = start(environment, *arguments)
    wait_for(there, 17, first)
    first.kill()  # the command itself
    first.wait()
    first.stderr.close()
    begun = lines(there)

    second = start(environment, *arguments)
    wait_for(there, begun + 17, second)
    busy = workers(second.pid)
    assert len(busy) == min(2, len(os.sched_getaffinity(0)))
    os.kill(busy[0], signal.SIGKILL)
    at_the_kill = lines(there)
    _, errors = second.communicate()
    events = [json.loads(line) for line in errors.splitlines()]

    assert begun < at_the_kill < PHOTOS - 32
    assert second.returncode == 1, "a photo is broken"
    assert {event["event"] for event in events} <= {"begin", "progress", "failed", "end"}
    assert events[-1].items() >= {
        "captioned": PHOTOS - begun, "before": begun - 1, "skipped": 0, "failed": 1,
    }.items()  # fmt: skip
    assert there.read_bytes() == local.read_bytes()


def test_a_cluster_that_does_not_answer_is_named(command, many, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    status, _, errors = command(many, "--engine", "ray")
    assert status == 2
    assert errors == [
        "captioner: no Ray cluster can be reached or begun: [Errno 111] Connection refused; start "
        "one with `ray start` and give its address in RAY_ADDRESS, or leave that empty."
    ]


def test_photos_reach_the_workers_once_in_order_and_in_growing_chunks():
    photos = [Photo(name=str(number), path=f"/{number}") for number in range(20_000)]
    chunks = list(_chunks(photos))
    assert [photo for chunk in chunks for photo in chunk] == photos
    sizes = [len(chunk) for chunk in chunks[:-1]]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (16, 512)
    assert list(_chunks([])) == []


def test_other_machines_are_told_whole_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ((photo,),) = _chunks([Photo(name="a.jpg", path="a.jpg")])
    assert photo == Photo(name="a.jpg", path=str(tmp_path / "a.jpg"))


def test_without_ray_the_way_to_install_it_is_told_before_anything_is_written(
    command, many, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    before = sorted(many.iterdir())
    status, out, errors = command(many, "--engine", "ray")
    message = "captioner: --engine ray needs Ray; install it: pip install 'captioner[ray]'"
    assert (status, out, errors) == (2, [], [message])
    assert sorted(many.iterdir()) == before
    assert command(many, "--engine", "ray", "--dry-run")[0] == 0

"""The same captions from a Ray cluster of two workers, whatever kills them."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from captioner.errors import CaptionerError
from captioner.folder.engines.cluster import _keeping_sigterm, import_ray
from captioner.folder.engines.crashes import CrashTracker, Piece
from captioner.folder.engines.ray import _DEADLY, RayEngine, _chunks
from captioner.folder.sources.inputs import Photo
from captioner.folder.stopping import Stopped, graceful_shutdown
from tests.deadly import die_loading, load_deadly
from tests.photos import encode, noise
from tests.together import PATIENCE, wait_until

ROOT = Path(__file__).parent.parent
PHOTOS = 400
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # of itself


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


@pytest.fixture(scope="module")
def cluster():
    """Two cores of Ray, begun once for all tests that run in this process."""
    pytest.importorskip("ray")
    ray, _, _ = import_ray()
    with TemporaryDirectory(prefix="ray", dir="/tmp") as place:
        with _keeping_sigterm():  # for the tests that come after these
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="CRITICAL",
                object_store_memory=100 * 2**20,
                _temp_dir=place,
            )
        yield
        ray.shutdown()


def left_over(environment):
    """Processes begun with this environment, or by those."""
    mark = f"RAY_TMPDIR={environment['RAY_TMPDIR']}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    return [title for title in found if title]


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
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as in a terminal, whose Ctrl-C all of it receives
        )
    finally:
        os.sched_setaffinity(0, cores)


def wait_for(path, count, process):
    while lines(path) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_run_that_is_interrupted_and_loses_a_worker_captions_as_one_without_a_cluster(
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
    os.killpg(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=PATIENCE)
    assert first.returncode == 130
    assert json.loads(errors.splitlines()[-1])["event"] == "interrupted"
    begun = lines(there)
    assert 17 <= begun < PHOTOS - 32
    # Ray's processes end together with the command, or within moments.
    wait_until(lambda: not left_over(environment), "the end of Ray's processes")

    second = start(environment, *arguments)
    wait_for(there, begun + 17, second)
    busy = workers(second.pid)
    assert len(busy) == min(2, len(os.sched_getaffinity(0)))
    os.kill(busy[0], signal.SIGKILL)
    at_the_kill = lines(there)
    out, errors = second.communicate()
    events = [json.loads(line) for line in errors.splitlines()]

    assert out == ""
    assert begun < at_the_kill < PHOTOS - 32
    assert second.returncode == 1, "a photo is broken"
    assert {event["event"] for event in events} <= {"begin", "progress", "failed", "end"}
    assert events[-1].items() >= {
        "captioned": PHOTOS - begun, "before": begun - 1, "skipped": 0, "failed": 1,
    }.items()  # fmt: skip
    assert there.read_bytes() == local.read_bytes()


def test_sigterm_while_ray_starts_stops_the_run_gracefully():
    def begin():
        with graceful_shutdown(), _keeping_sigterm():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        begin()
    assert stopped.value.status == 143


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "[Errno 111] Connection refused"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "the port does not speak gRPC; it may be Ray's dashboard",
        ),
        (b"", "the port does not speak gRPC; it may be Ray's dashboard"),
    ],
)
def test_an_address_without_a_ray_cluster_is_reported(command, many, monkeypatch, answer, problem):
    assert not pytest.importorskip("ray").is_initialized(), "the tests that begin it come later"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if answer is None:
            server.close()
        else:
            Thread(target=reply, args=(server, answer), daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", address)
        status, _, errors = command(many, "--engine", "ray")
    assert status == 2
    assert errors == [
        f"captioner: RAY_ADDRESS is {address}, but no Ray cluster can be reached there: {problem}; "
        "set it to the address that `ray start` printed, or unset it to start a cluster on this "
        "machine."
    ]


def test_an_address_for_rays_client_is_refused(command, many, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    status, _, errors = command(many, "--engine", "ray")
    assert status == 2
    assert errors == [
        "captioner: RAY_ADDRESS is ray://127.0.0.1:10001, but Ray Client is not supported; run the "
        "command on a machine of the cluster, with RAY_ADDRESS=auto or the address that "
        "`ray start` printed."
    ]


def reply(server, answer):
    """Say this to the first who comes, whatever is asked."""
    there, _ = server.accept()
    with there:
        there.recv(64)
        there.sendall(answer)


def test_photos_that_end_their_process_fail_with_a_reason_and_the_others_do_not(cluster, tmp_path):
    checkpoint = tmp_path / "model.safetensors"
    checkpoint.write_bytes(b"which these engines do not read")
    names = [f"deadly-{number}" if number in (3, 20) else str(number) for number in range(40)]
    photos = [Photo(name=name, path=f"/{name}") for name in names]
    engine = RayEngine([checkpoint], load_deadly, gpus=False)
    outcomes = [outcome for batch in engine.run(photos) for outcome in batch]
    assert outcomes == [
        (photo, _DEADLY if "deadly" in photo.name else f"seen: {photo.name}") for photo in photos
    ]


def test_workers_that_end_while_they_load_the_model_end_the_run(cluster, tmp_path):
    checkpoint = tmp_path / "model.safetensors"
    checkpoint.write_bytes(b"which no engine lives to read")
    engine = RayEngine([checkpoint], die_loading, gpus=False)
    with pytest.raises(CaptionerError, match="workers crashed 6 times in a row while loading"):
        list(engine.run([Photo(name=str(number), path="/") for number in range(40)]))


def test_every_kind_of_output_is_as_without_a_cluster(command, cluster, tmp_path):
    options = ("--words", "--search", "greedy", "--batch-size", "2", "--precision", "float32")
    options += ("--sidecar", "txt", "--in-place")
    written = []
    for engine in ("local", "ray"):
        place = tmp_path / engine / "photos"
        place.mkdir(parents=True)
        for number in range(5):
            noise(8, 8, seed=number).save(place / f"{number}.jpg")
            os.utime(place / f"{number}.jpg", (0, 0))
        whole = (place / "2.jpg").read_bytes()
        (place / "2.jpg").write_bytes(whole[:60])
        outputs = ("--output", place / "out.jsonl", "--output", place / "out.parquet")
        arguments = (place, *options, *outputs, "--engine", engine)
        assert command(*arguments)[0] == 1, "a photo is broken"
        failed = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
        (place / "2.jpg").write_bytes(whole)
        os.utime(place / "2.jpg", (0, 0))
        assert command(*arguments, "--retry-failed")[0] == 0
        mended = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
        assert (place / "2.txt").exists()
        assert "2.txt" not in failed
        written.append((failed, mended))
    assert written[0] == written[1]


def test_what_a_worker_had_in_hand_is_divided_until_a_photo_is_alone_and_given_up():
    tracker, hands = CrashTracker(workers=1), []
    while True:
        for piece in tracker.open(7, 512):
            if piece.hopeless:
                continue
            tracker.take(7, piece)
            hands.append((piece.first, piece.count))
            if piece.first <= 100 < piece.first + piece.count:
                break  # it ends the worker
        else:
            break
    deadly = [hand for hand in hands if hand[0] <= 100 < sum(hand)]
    assert deadly == [(0, 512), (96, 32), (100, 2), (100, 1), (100, 1)]
    pieces = tracker.open(7, 512)
    assert [piece for piece in pieces if piece.hopeless] == [Piece(first=100, count=1, deaths=2)]
    assert [
        place for piece in pieces for place in range(piece.first, piece.first + piece.count)
    ] == [*range(512)]
    tracker.close(7)
    assert tracker.open(7, 512) == [Piece(first=0, count=512)]


def test_photos_reach_the_workers_once_in_order_and_in_growing_chunks():
    photos = [Photo(name=str(number), path=f"/{number}") for number in range(20_000)]
    chunks = list(_chunks(photos))
    assert [photo for chunk in chunks for photo in chunk] == photos
    sizes = [len(chunk) for chunk in chunks[:-1]]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (16, 512)
    assert list(_chunks([])) == []


def test_workers_receive_absolute_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ((photo,),) = _chunks([Photo(name="a.jpg", path="a.jpg")])
    assert photo == Photo(name="a.jpg", path=str(tmp_path / "a.jpg"))


def test_missing_ray_is_reported_before_anything_is_written(command, many, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    before = sorted(many.iterdir())
    status, out, errors = command(many, "--engine", "ray")
    message = "captioner: --engine ray needs Ray; install it: pip install 'captioner[ray]'"
    assert (status, out, errors) == (2, [], [message])
    assert sorted(many.iterdir()) == before
    assert command(many, "--engine", "ray", "--dry-run")[0] == 0

"""The real command, killed at random moments: `python -m tests.kills CHECKPOINT FOLDER TIMES`.

PyTorch and the weights are loaded once; every run is a process forked from there, so that it is
killed at work and not while it imports. What the runs leave must equal what a run in peace leaves.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import captioner.folder.engines.local
import captioner.folder.job
import captioner.folder.outputs.tables  # so that no run has to import anything  # noqa: F401
from captioner.cli import main
from captioner.pytorch import TorchCaptioner
from tests.photos import noise

PHOTOS = 40
OPTIONS = (
    "--sidecar", "txt", "--existing", "append", "--search", "greedy", "--batch-size", "2",
    "--workers", "2", "--precision", "float32", "--quiet",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Lay out tiny photos, a few of them broken, each with the beginning of a caption."""
    folder.mkdir(parents=True)
    for number in range(PHOTOS):
        photo = folder / f"{number:02}.png"
        noise(8, 8, seed=number).save(photo)
        photo.with_suffix(".txt").write_text(f"{number}\n")
        if number % 10 == 3:
            photo.write_bytes(photo.read_bytes()[:60])


def start(folder: Path, checkpoint: str) -> int:
    """Fork a process that runs the command, and return its id."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the broken photos are named in every run
        os._exit(main(["folder", str(folder), "--checkpoint", checkpoint, *OPTIONS]))
    return child


def whole_lines(journal: Path) -> list[dict]:
    """Records that are complete; a kill may leave half of one."""
    if not journal.exists():
        return []
    lines = journal.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def result(folder: Path) -> dict[str, object]:
    """Texts of all files, records by image."""
    found: dict[str, object] = {
        path.name: path.read_text() for path in folder.iterdir() if path.suffix == ".txt"
    }
    records = whole_lines(folder / "captions.jsonl")
    assert len(records) == len({record["image"] for record in records}), "a caption is doubled"
    for record in records:
        found[record["image"]] = (record["status"], record.get("caption"), record.get("reason"))
    found["names"] = sorted(path.name for path in folder.iterdir())
    return found


def run(checkpoint: str, place: Path, times: int) -> None:
    """Kill this many runs, folder after folder, and compare every folder when it is complete."""
    model = TorchCaptioner.load(checkpoint, device="cpu")
    TorchCaptioner.open = lambda *_, **__: model  # type: ignore[method-assign]
    prepare(place / "peace")
    status = os.waitpid(start(place / "peace", checkpoint), 0)[1]
    assert os.waitstatus_to_exitcode(status) == 1, "some photos are broken"
    expected = result(place / "peace")
    assert len(expected) == 2 * PHOTOS + 1

    killed, chance = 0, random.Random(0)
    while killed < times:
        folder = place / "killed"
        prepare(folder)
        while True:
            done = len(whole_lines(folder / "captions.jsonl"))
            child = start(folder, checkpoint)
            if killed < times:
                while len(whole_lines(folder / "captions.jsonl")) == done < PHOTOS:
                    time.sleep(0.001)  # not before it is at work
                time.sleep(chance.uniform(0, 0.05))
                os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code != -signal.SIGKILL:
                assert code == 1, code
                break
            killed += 1
        left = result(folder)
        assert left == expected, {
            name: (left.get(name), expected.get(name))
            for name in {**left, **expected}
            if left.get(name) != expected.get(name)
        }
        shutil.rmtree(folder)
    print(killed)


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

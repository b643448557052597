import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from shapes import write_shapes

from tests.together import ROOT, Together, children, same, wait_until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="needs Linux to find processes"
)
KILLS = 8
RUN = (
    "save_minutes=0",  # after every step
    "model.decoder.dropout=0.3",
    "stages.0.epochs=9",
    "stages.0.batch_size=3",
    "stages.0.augment=true",
    "stages.0.patience=2",
    "stages.0.learning_rate=1e-9",
    "stages.1.epochs=2",
    "stages.1.batch_size=3",
    "stages.1.augment=true",
)
CHECKPOINTS = ("best.safetensors", "last.safetensors")


def arguments(folder: Path, *changes: str) -> list[str]:
    options = [f"--set={change}" for change in (*RUN, *changes)]
    smoke = str(ROOT / "tests" / "smoke.toml")
    return [smoke, "--folder", str(folder), "--device", "cpu", *options]


def state(file: Path) -> dict:
    return torch.load(file, weights_only=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    write_shapes(folder)
    return folder


@pytest.fixture(scope="module")
def whole(place, together) -> Path:
    """What a run in peace leaves."""
    together.run(arguments(place / "whole"))
    stages = [
        scores["stage"] for scores in state(place / "whole" / "resume.pt")["progress"]["history"]
    ]
    assert stages == ["decoder"] * 3 + ["whole"] * 2  # patience ended the first
    return place / "whole"


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(place, together, whole):
    chance = random.Random(0)
    killed = number = 0
    while killed < KILLS:
        number += 1
        folder = place / str(number)
        while True:
            together.start(arguments(folder))
            if killed < KILLS:
                wait_until(lambda: children(together.process.pid), "the run")
                process = children(together.process.pid)[0]
                log = folder / "log.txt"
                said = log.read_text() if log.exists() else ""
                while not log.exists() or log.read_text() == said:  # not before it is at work
                    if not children(together.process.pid):
                        break  # it was at its end
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.5))
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            code = together.ended()
            if code != [-signal.SIGKILL]:
                assert code == [0], together.errors
                break
            killed += 1
        assert same(state(folder / "resume.pt"), state(whole / "resume.pt"))
        for name in CHECKPOINTS:
            assert (folder / name).read_bytes() == (whole / name).read_bytes()


def cut_short(together: Together, folder: Path) -> None:
    """Train until what is to be saved, with a trained encoder, is more than can be written."""
    together.start(arguments(folder), limit=3_000_000)  # bytes
    assert together.ended() == [1]


def test_a_full_disk_is_reported_and_costs_nothing(place, together, whole):
    folder = place / "full"
    cut_short(together, folder)
    saved = {file: file.read_bytes() for file in folder.glob("resume*")}
    assert {file.name for file in saved} == {"resume.pt", "resume.1.pt"}
    assert [state(file)["progress"]["stage"] for file in saved] == [0, 0]
    said = len(together.errors)
    cut_short(together, folder)
    assert (
        f"error: {folder / 'resume.pt'}: cannot be written: File too large; raise the limit on the "
        "size of files (ulimit -f) and run the same command again.\n"
    ) in together.errors[said:]
    assert saved == {file: file.read_bytes() for file in folder.glob("resume*")}
    together.run(arguments(folder))
    assert same(state(folder / "resume.pt"), state(whole / "resume.pt"))


def test_a_run_resumes_from_the_previous_file_if_the_newest_is_damaged(place, together, whole):
    folder = place / "damaged"
    cut_short(together, folder)
    content = bytearray((folder / "resume.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "resume.pt").write_bytes(content)
    together.run(arguments(folder))
    assert "resume.pt is damaged (wrong checksum of " in (folder / "log.txt").read_text()
    assert same(state(folder / "resume.pt"), state(whole / "resume.pt"))

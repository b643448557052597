"""Runs that die at every system call that writes, and what the next run makes of it."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def place(tmp_path):
    """A folder where syncing costs nothing: whether a disk keeps its promises is not tested."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield folder


@pytest.mark.skipif(os.name != "posix", reason="processes fork on POSIX only")
@pytest.mark.parametrize(
    "mode",
    ["skip", "overwrite", "append", "prepend", "missing", "replaced", "edited", "repair"],
)
def test_a_run_killed_at_any_write_is_completed_by_the_next(place, mode):
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashes", place, mode],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert int(done.stdout) > (20 if mode == "repair" else 40), "writes survived"


@pytest.mark.skipif(os.name != "posix", reason="processes fork on POSIX only")
def test_the_real_command_killed_fifty_times_leaves_what_it_leaves_in_peace(checkpoints, place):
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", checkpoints["lstm"], place, "50"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "50\n")

"""Runs that die at every system call that writes, and what the next run makes of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(os.name != "posix", reason="processes fork on POSIX only")
@pytest.mark.parametrize("existing", ["skip", "overwrite", "append", "prepend"])
def test_a_run_killed_at_any_write_is_completed_by_the_next(tmp_path, existing):
    memory = Path("/dev/shm")  # where syncing costs nothing, and no disk forgets anything anyway
    place = memory / tmp_path.name if os.access(memory, os.W_OK) else tmp_path / "runs"
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashes", place, existing],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert int(done.stdout) > 40, "writes survived"

"""Training by processes that can be killed: `Together` starts `python -m tests.together`.

That reads runs from standard input, one JSON list `[ranks, arguments, limit]` a line, does each and
prints its exit codes. PyTorch is loaded once; the processes of a run are forked from there, with
the environment that torchrun would give them.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torch.distributed import TCPStore

from training import train

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PATIENCE = 180
"""Seconds that anything may take at most."""


class Together:
    """A process that runs training by several others in a folder."""

    def __init__(self, folder: Path) -> None:
        self._errors = folder / "errors.txt"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.together"],
                cwd=folder,
                env=ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def start(self, arguments: list[str], *, ranks: int = 1, limit: int = -1) -> None:
        """Train; files may have so many bytes at most."""
        self.process.stdin.write(json.dumps([ranks, arguments, limit]) + "\n")
        self.process.stdin.flush()

    def ended(self) -> list[int]:
        """Wait for the end of what was started last; return exit codes."""
        return json.loads(self.process.stdout.readline())

    def run(self, arguments: list[str], *, ranks: int = 1) -> None:
        """Train to the end."""
        self.start(arguments, ranks=ranks)
        assert self.ended() == [0] * ranks, self.errors

    @property
    def errors(self) -> str:
        """All that was said so far."""
        return self._errors.read_text()

    def close(self) -> None:
        """End all processes."""
        end_session(self.process)


def end_session(process: subprocess.Popen) -> None:
    """Kill a process and all that it started."""
    for member in members(process.pid):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


def members(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, own = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(own) == session and state != "Z":
                found.append(int(entry.name))
    return found


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something, but not for ever."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.002)


def same(one: object, other: object) -> bool:
    """Whether nested values are equal to the last bit."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def fork(rank: int, ranks: int, arguments: list[str], limit: int, store: TCPStore) -> int:
    """Start one process of a run, and return its id."""
    child = os.fork()
    if child:
        return child
    os.dup2(2, 1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # whose port is free, and stays its own
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    code = 1
    try:
        code = train.main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run(ranks: int, arguments: list[str], limit: int) -> list[int]:
    """Train with so many processes; return their exit codes."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started = [fork(rank, ranks, arguments, limit, store) for rank in range(ranks)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in started]


if __name__ == "__main__":
    train.REPORT_STEPS = 1
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)

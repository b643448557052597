"""Resources of this machine: cores, memory, a GPU. Found without PyTorch."""

import os
import sys
from contextlib import suppress
from ctypes import CDLL
from ctypes.util import find_library
from pathlib import Path

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA, AMD, and the Linux subsystem of Windows; `nvcuda` is Windows' own."""
_M_ARENA_MAX = -8
"""Of malloc.h."""


def count_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether there is a driver for GPUs that PyTorch may know."""
    # Elsewhere than on Windows, `find_library` runs a compiler, and writes files for it.
    windows = os.name == "nt" and find_library("nvcuda") is not None
    return windows or any(map(os.path.exists, _GPU_DEVICES))


def has_room() -> bool:
    """Whether as much memory is free as this process has ever taken.

    Where the system cannot be asked, there is.
    """
    if sys.platform != "linux":
        return True
    import resource  # noqa: PLC0415  # not on Windows

    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1]) > peak
    return True


def release_memory() -> None:
    """Give memory that is free back to the system; the C library of Linux keeps it otherwise."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no such function
            CDLL(None).malloc_trim(0)


def share_heap() -> None:
    """Let all threads take memory from one heap, where it is glibc's.

    With a heap for each of a server's threads, what sessions keep lies between what captions leave
    free in all of them, so that the process grows with every caption.
    """
    with suppress(AttributeError, OSError, TypeError):  # of another system
        CDLL(None).mallopt(_M_ARENA_MAX, 1)

"""Resources of this machine: cores, memory, a GPU. Found without PyTorch."""

import os
import sys
from contextlib import suppress
from ctypes import CDLL
from ctypes.util import find_library
from pathlib import Path

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of NVIDIA, AMD, and Windows' Linux subsystem; Windows itself has `nvcuda`."""
_M_ARENA_MAX = -8
"""Constant of malloc.h."""


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether there is a driver for GPUs that PyTorch may support."""
    # Elsewhere than on Windows, `find_library` runs a compiler, and writes files for it.
    windows = os.name == "nt" and find_library("nvcuda") is not None
    return windows or any(map(os.path.exists, _GPU_DEVICES))


def has_room() -> bool:
    """Whether as much memory is free as this process ever used; True if unknown."""
    if sys.platform != "linux":
        return True
    import resource  # noqa: PLC0415  # not on Windows

    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1]) > peak
    return True


def release_memory() -> None:
    """Return free memory to the system; glibc would keep it."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no such function
            CDLL(None).malloc_trim(0)


def share_heap() -> None:
    """Make all threads share one heap, with glibc.

    With a heap for each thread of a server, long-lived session data fragments the memory that
    captioning frees, and the process grows with every caption.
    """
    with suppress(AttributeError, OSError, TypeError):  # of another system
        CDLL(None).mallopt(_M_ARENA_MAX, 1)

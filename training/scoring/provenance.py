"""Provenance of reports and logs: the git commit of the code, and the machine."""

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CODE = Path(__file__).parent


def git_commit(folder: Path = _CODE) -> str | None:
    """Return the commit of a folder's checkout, with `-changed` if tracked files were modified.

    None if the folder is not in a git checkout or git is not installed.
    """
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-changed" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def describe_machine(device: "torch.device") -> str:
    """Describe CPU, cores, GPU and the versions that matter for speed."""
    import torch  # noqa: PLC0415  # scores do without it

    parts = [f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    parts.append(f"{platform.system()}, Python {platform.python_version()}")
    parts.append(f"torch {torch.__version__}")
    return ", ".join(parts)


def reset_peak_memory(device: "torch.device") -> bool:
    """Let `peak_memory` start over; False where the system has no such thing."""
    import torch  # noqa: PLC0415

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # man proc, since Linux 4.0
    except OSError:
        return False
    return True


def peak_memory(device: "torch.device") -> int:
    """Peak memory in bytes: of the GPU, or of this process on a CPU."""
    import torch  # noqa: PLC0415

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # not Linux
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE):
            return 1024 * int(found[1])
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor() -> str:
    """Name of the CPU, from Linux or from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

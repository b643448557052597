"""Cost of a caption in a fresh install, without and with PyTorch: disk, seconds, memory.

    python -m benchmarks.install [--rounds 3] [--keep DIR]

Creates two virtual environments of this checkout, one with `pip install .` and one with the extra
`torch`, and captions the same photo in each, always in a new process. Prints megabytes on disk,
seconds of the install, seconds and peak memory of a caption (median over the rounds), and the
ratios.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import command
from captioner.cli.options import positive

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "data" / "samples" / "cat.jpg"
KINDS = {"base": (".", "onnx"), "torch": (".[torch]", "torch")}
"""Requirement to install, and runtime of the captions."""


def install(folder: Path, what: str) -> float:
    """Create an environment; return the seconds of `pip install`."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    started = time.perf_counter()
    pip: list[str | Path] = [
        folder / "bin" / "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        what,
    ]
    subprocess.run(pip, cwd=ROOT, check=True)
    return time.perf_counter() - started


def megabytes(folder: Path) -> float:
    """Return the size of a folder on disk."""
    files = (Path(top) / name for top, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_blocks for file in files) * 512 / 1e6


def caption(folder: Path, runtime: str) -> tuple[float, float]:
    """Caption a photo in a new process; return seconds and peak memory in MB."""
    command: list[str | Path] = [
        folder / "bin" / "captioner",
        "caption",
        PHOTO,
        "--runtime",
        runtime,
    ]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, used.ru_maxrss / 1e3


@command
def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.install", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=positive, default=3, help="measured rounds (3)")
    parser.add_argument(
        "--keep", type=Path, help="create the environments here, or reuse those here"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folders = {kind: (args.keep or Path(made)) / kind for kind in KINDS}
        found: dict[str, dict[str, float]] = {}
        for kind, (what, _) in KINDS.items():
            seconds = install(folders[kind], what) if not folders[kind].exists() else float("nan")
            found[kind] = {"install s": seconds, "disk MB": megabytes(folders[kind])}
        took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        for _ in range(args.rounds + 1):
            for kind, (_, runtime) in KINDS.items():
                took[kind].append(caption(folders[kind], runtime))
        for kind, runs in took.items():
            found[kind]["first caption s"] = runs[0][0]
            found[kind]["caption s"] = statistics.median(seconds for seconds, _ in runs[1:])
            found[kind]["memory MB"] = statistics.median(memory for _, memory in runs[1:])
    for name in found["base"]:
        base, torch = found["base"][name], found["torch"][name]
        print(f"{name:16}{base:9.2f} without{torch:9.2f} with torch{torch / base:8.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())

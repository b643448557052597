"""Start-up time of the command, relative to Python and PyTorch alone.

    python -m benchmarks.startup [--rounds 7]

Programs alternate within a round, each in a new process. Prints seconds (median over the rounds),
and how much longer `--help` takes than bare Python, and the first caption than `import torch,
timm`.
The aims are 0.15 and 1.0 s; exit status 1 if one is missed.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.command import command
from captioner.cli.options import positive

PHOTO = Path(__file__).parents[1] / "data" / "samples" / "cat.jpg"
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "captioner --help": ["-m", "captioner", "--help"],
    "import torch, timm": ["-c", "import torch, timm"],
    "captioner caption PHOTO": ["-m", "captioner", "caption", str(PHOTO), "--device", "cpu"],
}
AIMS = (
    ("captioner --help", "python -c pass", 0.15),
    ("captioner caption PHOTO", "import torch, timm", 1.0),
)


def seconds(arguments: list[str]) -> float:
    """Run Python with these arguments."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


@command
def main() -> int:
    """Run the benchmark, print its table, and fail if an aim is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=positive, default=7, help="measured rounds (7)")
    args = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(args.rounds + 1):
        for name, arguments in PROGRAMS.items():
            time_taken = seconds(arguments)
            if turn:  # the first round brings the files into memory
                took[name].append(time_taken)
    median = {name: statistics.median(values) for name, values in took.items()}
    for name, value in median.items():
        print(f"{name:26}{value:7.3f} s")
    missed = False
    for ours, base, aim in AIMS:
        # Both of a round ran under the same load, so the differences are compared.
        over = statistics.median(a - b for a, b in zip(took[ours], took[base], strict=True))
        missed |= over > aim
        print(f"{ours} over {base}: {over:.3f} s, aim {aim} s{'  MISSED' if over > aim else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

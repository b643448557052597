"""Memory of `captioner folder` with many photos and with few.

    python -m benchmarks.memory [--few 1000] [--many 100000]

The photos are links to a few tiny ones, and the model is a toy of the tests, so that many photos
take only minutes; what the command keeps per photo does not depend on its size. Each run is a
separate process, on Linux. Prints the peak memory of each, and the additional bytes per photo of
the larger run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import command
from captioner.checkpoint.weights import save_checkpoint
from captioner.cli.options import positive
from captioner.words.tokenizer import Tokenizer
from tests.conftest import CAPTIONS, TOYS
from tests.photos import noise

_PROGRAM = """
import re, sys
from pathlib import Path
from captioner.cli import main
if status := main(sys.argv[1:]):
    sys.exit(status)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
"""Runs the command and reports its peak memory. The system's figure for a child process would
include that of the parent before the fork.
"""
_OPTIONS = ("--search", "greedy", "--max-words", "4", "--quiet", "--precision", "float32")


def make_links(folder: Path, count: int) -> None:
    """Fill a folder with photos, a thousand per subfolder."""
    originals = []
    for number in range(8):
        originals.append(folder.with_name(f"original-{number}.png"))
        noise(8, 8, seed=number).save(originals[-1])
    for number in range(count):
        place = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        os.symlink(originals[number % 8], place / f"a-photo-with-a-name-{number:07}.png")


def run(checkpoint: Path, folder: Path, output: Path, batch: int) -> tuple[float, float, int]:
    """Caption the folder; return seconds, peak MiB, and lines written."""
    command: list[str | Path] = [
        sys.executable,
        "-c",
        _PROGRAM,
        "folder",
        folder,
        "--output",
        output,
    ]
    command += ["--checkpoint", checkpoint, "--batch-size", str(batch), *_OPTIONS]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    with output.open("rb") as file:
        lines = sum(1 for _ in file)
    return time.perf_counter() - started, int(done.stdout) / 1024, lines


@command
def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--few", type=positive, default=1000, help="photos of the smaller run (1000)"
    )
    parser.add_argument(
        "--many", type=positive, default=100_000, help="photos of the larger run (100000)"
    )
    parser.add_argument("--batch", type=positive, default=64, help="photos per batch (64)")
    args = parser.parse_args()
    if args.few >= args.many:
        parser.error(f"--few {args.few} must be below --many {args.many}")
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        checkpoint = Path(place) / "toy.safetensors"
        model, header = TOYS["lstm"](Tokenizer.train_words(CAPTIONS, min_count=1))
        save_checkpoint(checkpoint, model, header, half=False)
        for count in (args.few, args.many):
            folder = Path(place) / str(count)
            make_links(folder, count)
            took, peaks[count], lines = run(
                checkpoint, folder, folder.with_suffix(".jsonl"), args.batch
            )
            print(f"{count:9} photos, {lines} lines: {peaks[count]:7.1f} MiB, {took:.0f} s")
    more = peaks[args.many] - peaks[args.few]
    share = more / peaks[args.few]
    each = more * 2**20 / (args.many - args.few)
    print(f"{more:.1f} MiB more, {100 * share:.1f} %: {each:.0f} bytes a photo")
    return 0


if __name__ == "__main__":
    sys.exit(main())

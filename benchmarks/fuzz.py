"""Fuzz the photo loader and the metadata writer with corrupted photos.

    python -m benchmarks.fuzz [--photos 10000] [--seed 0] [--seconds 5] [--keep FOLDER]

Each is a photo of the tests' collection of odd ones, or a sample, with some bytes flipped, cut,
repeated, or taken from another photo. Accepted outcomes are a decoded photo or an `ImageError`, and
a written caption or a `MetadataError`. A worker process reads the photos, so that crashes of a
decoder, hangs and excessive memory are caught. Prints a table, and fails with the seeds of all
other outcomes; a seed always makes the same photo.
"""

import argparse
import random
import re
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.command import command
from captioner import metadata
from captioner.cli.options import above_zero, positive
from captioner.durable import check_writable
from captioner.errors import ImageError, MetadataError
from captioner.photo import load_photo, load_reduced
from tests.odd_images import corpus
from training.options import at_least

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
LARGEST = 200_000  # bytes of an original; larger ones only take time
PATIENCE = 30  # factor on the processor seconds, for a busy machine


def originals() -> list[bytes]:
    """Photos to corrupt."""
    sound = [photo.content for photo in corpus() if photo.reason is None]
    return [photo for photo in sound if len(photo) <= LARGEST] + [
        path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))
    ]


def spoil(photos: list[bytes], seed: int) -> bytes:
    """Choose a photo, and corrupt it in up to four places."""
    rng = random.Random(seed)
    photo = bytearray(rng.choice(photos))
    for _ in range(rng.randint(1, 4)):
        # Most headers are at the start, so half of the changes go there.
        start = rng.randrange(min(len(photo), 200) if rng.random() < 0.5 else len(photo))
        end = min(len(photo), start + rng.choice((1, 1, 2, 4, 16, 256)))
        match rng.choices(range(7), weights=(9, 4, 4, 2, 2, 4, 1))[0]:
            case 0:  # flip a bit
                photo[start] ^= 1 << rng.randrange(8)
            case 1:
                photo[start:end] = rng.randbytes(end - start)
            case 2:
                photo[start:end] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * (end - start)
            case 3:
                del photo[start:end]
            case 4:
                photo[start:start] = photo[start:end] * rng.choice((1, 1, 50))
            case 5:
                other = rng.choice(photos)
                place = rng.randrange(len(other))
                photo[start:end] = other[place : place + 64]
            case _:
                del photo[max(1, start) :]
        if not photo:
            return b""
    return bytes(photo)


def read(photo: bytes) -> str:
    """Load a photo whole and reduced, and caption its file; return the outcome in a word or two."""
    outcome = "read"
    for size in (None, (64, 64)):
        try:
            load_reduced(photo, at_least=size) if size else load_photo(photo)
        except ImageError as error:
            outcome = re.split(r" \(| is |;|, ", str(error).removeprefix("the photo: "))[0]
    try:
        captioned = metadata.embed(photo, "a dog", name="photo")
        assert "a dog" in metadata.read_captions(captioned, name="photo")
    except MetadataError:
        pass
    return outcome


def work(channel: Connection, seconds: float) -> None:
    """Handle photos until the input ends; exit if one takes too long."""
    warnings.simplefilter("ignore")
    photos = originals()
    channel.send(len(photos))
    while (seed := channel.recv()) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        begun = time.process_time()
        try:
            outcome, harm = read(spoil(photos, seed)), False
        except BaseException as error:  # any other error is reported as a failure
            outcome, harm = f"{type(error).__name__}: {error}", True
        signal.setitimer(signal.ITIMER_PROF, 0)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        channel.send((outcome, harm, time.process_time() - begun, memory))


class Worker:
    """A process that reads photos, and may crash."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        context = get_context("spawn")
        self.channel, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, seconds), daemon=True)
        self.process.start()
        theirs.close()
        self.originals = self.channel.recv()

    def ask(self, seed: int) -> tuple[str, bool, float, int]:
        """Return outcome, whether it is a failure, seconds and peak memory of a seed's photo."""
        self.channel.send(seed)
        if not self.channel.poll(PATIENCE * self.seconds):  # blocked on something
            self.process.kill()
            self.process.join()
            return "waited", True, 0.0, 0
        try:
            answer: tuple[str, bool, float, int] = self.channel.recv()
        except EOFError:
            self.process.join()
            late = self.process.exitcode == -signal.SIGPROF
            died = f"died with exit code {self.process.exitcode}"
            return f"took over {self.seconds:g} s" if late else died, True, 0.0, 0
        return answer


@command
def main() -> int:
    """Run, print the table, and fail on any other outcome."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--photos", type=positive, default=10_000, help="number of photos (10000)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the first photo (0)")
    parser.add_argument(
        "--seconds", type=above_zero, default=5.0, help="processor seconds a photo may take (5)"
    )
    parser.add_argument("--keep", type=Path, help="folder for photos that cause a failure")
    args = parser.parse_args()
    if args.keep:
        check_writable(args.keep, folder=True, option="--keep")
    worker = Worker(args.seconds)
    print(f"{args.photos} photos from {worker.originals}, seeds from {args.seed}")
    counts: Counter[str] = Counter()
    harmful: list[tuple[int, str]] = []
    slowest, memory, started = (0.0, args.seed), 0, time.perf_counter()
    for seed in range(args.seed, args.seed + args.photos):
        outcome, harm, took, used = worker.ask(seed)
        slowest = max(slowest, (took, seed))
        memory = max(memory, used)
        counts["did harm" if harm else outcome] += 1
        if harm:
            harmful.append((seed, outcome))
            print(f"seed {seed}: {outcome}", file=sys.stderr)
            if not worker.process.is_alive():
                worker = Worker(args.seconds)
    for outcome, count in counts.most_common():
        print(f"{count:8d}  {outcome}")
    print(f"slowest {slowest[0]:.2f} s (seed {slowest[1]}), most memory {memory / 1024:.0f} MiB,")
    print(f"{time.perf_counter() - started:.0f} s in all; did harm: {len(harmful)}")
    if args.keep and harmful:
        args.keep.mkdir(parents=True, exist_ok=True)
        photos = originals()
        for seed, _ in harmful:
            (args.keep / str(seed)).write_bytes(spoil(photos, seed))
    return 1 if harmful else 0


if __name__ == "__main__":
    sys.exit(main())

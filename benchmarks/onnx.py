"""Compare captions by PyTorch, plain and packed, by an ONNX export and by one of eight bits.

    python -m benchmarks.onnx [--checkpoint NAME] [--timed 16] [--scored 200] [--rounds 3]
        [--batch 8] [--threads 1]

The programs take turns within a round over photos that are read and framed beforehand. Prints
captions a second (median over the rounds), how many times as fast as PyTorch, the size of the
weights, how many captions are PyTorch's own, and CIDEr-D on the first photos of Flickr8k's
validation split.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from captioner.checkpoint.shipped import DEFAULT, find_checkpoint
from captioner.errors import CaptionerError
from captioner.onnx import OnnxCaptioner
from captioner.onnx.export import export_onnx
from captioner.photo.framing import Prepared, prepare
from captioner.pytorch import TorchCaptioner
from captioner.result.caption import Caption
from data.archives import ImageSource
from data.coco import load_records
from training.metrics import score

CAPTIONS = Path("datasets/flickr8k/dataset_flickr8k.json.gz")
PHOTOS = "datasets/flickr8k"

Program = Callable[[Sequence[Prepared]], list[Caption]]
"""Captions a batch of photos framed as arrays."""


def in_batches(program: Program, photos: Sequence[Prepared], *, batch: int) -> list[Caption]:
    """Caption all photos, a batch at a time."""
    starts = range(0, len(photos), batch)
    return [caption for start in starts for caption in program(photos[start : start + batch])]


def measure(
    programs: dict[str, Program], photos: Sequence[Prepared], *, batch: int, rounds: int
) -> dict[str, float]:
    """Return captions a second of each, the median over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            in_batches(program, photos, batch=batch)
            if turn:  # the first warms up
                rates[name].append(len(photos) / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


def megabytes(path: Path) -> float:
    """Return the size of a file, or of the graphs in a folder."""
    files = [path] if path.is_file() else list(path.glob("*.onnx"))
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx")
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--timed", type=int, default=16, help="photos of a round")
    parser.add_argument("--scored", type=int, default=200, help="photos that CIDEr is taken of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        checkpoint = find_checkpoint(args.checkpoint)
        captioner = TorchCaptioner.load(checkpoint, device="cpu")
        records = load_records(CAPTIONS, split="val")[: max(args.timed, args.scored)]
        source = ImageSource(PHOTOS)
        config = captioner.header.preprocess
        photos = [prepare(source.read(record.image), config) for record in records]
        programs: dict[str, Program] = {
            "torch": captioner.caption_batch,
            "torch, packed": captioner.packed().caption_batch,
        }
        sizes = dict.fromkeys(programs, megabytes(checkpoint))
        with tempfile.TemporaryDirectory() as made:
            for name, int8 in (("onnx", False), ("onnx, int8", True)):
                folder = Path(made) / name
                export_onnx(checkpoint, folder, int8=int8)
                runner = OnnxCaptioner.load(folder, threads=args.threads)
                programs[name], sizes[name] = runner.caption_batch, megabytes(folder)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rates = measure(programs, photos[: args.timed], batch=args.batch, rounds=args.rounds)
    scored = records[: args.scored]
    references = {record.image_id: record.captions for record in scored}
    print(
        f"{captioner.header.name}, batch {args.batch}, {args.threads} threads, "
        f"{len(scored)} photos scored"
    )
    plain: list[str] = []
    for name, program in programs.items():
        found = in_batches(program, photos[: args.scored], batch=args.batch)
        texts = [caption.text for caption in found]
        plain = plain or texts
        same = sum(one == other for one, other in zip(plain, texts, strict=True))
        ids = [record.image_id for record in scored]
        cider = score(references, dict(zip(ids, texts, strict=True)))["CIDEr"]
        print(
            f"{name:14}{rates[name]:8.2f} captions/s{rates[name] / rates['torch']:7.2f} x"
            f"{sizes[name]:8.1f} MB{same:6} the same   CIDEr {100 * cider:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

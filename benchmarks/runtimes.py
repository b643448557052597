"""Compare PyTorch, plain and packed, with onnxruntime in float32 and int8.

    python -m benchmarks.runtimes [--checkpoint NAME] [--timed 32] [--scored 200] [--rounds 3]
        [--batch 32] [--threads 1] [--annotations FILE] [--images PATH] [--split val]

Runtimes alternate within a round, on photos that are preprocessed beforehand. Prints captions per
second (median over the rounds), the ratio to PyTorch and to the bare encoder, the share of captions
that equal PyTorch's, and CIDEr-D on the first photos of the split.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import command
from captioner.checkpoint.shipped import DEFAULT, find_checkpoint
from captioner.cli.options import positive
from captioner.onnx import OnnxCaptioner
from captioner.photo.framing import Prepared, prepare
from captioner.pipeline import Captioner
from captioner.pytorch import TorchCaptioner
from data.coco import load_records
from data.image_source import ImageSource
from training.metrics import score

CAPTIONS = Path("datasets/flickr8k/dataset_flickr8k.json.gz")
PHOTOS = "datasets/flickr8k"

Program = Callable[[Sequence[Prepared]], Any]
"""Captions, or only encodes, a batch of preprocessed photos."""


def in_batches(program: Program, photos: Sequence[Prepared], *, batch: int) -> list[Any]:
    """Run a program on all photos, batch by batch; return its results."""
    return [program(photos[start : start + batch]) for start in range(0, len(photos), batch)]


def caption_with(captioner: Captioner, **changes: Any) -> Program:
    """Caption without words and attention, as `captioner folder` does."""
    return partial(captioner.caption_batch, words=False, **changes)


def measure(
    programs: dict[str, Program], photos: Sequence[Prepared], *, batch: int, rounds: int
) -> dict[str, float]:
    """Return captions per second of each: median over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            in_batches(program, photos, batch=batch)
            if turn:  # the first round is a warm-up
                rates[name].append(len(photos) / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in rates.items()}


@command
def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.runtimes", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--checkpoint", default=DEFAULT, help="name or path of a checkpoint")
    parser.add_argument("--timed", type=positive, default=32, help="photos per round (32)")
    parser.add_argument(
        "--scored", type=positive, default=200, help="photos to compute CIDEr-D on (200)"
    )
    parser.add_argument("--rounds", type=positive, default=3, help="measured rounds (3)")
    parser.add_argument("--batch", type=positive, default=32, help="photos per batch (32)")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads (1)")
    parser.add_argument("--annotations", type=Path, default=CAPTIONS, help="human captions")
    parser.add_argument("--images", default=PHOTOS, help="folder or tar archive of their photos")
    parser.add_argument("--split", default="val", help="val (the default), test, ...")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    checkpoint = [find_checkpoint(args.checkpoint)]
    plain = TorchCaptioner.open(checkpoint, device="cpu")
    ways = {
        "torch": plain,
        "torch, packed": plain.packed(),
        "torch, packed, bfloat16": TorchCaptioner.open(
            checkpoint, device="cpu", precision="bfloat16"
        ).packed(),
        "onnx": OnnxCaptioner.open(checkpoint, threads=args.threads),
        "onnx, int8": OnnxCaptioner.open(checkpoint, precision="int8", threads=args.threads),
    }
    records = load_records(args.annotations, split=args.split)
    records = records[: max(args.timed, args.scored)]
    source = ImageSource(args.images)
    photos = [prepare(source.read(record.image), plain.header.preprocess) for record in records]
    programs: dict[str, Program] = {}
    for name, captioner in ways.items():
        programs[f"{name}: encoder"] = captioner.encode
        programs[f"{name}: greedy"] = caption_with(captioner, method="greedy")
        programs[name] = caption_with(captioner)
    rates = measure(programs, photos[: args.timed], batch=args.batch, rounds=args.rounds)
    scored = records[: args.scored]
    ids = [record.image_id for record in scored]
    references = {record.image_id: record.captions for record in scored}
    print(
        f"{plain.header.name}, batch {args.batch}, {args.threads} threads, {len(scored)} photos of "
        f"{args.split} scored"
    )
    exact: list[str] = []
    for name in ways:
        batches = in_batches(programs[name], photos[: args.scored], batch=args.batch)
        texts = [caption.text for batch in batches for caption in batch]
        exact = exact or texts
        same = sum(one == other for one, other in zip(exact, texts, strict=True))
        cider = score(references, dict(zip(ids, texts, strict=True)))["CIDEr"]
        encoder = rates[f"{name}: encoder"]
        print(
            f"{name:24}{rates[name]:8.2f} captions/s{rates[name] / rates['torch']:7.2f} x torch; "
            f"encoder{encoder:8.2f}/s, greedy{rates[f'{name}: greedy'] / encoder:6.2f} of it, "
            f"beam{rates[name] / encoder:6.2f}; {same} the same, CIDEr {100 * cider:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

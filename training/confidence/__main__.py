"""The command `python -m training.confidence`."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import save_checkpoint
from captioner.cli.options import fraction, positive
from captioner.durable import check_writable
from captioner.errors import CaptionerError, ConfigError
from captioner.pytorch import TorchCaptioner
from data.coco import load_records
from data.image_source import ImageSource
from training.confidence.collecting import collect, summarise
from training.confidence.fitting import DOUBTFUL, fit_confidence
from training.confidence.measuring import (
    measure_captions,
    measure_photos,
    measure_unknown_kinds,
    measure_words,
)
from training.nonphotos.drawing import KINDS, draw_nonphoto
from training.scoring.provenance import git_commit

_FIRST_TO_MEASURE = 100_000
"""Index of the first non-photo used for measuring; lower ones are used for fitting."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.confidence",
        description="Fit the confidence settings of a checkpoint, or measure those it has.",
    )
    parser.add_argument("checkpoint", help="name of a shipped checkpoint, or path")
    parser.add_argument(
        "--annotations", required=True, type=Path, help="human captions, any supported format"
    )
    parser.add_argument("--images", required=True, nargs="+", help="folders or tar archives")
    parser.add_argument("--split", help="val to fit, test to measure; all photos by default")
    parser.add_argument("--limit", type=positive, help="use only the first photos")
    parser.add_argument(
        "--photos",
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders or archives of more photos, without captions",
    )
    parser.add_argument(
        "--count", type=positive, default=100, help="generated non-photos per kind (100)"
    )
    parser.add_argument(
        "--most-photos",
        type=positive,
        default=1500,
        help="random photos to take from each of --photos (1500)",
    )
    parser.add_argument(
        "--doubtful",
        type=fraction,
        default=DOUBTFUL,
        help="probability below which words are marked",
    )
    parser.add_argument(
        "--output", type=Path, help="fit, and write the checkpoint with the new settings here"
    )
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    args = parser.parse_args(argv)
    try:
        print(json.dumps(_run(args), indent=2))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> dict[str, Any]:
    if args.output:
        check_writable(args.output, option="--output")
    captioner = TorchCaptioner.load(find_checkpoint(args.checkpoint), device=args.device)
    config = captioner.header.confidence
    if config is None and args.output is None:
        raise ConfigError(f"{args.checkpoint} has no confidence settings; fit them with --output.")
    records = load_records(args.annotations, split=args.split)[: args.limit]
    predictions = collect(captioner, records, ImageSource(args.images))
    photos = {path: summarise(captioner, _photos(path, args)) for path in args.photos}
    first = 0 if args.output else _FIRST_TO_MEASURE
    others = {
        kind: summarise(
            captioner, (draw_nonphoto(kind, first + number) for number in range(args.count))
        )
        for kind in KINDS
    }
    report: dict[str, Any] = {
        "checkpoint": captioner.header.name,
        "annotations": args.annotations.name,
        "split": args.split,
        "photos": len(records),
        "commit": git_commit(),
    }
    if args.output:
        learned = [own for own in (predictions.summaries, *photos.values()) if len(own)]
        every = np.concatenate(learned)
        config = fit_confidence(predictions, photos=every, others=others, doubtful=args.doubtful)
        header = replace(captioner.header, confidence=config)
        save_checkpoint(args.output, captioner.model, header, half=True)
        report["fitted"] = str(args.output)
        report["kinds_not_learned_from"] = measure_unknown_kinds(every, others)
    assert config is not None  # checked above
    return report | {
        "words": measure_words(predictions, config),
        "captions": measure_captions(predictions, config),
        "called_no_photo": measure_photos({"captioned": predictions.summaries, **photos}, config),
        "non_photos_found": measure_photos(others, config),
    }


def _photos(path: str, args: argparse.Namespace) -> Iterator[bytes]:
    """Yield a random but fixed choice of the photos of a folder or archive."""
    source = ImageSource([path])
    names = sorted(source.names())
    if len(names) > args.most_photos:
        names = Random(0).sample(names, args.most_photos)
    return source.read_each(names)


if __name__ == "__main__":
    sys.exit(main())

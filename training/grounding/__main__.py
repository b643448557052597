"""The command `python -m training.grounding`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from captioner.checkpoint.files import checkpoint_digest
from captioner.checkpoint.shipped import find_checkpoint
from captioner.cli.options import positive
from captioner.config import OF_CAPTIONS, AttentionConfig
from captioner.errors import CaptionerError
from captioner.pytorch import TorchCaptioner
from data.boxes import BoxedImage, load_entities
from data.coco import load_records
from data.image_source import ImageSource
from data.instances import load_instances
from training.grounding.layout import write_tables
from training.grounding.summary import measure_grounding
from training.options import at_least
from training.scoring.provenance import git_commit


def load_images(boxes: Path, annotations: Path | None, *, split: str | None) -> list[BoxedImage]:
    """Load boxes: COCO instances if captions are given, Flickr30k Entities otherwise.

    Raises:
        CaptionerError: a file cannot be read or is malformed.
    """
    if annotations is None:
        return load_entities(boxes, split=split)
    return load_instances(boxes, load_records(annotations, split=split))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.grounding",
        description="Measure how well attention maps agree with what the words name.",
    )
    parser.add_argument("--checkpoint", required=True, help="name of a shipped checkpoint, or path")
    parser.add_argument(
        "--boxes", required=True, type=Path, help="Flickr30k Entities, or COCO instances"
    )
    parser.add_argument("--annotations", type=Path, help="captions of the photos in COCO instances")
    parser.add_argument("--images", required=True, nargs="+", help="folders or tar archives")
    parser.add_argument("--split", help="val, test, ...; all photos by default")
    parser.add_argument(
        "--attention", choices=OF_CAPTIONS, help="attention method (default: the checkpoint's)"
    )
    parser.add_argument("--layer", type=positive, help="layer, from 1 (default: the last)")
    parser.add_argument("--head", type=positive, help="head, from 1 (default: mean of all)")
    parser.add_argument("--limit", type=positive, help="use only this many random photos")
    parser.add_argument(
        "--deletions", type=at_least(0), default=2, help="words per photo in the deletion test (2)"
    )
    parser.add_argument(
        "--captions", action="store_true", help="also ground the model's own captions"
    )
    parser.add_argument(
        "--gradients", action="store_true", help="also measure gradient-based maps (slow)"
    )
    parser.add_argument(
        "--resamples",
        type=positive,
        default=1000,
        help="bootstrap resamples of the intervals (1000)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of random choices (0)")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    args = parser.parse_args(argv)
    try:
        asked = {"method": args.attention, "layer": args.layer, "head": args.head}
        asked = {name: value for name, value in asked.items() if value is not None}
        AttentionConfig(**asked)  # refuse invalid settings before a model is loaded
        images = load_images(args.boxes, args.annotations, split=args.split)
        if args.limit is not None and args.limit < len(images):
            images = Random(args.seed).sample(images, args.limit)
        source = ImageSource(args.images)
        source.require(image.image for image in images)
        path = find_checkpoint(args.checkpoint)
        identity = {
            "sha256": checkpoint_digest(path),
            "commit": git_commit(),
        }  # before hours may pass
        captioner = TorchCaptioner.load(path, device=args.device)
        report = measure_grounding(
            captioner,
            images,
            source,
            view=captioner.header.view_with(**asked),
            deletions=args.deletions,
            captions=args.captions,
            gradients=args.gradients,
            resamples=args.resamples,
            seed=args.seed,
        )
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(write_tables(report), file=sys.stderr)
    about = {"checkpoint": captioner.header.name, "boxes": args.boxes.name, "split": args.split}
    print(json.dumps(about | report | identity))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Score captions that are already written, by whatever model, against human ones.

    python -m training.score ANNOTATIONS RESULTS [--split S] [--official]

ANNOTATIONS is any file that `data.coco` reads; RESULTS is COCO's format, a JSON list of
{"image_id", "caption"}. One JSON object goes to stdout:

    {"scores": {"Bleu_1": 0.64, ...}, "tokenizer": "captioner-ptb", "images": 1000}
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, DataError
from data.coco import load_records
from training import metrics, official

_FORMAT = 'Results are a JSON list such as [{"image_id": 42, "caption": "a dog on a beach"}].'


def load_results(path: Path) -> dict[int, str]:
    """Read a results file in COCO's format: captions by image id.

    Raises:
        DataError: the file is unreadable, empty or of another form, or names an image twice.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Results {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # broken JSON, or not UTF-8
        raise DataError(f"Results {path} are not JSON ({error}). {_FORMAT}") from error
    if not isinstance(rows, list) or not rows:
        found = "an empty list" if rows == [] else f"a JSON {type(rows).__name__}"
        raise DataError(f"Results {path} hold {found}. {_FORMAT}")
    captions: dict[int, str] = {}
    for place, row in enumerate(rows):
        where = f"Results {path}, entry {place}"
        if not isinstance(row, dict) or not {"image_id", "caption"} <= row.keys():
            raise DataError(f"{where}: {row!r:.80} lacks image_id or caption. {_FORMAT}")
        image, caption = row["image_id"], row["caption"]
        if type(image) is not int or not isinstance(caption, str):
            raise DataError(
                f"{where}: image_id must be a whole number and caption a text, "
                f"not {image!r:.80} and {caption!r:.80}."
            )
        if image in captions:
            raise DataError(f"{where}: image {image} has a caption already; keep one per image.")
        captions[image] = caption
    return captions


def score_results(
    annotations: Path, results: Path, *, split: str | None = None, with_java: bool = False
) -> dict[str, Any]:
    """Score a results file.

    Args:
        annotations: human captions, any format of `data.coco`.
        results: captions in COCO's results format; images without one are left out of the scores,
            with a warning on stderr.
        split: compare with this split only.
        with_java: use the official programs, which add METEOR.

    Raises:
        CaptionerError: a file is not as it should be, or the official programs are missing.
    """
    captions = load_results(results)
    references = {
        record.image_id: record.captions for record in load_records(annotations, split=split)
    }
    among = f"split {split!r} of {annotations}" if split else str(annotations)
    if unknown := [image for image in captions if image not in references]:
        raise DataError(
            f"Results {results}: image {unknown[0]} is not in {among} ({len(unknown)} such images "
            f"of {len(captions)}); results and annotations must be of the same data set and split."
        )
    if len(captions) < len(references):
        print(
            f"warning: {results} has captions for {len(captions)} of the {len(references)} images "
            f"in {among}; only those are scored, and CIDEr weighs words by them alone.",
            file=sys.stderr,
        )
    measure, tokenizer = (
        (official.score_official, official.TOKENIZER)
        if with_java
        else (metrics.score, metrics.TOKENIZER)
    )
    scored = {image: references[image] for image in captions}
    return {
        "scores": measure(scored, captions),
        "tokenizer": tokenizer,
        "images": len(captions),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.score",
        description="Score captions in COCO's results format against human ones.",
    )
    parser.add_argument("annotations", type=Path, help="human captions: COCO, Karpathy, CSV, JSONL")
    parser.add_argument("results", type=Path, help="JSON list of {image_id, caption}")
    parser.add_argument("--split", help="val, test, ...; by default all images")
    parser.add_argument(
        "--official",
        action="store_true",
        help="use coco-caption's Java programs: Stanford's tokenizer, and METEOR as well",
    )
    args = parser.parse_args(argv)
    try:
        report = score_results(
            args.annotations, args.results, split=args.split, with_java=args.official
        )
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

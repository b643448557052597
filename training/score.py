"""Score existing captions, of any model, against human ones.

    python -m training.score ANNOTATIONS [RESULTS] [--split S] [--official]

ANNOTATIONS is any file that `data.coco` reads. RESULTS is COCO's results format, a JSON list of
{"image_id", "caption"}, or the .jsonl output of `captioner folder`, whose photos are matched by
file name. Without RESULTS the human captions are scored, each against the others of its image.
One JSON object goes to standard output, a table to standard error:

    {"scores": {"Bleu_1": 0.64, ...}, "intervals": {"Bleu_1": {"low": 0.62, "high": 0.66}, ...},
     "wording": {...}, "tokenizer": "captioner-ptb", "images": 1000, ...}

docs/scores.md explains every measure.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from captioner.durable import check_writable, file_digest
from captioner.errors import CaptionerError, DataError
from data.coco import Record, load_records, select_split
from training import metrics
from training.options import add_report_options
from training.scoring import official
from training.scoring.layout import tabulate
from training.scoring.measures import (
    RESAMPLES,
    Words,
    measure_captions,
    read_training_captions,
    split_sentences,
)
from training.scoring.provenance import git_commit
from training.scoring.result_files import LINES, load_lines, load_results, save_report


def score_results(
    annotations: Path,
    results: Path,
    *,
    split: str | None = None,
    with_java: bool = False,
    training: Sequence[Path] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a results file.

    Args:
        annotations: human captions in any format that `data.coco` reads.
        results: captions in COCO's results format, or JSON lines of `captioner folder`, in which
            photos of other splits are skipped. Images without a caption are not scored, with a
            warning on standard error.
        split: score only this split.
        with_java: use coco-caption's Java programs, which add METEOR.
        training: caption files whose training splits the model was trained on, for novelty.
        resamples: bootstrap resamples of the intervals; 0 omits them.
        seed: seed of the resampling.

    Raises:
        CaptionerError: a file cannot be read or is malformed, or the Java programs are missing.
    """
    records = load_records(annotations)
    chosen = select_split(records, split, annotations=annotations)
    references = {record.image_id: record.captions for record in chosen}
    captions = _load(results, records, references)
    among = f"split {split!r} of {annotations}" if split else str(annotations)
    if unknown := [image for image in captions if image not in references]:
        raise DataError(
            f"Results {results}: image {unknown[0]} is not in {among} ({len(unknown)} such images "
            f"of {len(captions)}); results and annotations must be of the same data set and split."
        )
    if len(captions) < len(references):
        print(
            f"warning: {results} has captions for {len(captions)} of the {len(references)} images "
            f"in {among}; only those are scored, and CIDEr's n-gram weights come from them alone.",
            file=sys.stderr,
        )
    scored = {image: references[image] for image in captions}
    report = measure_captions(
        _split(scored, with_java=with_java),
        [words for (words,) in _split({i: [c] for i, c in captions.items()}, with_java=with_java)],
        training=read_training_captions(training),
        resamples=resamples,
        seed=seed,
    )
    if with_java:
        report["scores"] = official.score_official(scored, captions)
    return {
        **report,
        "tokenizer": official.TOKENIZER if with_java else metrics.TOKENIZER,
        "images": len(captions),
        "split": split,
        "annotations": annotations.name,
        "results": results.name,
        "sha256": file_digest(results),
        "commit": git_commit(),
        "resamples": resamples,
        "seed": seed,
    }


def score_people(annotations: Path, *, split: str | None = None) -> dict[str, Any]:
    """Score human captions against the others of their images.

    Args:
        annotations: human captions in any format that `data.coco` reads.
        split: score only this split.

    Returns:
        The mean scores of as many rounds as every image has captions: the first captions against
        the others, then the second ones, and so on.

    Raises:
        CaptionerError: the file cannot be read, or an image has one caption only.
    """
    records = select_split(load_records(annotations), split, annotations=annotations)
    rounds = min(len(record.captions) for record in records)
    if rounds < 2:
        raise DataError(f"{annotations}: an image has one caption only; compare with RESULTS.")
    scores = [
        metrics.score(
            {r.image_id: [*r.captions[:n], *r.captions[n + 1 :]] for r in records},
            {r.image_id: r.captions[n] for r in records},
        )
        for n in range(rounds)
    ]
    return {
        "scores": {name: sum(each[name] for each in scores) / rounds for name in scores[0]},
        "rounds": rounds,
        "tokenizer": metrics.TOKENIZER,
        "images": len(records),
        "split": split,
        "annotations": annotations.name,
        "commit": git_commit(),
    }


def _load(
    results: Path, records: Sequence[Record], references: Mapping[int, Any]
) -> dict[int, str]:
    """Read the captions in either format."""
    if results.suffix.lower() != LINES:
        return load_results(results)
    often = Counter(PurePosixPath(record.image).name for record in records)
    names = {PurePosixPath(record.image).name: record.image_id for record in records}
    ids = {name: image for name, image in names.items() if often[name] == 1}
    ids |= {record.image: record.image_id for record in records}
    captions = load_lines(results, ids)
    found = {image: text for image, text in captions.items() if image in references}
    if not found:
        raise DataError(f"Results {results}: none of its photos is in that split.")
    return found


def _split(sentences: Mapping[int, Sequence[str]], *, with_java: bool) -> list[list[Words]]:
    if not with_java:
        return split_sentences(sentences)
    groups = official.tokenize_officially(sentences)
    return [[words.split() for words in group] for group in groups.values()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.score",
        description="Score existing captions, of any model, against human ones.",
    )
    parser.add_argument("annotations", type=Path, help="human captions: COCO, Karpathy, CSV, JSONL")
    parser.add_argument(
        "results",
        type=Path,
        nargs="?",
        help="JSON list of {image_id, caption}, or .jsonl of captioner folder; without it, human "
        "captions are scored against each other",
    )
    parser.add_argument("--split", help="val, test, ...; all images by default")
    parser.add_argument(
        "--official",
        action="store_true",
        help="use coco-caption's Java programs: Stanford's tokenizer, and METEOR in addition",
    )
    add_report_options(parser)
    args = parser.parse_args(argv)
    if args.results is None and (args.official or args.training_captions):
        parser.error("--official and --training-captions need RESULTS")
    try:
        if args.json:
            check_writable(args.json, option="--json")
        if args.results is None:
            report = score_people(args.annotations, split=args.split)
        else:
            report = score_results(
                args.annotations,
                args.results,
                split=args.split,
                with_java=args.official,
                training=args.training_captions,
                resamples=args.bootstrap,
                seed=args.seed,
            )
        if args.json:
            save_report(args.json, report)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tabulate(report), file=sys.stderr)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

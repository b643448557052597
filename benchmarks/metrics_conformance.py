"""Compare our metrics with coco-caption's on real captions.

    python -m benchmarks.metrics_conformance ANNOTATIONS [--split S]

For every image with at least two captions, the first is scored against the others, by
`training.metrics` and by pycocoevalcap. With the same tokens they must agree to 1e-4; with our own
tokenizer they must agree to 0.002 with the official pipeline, whose tokenizer needs Java. Exit
status 1 if they do not.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.command import command
from captioner.errors import DataError, MissingExtraError
from data.coco import load_records
from training.metrics import score_words
from training.metrics.ptb import split_words
from training.scoring.official import tokenize_officially

SAME_WORDS = 1e-4
OWN_WORDS = 0.002

Sentences = Mapping[int, list[str]]  # by image id, tokens joined by spaces


def score_with_pycocoevalcap(references: Sentences, candidates: Sentences) -> dict[str, float]:
    """Score tokenized sentences with pycocoevalcap's Python code."""
    from pycocoevalcap.bleu.bleu import Bleu  # noqa: PLC0415  # an extra, met where it is needed
    from pycocoevalcap.cider.cider import Cider  # noqa: PLC0415
    from pycocoevalcap.rouge.rouge import Rouge  # noqa: PLC0415

    corpus, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    return {
        **{f"Bleu_{n}": float(value) for n, value in enumerate(corpus, start=1)},
        "ROUGE_L": float(Rouge().compute_score(references, candidates)[0]),
        "CIDEr": float(Cider().compute_score(references, candidates)[0]),
    }


def score_with_ours(references: Sentences, candidates: Sentences) -> dict[str, float]:
    """Score tokenized sentences with `training.metrics`."""
    return score_words(
        [[sentence.split() for sentence in group] for group in references.values()],
        [group[0].split() for group in candidates.values()],
    )


def show(title: str, ours: dict[str, float], theirs: dict[str, float], *, limit: float) -> bool:
    """Print a table of both; return whether all differences are within the limit."""
    print(f"\n{title}\n{'':10}{'ours':>12}{'pycocoevalcap':>16}{'difference':>14}")
    for name, value in theirs.items():
        print(f"{name:10}{ours[name]:12.6f}{value:16.6f}{ours[name] - value:14.2e}")
    worst = max(abs(ours[name] - value) for name, value in theirs.items())
    agree = worst <= limit
    print(f"largest difference {worst:.2e}: {'within' if agree else 'OVER'} {limit:g}")
    return agree


def compare(annotations: Path, *, split: str | None) -> bool:
    """Print the tables for one caption file; return whether both agree.

    Raises:
        CaptionerError: the file cannot be read, or no image in it has two captions.
    """
    records = [r for r in load_records(annotations, split=split) if len(r.captions) > 1]
    if not records:
        raise DataError(f"No image in {annotations} has two captions; one is needed to compare.")
    sentences = {record.image_id: record.captions for record in records}
    own = {
        image: [" ".join(split_words(sentence)) for sentence in group]
        for image, group in sentences.items()
    }
    total = sum(map(len, sentences.values()))
    print(f"{annotations.name}: {len(records)} images, {total} captions")
    ours, theirs = _score_both(own)
    agree = show("The same words, split by us", ours, theirs, limit=SAME_WORDS)
    try:
        stanford = tokenize_officially(sentences)
    except MissingExtraError as error:
        print(f"\nNot compared with Stanford's tokenizer: {error}")
        return agree
    ours_on_theirs, official = _score_both(stanford)
    agree &= show("The same words, split by Stanford", ours_on_theirs, official, limit=SAME_WORDS)
    agree &= show("Each with its own words", ours, official, limit=OWN_WORDS)
    different = sum(
        mine.split() != theirs.split()
        for image, group in own.items()
        for mine, theirs in zip(group, stanford[image], strict=True)
    )
    print(f"{different} of {total} captions are split into other words")
    return agree


def _score_both(sentences: Sentences) -> tuple[dict[str, float], dict[str, float]]:
    """Score each image's first sentence against its others, with both."""
    references = {image: group[1:] for image, group in sentences.items()}
    candidates = {image: group[:1] for image, group in sentences.items()}
    return score_with_ours(references, candidates), score_with_pycocoevalcap(references, candidates)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if both agree, otherwise 1."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.metrics_conformance",
        description="Compare our metrics with coco-caption's on real captions.",
    )
    parser.add_argument("annotations", type=Path, help="human captions")
    parser.add_argument("--split", help="val, test, ...; all images by default")
    args = parser.parse_args(argv)
    return 0 if compare(args.annotations, split=args.split) else 1


if __name__ == "__main__":
    sys.exit(main())

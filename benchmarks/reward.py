"""Compare the reward of self-critical training with pycocoevalcap's Cider on real captions.

    python -m benchmarks.reward ANNOTATIONS [--split S] [--samples K]

K captions of other images stand in for the samples of every image. Both programs take document
frequencies from the references and score all captions; the scores must agree to 1e-6. Converting
the captions to the input format of each is not timed: text for pycocoevalcap, token ids for ours,
which training already has. Everything else is: document frequencies, n-grams of references and
captions, and their comparison. Exit status 1 if the scores differ or ours is not 10 times as fast.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.words.tokenizer import Tokenizer
from data.coco import load_records
from training.objectives.overlap import pad
from training.objectives.reward import Reward

AGREE = 1e-6
FASTER = 10
BATCH = 32


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 if the scores differ or the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reward", description=__doc__.splitlines()[0]
    )
    parser.add_argument("annotations", type=Path, help="human captions")
    parser.add_argument("--split", help="train, val, test, ...; all images by default")
    parser.add_argument(
        "--samples", type=positive, default=5, metavar="K", help="captions per image (5)"
    )
    args = parser.parse_args(argv)
    records = load_records(args.annotations, split=args.split)
    captions = [list(record.captions) for record in records]
    return compare(captions, samples=args.samples)


def compare(captions: list[list[str]], *, samples: int) -> int:
    """Score with both, and print times and their ratio."""
    tokenizer = Tokenizer.train_words([c for own in captions for c in own], min_count=1)
    encoded = [[tokenizer.encode(c) for c in own] for own in captions]
    written = [[[*ids, tokenizer.end_id] for ids in own] for own in encoded]
    drawn = [
        [written[(i + 7 * k + 1) % len(written)][0] for k in range(samples)]
        for i in range(len(written))
    ]
    batches = [
        tuple(pad_all(some[at : at + BATCH], tokenizer.pad_id) for some in (drawn, written))
        for at in range(0, len(drawn), BATCH)
    ]
    started = time.perf_counter()
    reward = Reward(encoded, tokenizer)
    cooked = time.perf_counter()
    ours = torch.cat([reward(*batch) for batch in batches])
    ended = time.perf_counter()
    theirs, seconds = score_with_pycocoevalcap(written, drawn)
    worst = (ours.double() - theirs).abs().max().item()
    count = ours.numel()
    print(f"{count} captions of {len(captions)} images, {torch.get_num_threads()} threads")
    print(f"pycocoevalcap {seconds:8.2f} s, document frequencies included")
    print(f"ours          {ended - started:8.2f} s, of which {cooked - started:.2f} s for them")
    ratio = seconds / (ended - started)
    print(f"ratio         {ratio:8.1f} with them, {seconds / (ended - cooked):.1f} without")
    agree = worst <= AGREE
    print(f"largest difference {worst:.1e}: {'within' if agree else 'OVER'} {AGREE:g}")
    return 0 if agree and ratio >= FASTER else 1


def pad_all(captions: Sequence[Sequence[Sequence[int]]], pad_id: int) -> torch.Tensor:
    """Return padded token ids (B, K, T); an image with fewer captions gets rows of padding."""
    most = max(map(len, captions))
    rows = [ids for own in captions for ids in [*own, *[[]] * (most - len(own))]]
    return pad(rows, pad_id=pad_id).view(len(captions), most, -1)


def score_with_pycocoevalcap(
    written: list[list[list[int]]], drawn: list[list[list[int]]]
) -> tuple[torch.Tensor, float]:
    """Return scores (B, K), from 0 to 10, and seconds."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer  # noqa: PLC0415  # an extra

    texts = [[" ".join(map(str, ids)) for ids in own] for own in written]
    candidates = [[" ".join(map(str, ids)) for ids in own] for own in drawn]
    started = time.perf_counter()
    columns = []
    for k in range(len(candidates[0])):
        scorer = CiderScorer(n=4, sigma=6.0)
        for references, own in zip(texts, candidates, strict=True):
            scorer += (own[k], references)
        columns.append(torch.from_numpy(scorer.compute_score()[1]))
    return torch.stack(columns, dim=1), time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())

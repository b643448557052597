"""Compare the reward of self-critical training with pycocoevalcap's Cider on real captions.

    python -m benchmarks.reward ANNOTATIONS [--split S] [--samples K]

Of every image, K captions of other images stand for drawn ones. Both programs weigh n-grams by the
references and score all captions; the scores must agree to 1e-6. Time counts everything from ids to
scores: document frequencies, n-grams of references and captions, comparison. Exit status 1 where
the scores differ.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from captioner.errors import CaptionerError, MissingExtraError
from captioner.tokenizer import Tokenizer
from data.coco import load_records
from training.reward import CiderReward

AGREE = 1e-6
BATCH = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 where the scores differ or the input is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reward")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--samples", type=int, default=5, metavar="K")
    args = parser.parse_args(argv)
    try:
        records = load_records(args.annotations, split=args.split)
        captions = [list(record.captions) for record in records]
        return compare(captions, samples=args.samples)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def compare(captions: list[list[str]], *, samples: int) -> int:
    """Score with both, and print times and their ratio."""
    tokenizer = Tokenizer.train_words([c for own in captions for c in own], min_count=1)
    end, pad = tokenizer.end_id, tokenizer.pad_id
    written = [[[*tokenizer.encode(c), end] for c in own] for own in captions]
    drawn = [
        [written[(i + 7 * k + 1) % len(written)][0] for k in range(samples)]
        for i in range(len(written))
    ]
    started = time.perf_counter()
    reward = CiderReward(captions, tokenizer)
    cooked = time.perf_counter()
    ours = torch.cat(
        [
            reward(padded(drawn[at : at + BATCH], pad), padded(written[at : at + BATCH], pad))
            for at in range(0, len(drawn), BATCH)
        ]
    )
    ended = time.perf_counter()
    theirs, seconds = score_with_pycocoevalcap(written, drawn)
    worst = (ours.double() - theirs).abs().max().item()
    count = ours.numel()
    print(f"{count} captions of {len(captions)} images, {torch.get_num_threads()} threads")
    print(f"pycocoevalcap {seconds:8.2f} s, document frequencies included")
    print(f"ours          {ended - started:8.2f} s, of which {cooked - started:.2f} s for them")
    print(
        f"ratio         {seconds / (ended - started):8.1f} with, "
        f"{seconds / (ended - cooked):.1f} without: a run counts them once"
    )
    agree = worst <= AGREE
    print(f"largest difference {worst:.1e}: {'within' if agree else 'OVER'} {AGREE:g}")
    return 0 if agree else 1


def padded(captions: Sequence[Sequence[Sequence[int]]], pad: int) -> torch.Tensor:
    """Ids (B, K, T), padded; an image with fewer captions gets rows of padding."""
    most = max(map(len, captions))
    longest = max(len(ids) for own in captions for ids in own)
    words = torch.full((len(captions), most, longest), pad)
    for row, own in zip(words, captions, strict=True):
        for place, ids in enumerate(own):
            row[place, : len(ids)] = torch.tensor(ids)
    return words


def score_with_pycocoevalcap(
    written: list[list[list[int]]], drawn: list[list[list[int]]]
) -> tuple[torch.Tensor, float]:
    """Return scores (B, K), from 0 to 10, and seconds."""
    try:
        from pycocoevalcap.cider.cider_scorer import CiderScorer  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("This needs pycocoevalcap: pip install 'captioner[dev]'") from error
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

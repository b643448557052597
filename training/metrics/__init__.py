"""Scores of captions against human references, with the values and names of coco-caption.

    ptb           tokenizer that the metrics share (Penn Treebank rules)
    contract      interface of a score; those in `SCORES` are computed
    bleu          Bleu_1 to Bleu_4, corpus level, from 0 to 1
    rouge         ROUGE_L, mean over images, from 0 to 1
    cider         CIDEr (the CIDEr-D of its paper), mean over images, from 0 to 10
    bootstrap     confidence intervals
    diversity     how much several captions of one image differ
    novelty       fraction of captions and n-grams not in the training captions
    variety       lengths, distinct captions, repetition
    calibration   reliability and expected calibration error of probabilities

Nothing here needs torch or Java. METEOR exists only as a Java program: `training.scoring.official`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.metrics.bleu import BleuScore
from training.metrics.bootstrap import Interval
from training.metrics.cider import CiderScore
from training.metrics.contract import Candidates, References, Score
from training.metrics.ptb import split_words
from training.metrics.rouge import RougeScore

TOKENIZER = "captioner-ptb"
"""Name of `split_words` in reports, because scores depend on the tokenizer."""
SCORES: dict[str, Score] = {"BLEU": BleuScore(), "ROUGE-L": RougeScore(), "CIDEr": CiderScore()}
"""Every score that training and reports compute; docs/extending.md shows how to add one."""


def score(references: Mapping[int, Sequence[str]], captions: Mapping[int, str]) -> dict[str, float]:
    """Score one caption per image against the image's references.

    Args:
        references: sentences by image id.
        captions: one sentence by image id, for the same images.

    Returns:
        By name: Bleu_1 to Bleu_4 and ROUGE_L from 0 to 1, CIDEr from 0 to 10. CIDEr takes its
        document frequencies from these references, so it compares only captions of the same images.

    Raises:
        ValueError: no image, an image without a reference, or different sets of images.
    """
    if references.keys() != captions.keys():
        raise ValueError("references and captions must be of the same images")
    return score_words(
        [[split_words(sentence) for sentence in references[image]] for image in captions],
        [split_words(caption) for caption in captions.values()],
    )


def score_words(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Like `score`, for captions already split into words."""
    return score_images(references, candidates).scores()


@dataclass(frozen=True)
class ImageScores:
    """Per-image statistics of every score, by the names of `SCORES`."""

    images: Mapping[str, Sequence[Any]]

    def scores(self) -> dict[str, float]:
        """Return the scores of the whole corpus, as `score` does."""
        totals = (SCORES[name].total(own) for name, own in self.images.items())
        return {name: value for total in totals for name, value in total.items()}

    def intervals(self, *, resamples: int, seed: int) -> dict[str, Interval]:
        """Return the confidence interval of each score, by bootstrap over images."""
        how = {"resamples": resamples, "seed": seed}
        found = (SCORES[name].intervals(own, **how) for name, own in self.images.items())
        return {name: ends for intervals in found for name, ends in intervals.items()}


def score_images(references: References, candidates: Candidates) -> ImageScores:
    """Compute the per-image statistics of every score.

    Raises:
        ValueError: no image, or an image without a reference.
    """
    if not candidates or not all(references):
        raise ValueError("there must be at least one image, each with at least one reference")
    return ImageScores({n: score.measure(references, candidates) for n, score in SCORES.items()})

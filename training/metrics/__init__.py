"""Scores of captions against human references, as coco-caption computes and names them.

    ptb           splits a sentence the way the metrics agree on (Penn Treebank rules)
    contract      what every score says of itself; those in `SCORES` are computed
    bleu          Bleu_1 to Bleu_4, fractions, of the whole corpus
    rouge         ROUGE_L, a fraction, mean over images
    cider         CIDEr, 0 to 10, mean over images (the CIDEr-D of its paper)
    bootstrap     how sure a score is
    diversity     how different several captions of an image are
    novelty       how much was not read in training
    variety       lengths, distinct captions, repetition
    calibration   whether a model is right as often as it is sure

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
"""Name of `split_words` in reports: scores depend on how sentences are split."""
SCORES: dict[str, Score] = {"BLEU": BleuScore(), "ROUGE-L": RougeScore(), "CIDEr": CiderScore()}
"""Every score that training and reports compute; docs/extending.md adds another."""


def score(references: Mapping[int, Sequence[str]], captions: Mapping[int, str]) -> dict[str, float]:
    """Score one caption per image against the image's references.

    Args:
        references: sentences by image id.
        captions: a sentence by image id, for the same images.

    Returns:
        By name: Bleu_1 to Bleu_4 and ROUGE_L as fractions, CIDEr from 0 to 10. CIDEr weighs n-grams
        over these references, so it can be compared only between captions of the same images.

    Raises:
        ValueError: no image, an image without a reference, or images that differ.
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
    """Score captions that are split into words already; otherwise the same as `score`."""
    return score_images(references, candidates).scores()


@dataclass(frozen=True)
class ImageScores:
    """What the scores of a corpus are made of, image by image, by the names of `SCORES`."""

    images: Mapping[str, Sequence[Any]]

    def scores(self) -> dict[str, float]:
        """Return the scores of all images together, as `score` does."""
        totals = (SCORES[name].total(own) for name, own in self.images.items())
        return {name: value for total in totals for name, value in total.items()}

    def intervals(self, *, resamples: int, seed: int) -> dict[str, Interval]:
        """Return the interval of each score, by the bootstrap over images."""
        how = {"resamples": resamples, "seed": seed}
        found = (SCORES[name].intervals(own, **how) for name, own in self.images.items())
        return {name: ends for intervals in found for name, ends in intervals.items()}


def score_images(references: References, candidates: Candidates) -> ImageScores:
    """Score every image.

    Raises:
        ValueError: no image, or an image without a reference.
    """
    if not candidates or not all(references):
        raise ValueError("there must be at least one image, each with at least one reference")
    return ImageScores({n: score.measure(references, candidates) for n, score in SCORES.items()})

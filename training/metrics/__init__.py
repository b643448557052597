"""Scores of captions against human references, as coco-caption computes and names them.

    ptb           splits a sentence the way the metrics agree on (Penn Treebank rules)
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

from training.metrics.bleu import NgramMatches, add_up, bleu_of, count_matches
from training.metrics.bootstrap import Interval, bleu_intervals, mean_intervals
from training.metrics.cider import cider_d
from training.metrics.ptb import split_words
from training.metrics.rouge import rouge_l

TOKENIZER = "captioner-ptb"
"""Name of `split_words` in reports: scores depend on how sentences are split."""


def score(references: Mapping[int, Sequence[str]], captions: Mapping[int, str]) -> dict[str, float]:
    """Score one caption per image against the image's references.

    Args:
        references: sentences by image id.
        captions: a sentence by image id, for the same images.

    Returns:
        Bleu_1 to Bleu_4 and ROUGE_L as fractions, CIDEr from 0 to 10. CIDEr weighs n-grams over
        these references, so it can be compared only between captions of the same images.

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
    """What the scores of a corpus are made of, image by image."""

    tallies: list[NgramMatches]
    rouge: list[float]
    cider: list[float]

    def scores(self) -> dict[str, float]:
        """Return the scores of all images together, as `score` does."""
        return {
            **{f"Bleu_{n}": v for n, v in enumerate(bleu_of(add_up(self.tallies)), start=1)},
            "ROUGE_L": sum(self.rouge) / len(self.rouge),
            "CIDEr": sum(self.cider) / len(self.cider),
        }

    def intervals(self, *, resamples: int, seed: int) -> dict[str, Interval]:
        """Return the interval of each score, by the bootstrap over images."""
        means = {"ROUGE_L": self.rouge, "CIDEr": self.cider}
        return {
            **bleu_intervals(self.tallies, resamples=resamples, seed=seed),
            **mean_intervals(means, resamples=resamples, seed=seed),
        }


def score_images(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> ImageScores:
    """Score every image, given as words.

    Raises:
        ValueError: no image, or an image without a reference.
    """
    if not candidates or not all(references):
        raise ValueError("there must be at least one image, each with at least one reference")
    return ImageScores(
        tallies=[count_matches(r, c) for r, c in zip(references, candidates, strict=True)],
        rouge=rouge_l(references, candidates)[1],
        cider=cider_d(references, candidates)[1],
    )

"""Everything that is measured of captions as text: the sections of a report, without a model.

scores       as coco-caption names them
intervals    of those, by the bootstrap over images
wording      lengths, distinct captions, words used, repetition; of the references beside
novelty      against the training captions, where they are given
samples      of several captions of each image: how diverse, and how good the best of them is
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.coco import load_records
from training.metrics import ImageScores, score_images
from training.metrics.bootstrap import mean_intervals
from training.metrics.cider import cider_d, document_frequencies
from training.metrics.diversity import diversity, image_diversity
from training.metrics.novelty import novelty
from training.metrics.ptb import split_words
from training.metrics.variety import count_lengths, count_variety, share_repeating

Words = list[str]
RESAMPLES = 1000
"""Draws of images for the intervals, by default."""


def split_sentences(sentences: Mapping[int, Sequence[str]]) -> list[list[Words]]:
    """Split the sentences of every image into words."""
    return [[split_words(sentence) for sentence in group] for group in sentences.values()]


def read_training_captions(paths: Sequence[Path]) -> list[Words]:
    """Read the captions of the training splits of these files, as words.

    Raises:
        DataError: a file is not as it should be, or has no training split.
    """
    records = (record for path in paths for record in load_records(path, split="train"))
    return [split_words(caption) for record in records for caption in record.captions]


def measure_captions(
    references: Sequence[Sequence[Words]],
    candidates: Sequence[Words],
    *,
    resamples: int,
    seed: int,
    training: Sequence[Words] = (),
) -> dict[str, Any]:
    """Measure one caption of every image.

    Args:
        references: what people said, image by image.
        candidates: one caption for each image, in the same order.
        resamples: draws of images for the intervals; 0 leaves them out.
        seed: of those draws.
        training: what the model has read; without it there is no novelty.

    Returns:
        Plain values for JSON: `scores`, and `intervals`, `wording`, `novelty`.

    Raises:
        ValueError: no image, or an image without a reference.
    """
    images = score_images(references, candidates)
    return {
        "scores": images.scores(),
        **_intervals(images, resamples=resamples, seed=seed),
        "wording": _wording(references, candidates),
        **({"novelty": novelty(candidates, training)} if training else {}),
    }


def measure_samples(
    references: Sequence[Sequence[Words]],
    samples: Sequence[Sequence[Words]],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Measure several captions of every image, as many for each.

    Returns:
        Diversity; `mean_CIDEr`, of any one of the captions, and `best_CIDEr`, of the one that an
        oracle would choose; distinct captions and words used among all; and `intervals`.
    """
    frequencies = document_frequencies(references)
    scores = [
        cider_d(references, column, frequencies=frequencies)[1]
        for column in zip(*samples, strict=True)
    ]
    by_image = list(zip(*scores, strict=True))
    values = {
        "best_CIDEr": [max(own) for own in by_image],
        "mean_CIDEr": [sum(own) / len(own) for own in by_image],
    }
    means = {name: sum(column) / len(column) for name, column in values.items()}
    report = {
        "number": len(scores),
        **diversity(samples, frequencies),
        **means,
        **count_variety([words for own in samples for words in own]),
    }
    if resamples:
        values |= image_diversity(samples, frequencies)
        report["intervals"] = mean_intervals(values, resamples=resamples, seed=seed)
    return report


def _intervals(images: ImageScores, *, resamples: int, seed: int) -> dict[str, Any]:
    if not resamples:
        return {}
    return {"intervals": images.intervals(resamples=resamples, seed=seed)}


def _wording(references: Sequence[Sequence[Words]], candidates: Sequence[Words]) -> dict[str, Any]:
    """Describe captions, and beside them the references, which show what people do."""
    written = [words for own in references for words in own]
    return {
        **count_variety(candidates),
        "repeating": share_repeating(candidates),
        "lengths": count_lengths(candidates),
        "reference_lengths": count_lengths(written),
        "reference_repeating": share_repeating(written),
    }

"""Everything measured on captions as text: the sections of a report that need no model.

scores       BLEU, ROUGE-L and CIDEr under coco-caption's names
intervals    their confidence intervals, by bootstrap over images
wording      lengths, distinct captions, vocabulary, repetition, with those of the references
novelty      against the training captions, where given
samples      several captions per image: their diversity, and the best of them
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
from training.metrics.variety import count_lengths, count_variety, repetition_rate

Words = list[str]
RESAMPLES = 1000
"""Default number of bootstrap resamples."""


def split_sentences(sentences: Mapping[int, Sequence[str]]) -> list[list[Words]]:
    """Tokenize the sentences of every image."""
    return [[split_words(sentence) for sentence in group] for group in sentences.values()]


def read_training_captions(paths: Sequence[Path]) -> list[Words]:
    """Read the captions of these files' training splits, tokenized.

    Raises:
        DataError: a file cannot be read or has no training split.
    """
    records = (record for path in paths for record in load_records(path, split="train"))
    return [split_words(caption) for record in records for caption in record.captions]


def describe_captions(captions: Mapping[int, str]) -> dict[str, float]:
    """Count distinct captions and words; few reveal a model that says the same of every photo.

    Words are those of the metrics: single characters in scripts without spaces.
    """
    words = [split_words(caption) for caption in captions.values()]
    return {**count_variety(words), "mean_words": sum(map(len, words)) / len(words)}


def measure_captions(
    references: Sequence[Sequence[Words]],
    candidates: Sequence[Words],
    *,
    resamples: int,
    seed: int,
    training: Sequence[Words] = (),
) -> dict[str, Any]:
    """Measure one caption per image.

    Args:
        references: human captions, image by image.
        candidates: one caption per image, in the same order.
        resamples: bootstrap resamples of the intervals; 0 omits them.
        seed: seed of the resampling.
        training: the model's training captions; without them there is no novelty.

    Returns:
        JSON values: `scores`, `intervals`, `wording` and `novelty`.

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
    """Measure several captions per image, the same number for each.

    Returns:
        Diversity; `mean_CIDEr` over all captions, and `best_CIDEr` of the caption that an oracle
        would choose; distinct captions and words among all; and `intervals`.
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
    """Describe captions and references: people's captions are the yardstick."""
    flat = [words for own in references for words in own]
    return {
        **count_variety(candidates),
        "repeating": repetition_rate(candidates),
        "lengths": count_lengths(candidates),
        "reference_lengths": count_lengths(flat),
        "reference_repeating": repetition_rate(flat),
    }

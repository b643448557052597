"""From what a model says to settings for the header of its checkpoint."""

from collections.abc import Mapping

import numpy as np

from captioner.checkpoint.confidence import ConfidenceConfig, LogisticConfig
from captioner.result.confidence import logistic, token_traits
from training.confidence.collecting import Numbers, Said
from training.confidence.logistic import fit_logistic

FALSE_ALARMS = 0.01
"""Share of the photos that may be called none."""
DOUBTFUL = 0.15
"""Calibrated probability below which a word is marked; see docs/scores.md for why."""
_FOLDS = 5
_RIDGE, _PHOTO_RIDGE = 1e-4, 1e-2


def fit_confidence(
    said: Said, *, photos: Numbers, others: Mapping[str, Numbers], doubtful: float = DOUBTFUL
) -> ConfidenceConfig:
    """Fit all settings.

    Args:
        said: what the model says of validation photos.
        photos: (N, D), summaries of photos, those and more.
        others: (M, D), summaries of images that are none, by kind.
        doubtful: probability below which words are marked.
    """
    quality = np.minimum(said.cider, 1.0)
    caption = fit_logistic(said.traits, quality, ridge=_RIDGE)
    medium, high = np.quantile(logistic(said.traits, caption), [1 / 3, 2 / 3]).tolist()
    token = fit_logistic(token_traits(said.sure), said.right.astype(float), ridge=1e-7)
    photo, threshold = fit_photo(photos, others)
    return ConfidenceConfig(
        token=token,
        doubtful=doubtful,
        caption=caption,
        medium=medium,
        high=high,
        photo=photo,
        threshold=threshold,
    )


def fit_photo(photos: Numbers, others: Mapping[str, Numbers]) -> tuple[LogisticConfig, float]:
    """Fit what tells photos from other images, and the limit between them.

    The limit lets `FALSE_ALARMS` of the photos go wrong when others of them are learned from.
    """
    fold = np.arange(len(photos)) % _FOLDS
    scores = np.empty(len(photos))
    for number in range(_FOLDS):
        learned = _fit_photo(photos[fold != number], others)
        scores[fold == number] = logistic(photos[fold == number], learned)
    return _fit_photo(photos, others), float(np.quantile(scores, FALSE_ALARMS))


def _fit_photo(photos: Numbers, others: Mapping[str, Numbers]) -> LogisticConfig:
    """Every kind counts as much as any other, and all together as much as the photos."""
    values = np.concatenate([photos, *others.values()])
    targets = np.repeat([1.0, 0.0], [len(photos), len(values) - len(photos)])
    shares = [len(photos) / (len(others) * len(own)) for own in others.values()]
    counts = np.repeat([1.0, *shares], [len(photos), *map(len, others.values())])
    return fit_logistic(values, targets, ridge=_PHOTO_RIDGE, times=counts)

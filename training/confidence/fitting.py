"""Confidence settings for a checkpoint's header, fitted to its predictions."""

from collections.abc import Mapping

import numpy as np

from captioner.checkpoint.confidence import ConfidenceConfig, LogisticConfig
from captioner.result.confidence import logistic, token_statistics
from training.confidence.collecting import Numbers, Predictions
from training.confidence.logistic import fit_logistic

FALSE_ALARMS = 0.01
"""Fraction of photos that may be judged not to be a photo."""
DOUBTFUL = 0.15
"""Default calibrated probability below which a word is marked; docs/scores.md explains it."""
_FOLDS = 5
_RIDGE, _PHOTO_RIDGE = 1e-4, 1e-2


def fit_confidence(
    predictions: Predictions,
    *,
    photos: Numbers,
    others: Mapping[str, Numbers],
    doubtful: float = DOUBTFUL,
) -> ConfidenceConfig:
    """Fit all settings.

    Args:
        predictions: predictions on validation photos.
        photos: (N, D), mean features of photos, those of the predictions included.
        others: (M, D), mean features of images that are not photos, by kind.
        doubtful: calibrated probability below which words are marked.
    """
    quality = np.minimum(predictions.cider, 1.0)
    caption = fit_logistic(predictions.statistics, quality, ridge=_RIDGE)
    medium, high = np.quantile(logistic(predictions.statistics, caption), [1 / 3, 2 / 3]).tolist()
    statistics = token_statistics(predictions.confidence)
    token = fit_logistic(statistics, predictions.correct.astype(float), ridge=1e-7)
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
    """Fit the photo detector, and its threshold by cross-validation.

    At the threshold, `FALSE_ALARMS` of the held-out photos are rejected.
    """
    fold = np.arange(len(photos)) % _FOLDS
    scores = np.empty(len(photos))
    for number in range(_FOLDS):
        learned = _fit_photo(photos[fold != number], others)
        scores[fold == number] = logistic(photos[fold == number], learned)
    return _fit_photo(photos, others), float(np.quantile(scores, FALSE_ALARMS))


def _fit_photo(photos: Numbers, others: Mapping[str, Numbers]) -> LogisticConfig:
    """Weigh every kind equally, and all kinds together as much as the photos."""
    values = np.concatenate([photos, *others.values()])
    targets = np.repeat([1.0, 0.0], [len(photos), len(values) - len(photos)])
    shares = [len(photos) / (len(others) * len(own)) for own in others.values()]
    counts = np.repeat([1.0, *shares], [len(photos), *map(len, others.values())])
    return fit_logistic(values, targets, ridge=_PHOTO_RIDGE, times=counts)

"""Quality of confidence settings: calibration, rank correlation, photo detection."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.checkpoint.confidence import ConfidenceConfig
from captioner.result.confidence import logistic, token_statistics
from training.confidence.collecting import Numbers, Predictions
from training.confidence.fitting import fit_photo
from training.metrics.calibration import calibrate


def measure_words(predictions: Predictions, config: ConfidenceConfig) -> dict[str, Any]:
    """Return the calibration error of next tokens, raw and calibrated."""
    confidence, correct = predictions.confidence, predictions.correct
    calibrated = calibrate(logistic(token_statistics(confidence), config.token), correct)
    raw = calibrate(confidence, correct)
    return {
        **{name: calibrated[name] for name in ("words", "accuracy", "confidence", "ece")},
        "decoder": {name: raw[name] for name in ("confidence", "ece")},
    }


def measure_captions(predictions: Predictions, config: ConfidenceConfig) -> dict[str, Any]:
    """Return the rank correlation (Spearman) of confidence and CIDEr, and both by confidence level.

    The correlation is None if all captions are equal in one of them.
    """
    confidence = logistic(predictions.statistics, config.caption)
    ranks: Numbers = np.stack([_ranks(confidence), _ranks(predictions.cider)])
    differ = all(np.ptp(own) > 0 for own in ranks)
    level = np.digitize(confidence, [config.medium, config.high])
    return {
        "rank_correlation": float(np.asarray(np.corrcoef(ranks))[0, 1]) if differ else None,
        "levels": {
            name: {
                "captions": int((level == number).sum()),
                "confidence": _mean(confidence[level == number]),
                "quality": _mean(np.minimum(predictions.cider[level == number], 1)),
                "cider": _mean(predictions.cider[level == number]),
            }
            for number, name in enumerate(("low", "medium", "high"))
        },
    }


def measure_photos(images: Mapping[str, Numbers], config: ConfidenceConfig) -> dict[str, Any]:
    """Return, by name, the fraction of images judged not to be a photo."""
    return {
        name: {
            "images": len(summaries),
            "no_photo": _mean(logistic(summaries, config.photo) < config.threshold),
        }
        for name, summaries in images.items()
    }


def measure_unknown_kinds(photos: Numbers, others: Mapping[str, Numbers]) -> dict[str, float]:
    """Return, by kind, the fraction of non-photos detected after fitting to all other kinds."""
    found = {}
    for kind, summaries in others.items():
        rest = {name: own for name, own in others.items() if name != kind}
        photo, threshold = fit_photo(photos, rest)
        found[kind] = _mean(logistic(summaries, photo) < threshold)
    return found


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 0; ties share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.asarray(counts.cumsum() - (counts + 1) / 2, np.float64)
    return middle[place]


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else 0.0

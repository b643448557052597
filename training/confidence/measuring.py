"""How well settings do: calibration, ranks of captions, photos and other images told apart."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.checkpoint.confidence import ConfidenceConfig
from captioner.result.confidence import logistic, token_traits
from training.confidence.collecting import Numbers, Said
from training.confidence.fitting import fit_photo
from training.metrics.calibration import calibrate


def measure_words(said: Said, config: ConfidenceConfig) -> dict[str, Any]:
    """Return the calibration error of next words, as the decoder gives them and as calibrated."""
    calibrated = calibrate(logistic(token_traits(said.sure), config.token), said.right)
    raw = calibrate(said.sure, said.right)
    return {
        **{name: calibrated[name] for name in ("words", "accuracy", "confidence", "ece")},
        "decoder": {name: raw[name] for name in ("confidence", "ece")},
    }


def measure_captions(said: Said, config: ConfidenceConfig) -> dict[str, Any]:
    """Return the rank correlation of confidence and CIDEr, and both by level.

    There is no correlation where all captions are worth the same.
    """
    confidence = logistic(said.traits, config.caption)
    ranks: Numbers = np.stack([_ranks(confidence), _ranks(said.cider)])
    differ = all(np.ptp(own) > 0 for own in ranks)
    level = np.digitize(confidence, [config.medium, config.high])
    return {
        "rank_correlation": float(np.asarray(np.corrcoef(ranks))[0, 1]) if differ else None,
        "levels": {
            name: {
                "captions": int((level == number).sum()),
                "confidence": _mean(confidence[level == number]),
                "quality": _mean(np.minimum(said.cider[level == number], 1)),
                "cider": _mean(said.cider[level == number]),
            }
            for number, name in enumerate(("low", "medium", "high"))
        },
    }


def measure_photos(images: Mapping[str, Numbers], config: ConfidenceConfig) -> dict[str, Any]:
    """Return by name the share of images that are called no photo."""
    return {
        name: {
            "images": len(summaries),
            "no_photo": _mean(logistic(summaries, config.photo) < config.threshold),
        }
        for name, summaries in images.items()
    }


def measure_unknown_kinds(photos: Numbers, others: Mapping[str, Numbers]) -> dict[str, float]:
    """Return by kind the share found of images that are no photos, learned from all other kinds."""
    found = {}
    for kind, summaries in others.items():
        rest = {name: own for name, own in others.items() if name != kind}
        photo, threshold = fit_photo(photos, rest)
        found[kind] = _mean(logistic(summaries, photo) < threshold)
    return found


def _ranks(values: Numbers) -> Numbers:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.asarray(counts.cumsum() - (counts + 1) / 2, np.float64)
    return middle[place]


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else 0.0

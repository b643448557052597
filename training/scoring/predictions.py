"""A model's captions and its probabilities of the references, in one pass over the photos.

captions          one per photo, with the given decoding settings
candidates        all candidates of that search, best first
samples           several random captions per photo
teacher forcing   probability and correctness of each next word, given the reference so far
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from captioner.checkpoint.confidence import LogisticConfig
from captioner.config import SearchConfig
from captioner.model import CaptionModel, evaluating
from captioner.result.confidence import logistic, token_statistics
from captioner.search import log_probabilities, make_noise, search
from captioner.words.constraints import constraints_of
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from training.metrics.calibration import calibrate

TEMPERATURES = tuple(n / 20 for n in range(10, 31))
"""Candidate temperatures; the report names the one that fits the references best."""
_FITTED = 2000  # maximum number of words per batch for fitting the temperature


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Log-likelihood of the references under a model, accumulated."""

    nats: float = 0.0
    """Cross-entropy summed over words."""
    words: int = 0
    """Number of words."""

    def plus(self, nats: float, words: int) -> "Likelihood":
        """Return the sum with further words."""
        return Likelihood(nats=self.nats + nats, words=self.words + words)


def join_likelihoods(shares: Sequence[Likelihood]) -> dict[str, float]:
    """Return the cross-entropy in nats per word, and the perplexity, over all shares."""
    loss = sum(share.nats for share in shares) / sum(share.words for share in shares)
    return {"loss": loss, "perplexity": math.exp(loss)}


@dataclass
class TeacherForced:
    """Predictions on the references, each given the true words before it (teacher forcing)."""

    confidence: list[NDArray[np.float32]] = field(default_factory=list)
    correct: list[NDArray[np.bool_]] = field(default_factory=list)
    unknown: int = 0
    log_likelihood: float = 0.0
    fit: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(TEMPERATURES)))

    def report(self, token: LogisticConfig | None = None) -> dict[str, Any]:
        """Return the calibration of the predictions, as JSON values.

        `perplexity` counts only words in the vocabulary. `temperature` is the one that maximises
        their likelihood: below 1, the model is underconfident.

        Args:
            token: calibration to apply to the probabilities, if the checkpoint holds one.
        """
        confidence, correct = np.concatenate(self.confidence), np.concatenate(self.correct)
        if token is not None:
            confidence = logistic(token_statistics(confidence), token)
        found = calibrate(confidence, correct)
        known = found["words"] - self.unknown
        return {
            **found,
            "unknown": self.unknown / found["words"],
            "perplexity": float(np.exp(-self.log_likelihood / known)) if known else None,
            "temperature": TEMPERATURES[int(self.fit.argmax())] if known else None,
        }


@torch.inference_mode()
def search_features(
    model: CaptionModel,
    tokenizer: Tokenizer,
    features: Float[Tensor, "B P D"],
    config: SearchConfig,
    *,
    photos: Tensor,
    seeds: Sequence[int] = (),
) -> list[list[str]]:
    """Return all candidates of every image, best first; sampling is seeded by photo."""
    found = search(
        model.decoder,
        features,
        config=config,
        constraints=constraints_of(config, tokenizer),
        noise=make_noise(photos, config=config, seeds=seeds),
    )
    return [[tokenizer.decode(tokens) for tokens in candidates.tokens] for candidates in found]


@torch.inference_mode()
def caption_batches(
    model: CaptionModel,
    tokenizer: Tokenizer,
    batches: Iterable[Batch],
    config: SearchConfig,
) -> tuple[dict[int, str], Likelihood]:
    """Caption the images of these batches, and compute the likelihood of their references.

    Args:
        model: its training or evaluation mode is restored.
        tokenizer: the model's tokenizer.
        batches: pixels or features, and references, with the prompt as prefix.
        config: decoding settings.

    Returns:
        Captions by image id, and the likelihood of the references.
    """
    device = next(model.parameters()).device
    captions: dict[int, str] = {}
    likelihood = Likelihood()
    first = len(tokenizer.behind(config.prompt).prefix)
    with evaluating(model):
        for batch in batches:
            features = encode(model, batch.inputs.to(device))
            found = search_features(model, tokenizer, features, config, photos=batch.inputs)
            captions |= zip(batch.image_ids, (texts[0] for texts in found), strict=True)
            words = batch.words.to(device)
            target = words[:, :, first:]
            logits = model.decoder(features, words[:, :, :-1]).logits[:, :, first - 1 :]
            nats = F.cross_entropy(
                logits.flatten(0, 2).float(),
                target.flatten(),
                ignore_index=tokenizer.pad_id,
                reduction="sum",
            )
            count = int((target != tokenizer.pad_id).sum())
            likelihood = likelihood.plus(float(nats), count)
    return captions, likelihood


@dataclass
class PhotoPredictions:
    """Captions by image id, and predictions on the references."""

    candidates: dict[int, list[str]] = field(default_factory=dict)
    samples: dict[int, list[str]] = field(default_factory=dict)
    teacher_forced: TeacherForced = field(default_factory=TeacherForced)

    @property
    def captions(self) -> dict[int, str]:
        """The best candidate of each photo."""
        return {image: found[0] for image, found in self.candidates.items()}


@torch.inference_mode()
def predict(
    model: CaptionModel,
    tokenizer: Tokenizer,
    batches: Iterable[Batch],
    config: SearchConfig,
    *,
    drawing: SearchConfig | None = None,
    seeds: Sequence[int] = (),
) -> PhotoPredictions:
    """Caption photos, sample further captions, and evaluate the references by teacher forcing.

    Args:
        model: its training or evaluation mode is restored.
        tokenizer: the model's tokenizer.
        batches: photos and references, with the prompt as prefix.
        config: decoding settings of the captions.
        drawing: decoding settings of the samples; None draws none.
        seeds: one per sample of a photo.
    """
    device = next(model.parameters()).device
    prompted = tokenizer.behind(config.prompt)
    predictions = PhotoPredictions()
    with evaluating(model):
        for batch in batches:
            features = encode(model, batch.inputs.to(device))
            found = search_features(model, tokenizer, features, config, photos=batch.inputs)
            predictions.candidates |= zip(batch.image_ids, found, strict=True)
            if drawing is not None:
                drawn = search_features(
                    model, tokenizer, features, drawing, photos=batch.inputs, seeds=seeds
                )
                predictions.samples |= zip(batch.image_ids, drawn, strict=True)
            words = batch.words.to(device)
            predict_references(model, prompted, features, words, predictions.teacher_forced)
    return predictions


def encode(model: CaptionModel, inputs: Tensor) -> Float[Tensor, "B P D"]:
    """Return region features; inputs that are features already are returned unchanged."""
    features: Tensor = inputs if inputs.ndim == 3 else model.encoder(inputs)
    return features


def predict_references(
    model: CaptionModel,
    tokenizer: Tokenizer,
    features: Float[Tensor, "B P D"],
    words: Tensor,
    reading: TeacherForced,
) -> None:
    """Add the predictions on the references (B, K, T) of these images, after the prefix.

    A word outside the vocabulary counts as predicted wrongly.
    """
    first = len(tokenizer.prefix)
    target = words[:, :, first:]
    real = target != tokenizer.pad_id
    logits = model.decoder(features, words[:, :, :-1]).logits[:, :, first - 1 :]
    logits = logits[real].float()  # (N, V)
    target = target[real]
    never = tokenizer.never_written
    best, predicted = log_probabilities(logits, never).max(dim=-1)
    reading.confidence.append(best.exp().cpu().numpy())
    reading.correct.append((predicted == target).cpu().numpy())
    known = ~torch.isin(target, torch.tensor(never, device=words.device))
    reading.unknown += int((~known).sum())
    reading.log_likelihood += _likelihood(logits[known], target[known], never)
    every = slice(None, None, 1 + int(known.sum()) // _FITTED)  # from all positions
    logits, target = logits[known][every], target[known][every]
    for index, temperature in enumerate(TEMPERATURES):
        reading.fit[index] += _likelihood(logits / temperature, target, never)


def _likelihood(logits: Tensor, target: Tensor, never: Sequence[int]) -> float:
    """Sum the log-probabilities of the target words (N) under logits (N, V)."""
    log_p = log_probabilities(logits, never)
    return float(log_p.gather(1, target[:, None]).double().sum())

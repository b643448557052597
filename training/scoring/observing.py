"""What a model says of photos, and how it reads what people said, in one pass over the photos.

captions         one for each photo, by the search asked for
candidates       all that this search found for each photo, the best first
samples          several for each photo, drawn at random
word readings    how sure the model is of the next word of each reference, and whether it is
right; words up to there are given to it (teacher forcing)
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
from captioner.result.confidence import logistic, token_traits
from captioner.search import log_probabilities, make_noise, search
from captioner.words.constraints import constraints_of
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from training.metrics.calibration import calibrate

TEMPERATURES = tuple(n / 20 for n in range(10, 31))
"""Among these, the one that fits the references best is found."""
_TRIED = 2000  # words of a batch that they are tried on, at most


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """How likely a model finds what people said."""

    nats: float = 0.0
    """Cross-entropy, summed over words."""
    words: int = 0
    """Of the references."""

    def plus(self, nats: float, words: int) -> "Likelihood":
        """Add further words."""
        return Likelihood(nats=self.nats + nats, words=self.words + words)


def join_likelihoods(shares: Sequence[Likelihood]) -> dict[str, float]:
    """Return the cross-entropy in nats a word, and the perplexity, over all of these."""
    loss = sum(share.nats for share in shares) / sum(share.words for share in shares)
    return {"loss": loss, "perplexity": math.exp(loss)}


@dataclass
class TeacherForced:
    """How a model reads what people said."""

    confidence: list[NDArray[np.float32]] = field(default_factory=list)
    correct: list[NDArray[np.bool_]] = field(default_factory=list)
    unknown: int = 0
    log_likelihood: float = 0.0
    fit: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(TEMPERATURES)))

    def report(self, token: LogisticConfig | None = None) -> dict[str, Any]:
        """Return calibration of its words, in plain values.

        `token` calibrates the probabilities, where the checkpoint holds how.

        `perplexity` is that of the references' words it knows. `temperature` is the one at which
        those would have been likeliest: below 1 the model is less sure than it should be.
        """
        sure, right = np.concatenate(self.confidence), np.concatenate(self.correct)
        if token is not None:
            sure = logistic(token_traits(sure), token)
        found = calibrate(sure, right)
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
    """Return all candidates of every image, best first; draws depend on photos and seeds."""
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
    *,
    read: bool = False,
) -> tuple[dict[int, str], Likelihood]:
    """Caption every image of these batches, pixels or features.

    Args:
        model: left in the mode it is in.
        tokenizer: its words.
        batches: photos and what people said of them, behind the prompt.
        config: decoding settings.
        read: read the references as well.

    Returns:
        Captions by image id, and how likely the references are.
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
            if read:
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
class Observation:
    """What was seen of a model, image by image."""

    candidates: dict[int, list[str]] = field(default_factory=dict)
    samples: dict[int, list[str]] = field(default_factory=dict)
    reading: TeacherForced = field(default_factory=TeacherForced)

    @property
    def captions(self) -> dict[int, str]:
        """The best candidate of each photo."""
        return {image: found[0] for image, found in self.candidates.items()}


@torch.inference_mode()
def observe(
    model: CaptionModel,
    tokenizer: Tokenizer,
    batches: Iterable[Batch],
    config: SearchConfig,
    *,
    drawing: SearchConfig | None = None,
    seeds: Sequence[int] = (),
) -> Observation:
    """Caption photos, draw further captions, and read the references.

    Args:
        model: left in the mode it is in.
        tokenizer: its words.
        batches: photos and what people said of them, behind the prompt.
        config: decoding settings of the captions.
        drawing: how further captions are drawn.
        seeds: one for each further caption of a photo.
    """
    device = next(model.parameters()).device
    seen = Observation()
    with evaluating(model):
        for batch in batches:
            features = encode(model, batch.inputs.to(device))
            found = search_features(model, tokenizer, features, config, photos=batch.inputs)
            seen.candidates |= zip(batch.image_ids, found, strict=True)
            if drawing is not None:
                drawn = search_features(
                    model, tokenizer, features, drawing, photos=batch.inputs, seeds=seeds
                )
                seen.samples |= zip(batch.image_ids, drawn, strict=True)
            words = batch.words.to(device)
            read_references(model, tokenizer.behind(config.prompt), features, words, seen.reading)
    return seen


def encode(model: CaptionModel, inputs: Tensor) -> Float[Tensor, "B P D"]:
    """Return features: as they are, or of pixels."""
    features: Tensor = inputs if inputs.ndim == 3 else model.encoder(inputs)
    return features


def read_references(
    model: CaptionModel,
    tokenizer: Tokenizer,
    features: Float[Tensor, "B P D"],
    words: Tensor,
    reading: TeacherForced,
) -> None:
    """Add to a reading how the references (B, K, T) of these images were read behind the prefix.

    A word that the model does not know counts as one it got wrong.
    """
    first = len(tokenizer.prefix)
    target = words[:, :, first:]
    real = target != tokenizer.pad_id
    logits = model.decoder(features, words[:, :, :-1]).logits[:, :, first - 1 :]
    logits = logits[real].float()  # (N, V)
    target = target[real]
    never = tokenizer.never_written
    best, guess = log_probabilities(logits, never).max(dim=-1)
    reading.confidence.append(best.exp().cpu().numpy())
    reading.correct.append((guess == target).cpu().numpy())
    known = ~torch.isin(target, torch.tensor(never, device=words.device))
    reading.unknown += int((~known).sum())
    reading.log_likelihood += _likelihood(logits[known], target[known], never)
    tried = slice(None, None, 1 + int(known.sum()) // _TRIED)  # from all places of captions
    logits, target = logits[known][tried], target[known][tried]
    for place, temperature in enumerate(TEMPERATURES):
        reading.fit[place] += _likelihood(logits / temperature, target, never)


def _likelihood(logits: Tensor, target: Tensor, never: Sequence[int]) -> float:
    """Sum the log-probabilities of the words (N) that these logits (N, V) were to foretell."""
    log_p = log_probabilities(logits, never)
    return float(log_p.gather(1, target[:, None]).double().sum())

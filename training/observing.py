"""What a model says of photos, and how it reads what people said, in one pass over the photos.

captions         one for each photo, by the search asked for
candidates       all that this search found for each photo, the best first
samples          several for each photo, drawn at random
word readings    how sure the model is of the next word of each reference, and whether it is
right; words up to there are given to it (teacher forcing)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from captioner.config import SearchConfig
from captioner.model import CaptionModel
from captioner.rules import rules_of
from captioner.search import log_probabilities, search
from captioner.tokenizer import Tokenizer
from data.batching import Batch
from data.dataset import draw
from training.metrics.calibration import calibrate

TEMPERATURES = tuple(n / 20 for n in range(10, 31))
"""Among these is looked for the one that fits the references best."""
_TRIED = 2000  # words of a batch that they are tried on, at most


@dataclass
class Reading:
    """How a model reads what people said."""

    confidence: list[NDArray[np.float32]] = field(default_factory=list)
    correct: list[NDArray[np.bool_]] = field(default_factory=list)
    unknown: int = 0
    log_likelihood: float = 0.0
    fit: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(TEMPERATURES)))

    def report(self) -> dict[str, Any]:
        """Return calibration of its words, in plain values.

        `perplexity` is that of the references' words it knows. `temperature` is the one at which
        those would have been likeliest: below 1 the model is less sure than it should be.
        """
        found = calibrate(np.concatenate(self.confidence), np.concatenate(self.correct))
        known = found["words"] - self.unknown
        return {
            **found,
            "unknown": self.unknown / found["words"],
            "perplexity": float(np.exp(-self.log_likelihood / known)) if known else None,
            "temperature": TEMPERATURES[int(self.fit.argmax())] if known else None,
        }


def caption_features(
    model: CaptionModel,
    tokenizer: Tokenizer,
    features: Float[Tensor, "B P D"],
    config: SearchConfig,
) -> list[str]:
    """Caption every image from its regions."""
    return [texts[0] for texts in search_features(model, tokenizer, features, config)]


@torch.inference_mode()
def search_features(
    model: CaptionModel,
    tokenizer: Tokenizer,
    features: Float[Tensor, "B P D"],
    config: SearchConfig,
) -> list[list[str]]:
    """Return all candidates of every image, the best first."""
    found = search(
        model.decoder,
        features,
        config=config,
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        forbidden=tokenizer.never_written,
        rules=rules_of(config, tokenizer),
    )
    return [[tokenizer.decode(words) for words in candidates.words] for candidates in found]


def caption_batches(
    model: CaptionModel, tokenizer: Tokenizer, batches: Iterable[Batch], config: SearchConfig
) -> dict[int, str]:
    """Caption every image of these batches, pixels or features; captions by image id.

    The model is left in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    captions: dict[int, str] = {}
    for batch in batches:
        features = encode(model, batch.inputs.to(device))
        found = caption_features(model, tokenizer, features, config)
        captions.update(zip(batch.image_ids, found, strict=True))
    return captions


@dataclass
class Observation:
    """What was seen of a model, image by image."""

    candidates: dict[int, list[str]] = field(default_factory=dict)
    samples: dict[int, list[str]] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)

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
    draws: Sequence[SearchConfig] = (),
) -> Observation:
    """Caption photos, draw further captions, and read the references.

    Args:
        model: left in evaluation mode.
        tokenizer: its words.
        batches: photos and what people said of them.
        config: how the captions are looked for.
        draws: one search for each further caption of a photo; see `sampling`.
    """
    model.eval()
    device = next(model.parameters()).device
    seen = Observation()
    for batch in batches:
        features = encode(model, batch.inputs.to(device))
        found = search_features(model, tokenizer, features, config)
        seen.candidates |= zip(batch.image_ids, found, strict=True)
        drawn = [caption_features(model, tokenizer, features, other) for other in draws]
        for image_id, *own in zip(batch.image_ids, *drawn, strict=True):
            seen.samples[image_id] = own
        read_references(model, tokenizer, features, batch.words.to(device), seen.reading)
    return seen


def sampling(config: SearchConfig, *, number: int, seed: int) -> list[SearchConfig]:
    """Make searches that draw, with seeds of their own that depend on one seed alone."""
    return [replace(config, method="sample", seed=draw(seed, place)) for place in range(number)]


def encode(model: CaptionModel, inputs: Tensor) -> Float[Tensor, "B P D"]:
    """Return features: as they are, or of pixels."""
    features: Tensor = inputs if inputs.ndim == 3 else model.encoder(inputs)
    return features


def read_references(
    model: CaptionModel,
    tokenizer: Tokenizer,
    features: Float[Tensor, "B P D"],
    words: Tensor,
    reading: Reading,
) -> None:
    """Add to a reading how the references (B, K, T) of these images were read.

    A word that the model does not know counts as one it got wrong.
    """
    target = words[:, :, 1:]
    real = target != tokenizer.pad_id
    logits = model.decoder(features, words[:, :, :-1]).logits[real].float()  # (N, V)
    target = target[real]
    banned = torch.tensor(tokenizer.never_written, device=words.device)
    best, guess = log_probabilities(logits[None], banned)[0].max(dim=-1)
    reading.confidence.append(best.exp().cpu().numpy())
    reading.correct.append((guess == target).cpu().numpy())
    known = ~torch.isin(target, banned)
    reading.unknown += int((~known).sum())
    reading.log_likelihood += _likelihood(logits[known], target[known], banned)
    tried = slice(None, None, 1 + int(known.sum()) // _TRIED)  # from all places of captions
    logits, target = logits[known][tried], target[known][tried]
    for place, temperature in enumerate(TEMPERATURES):
        reading.fit[place] += _likelihood(logits / temperature, target, banned)


def _likelihood(logits: Tensor, target: Tensor, banned: Tensor) -> float:
    """Sum the log-probabilities of the words (N) that these logits (N, V) were to foretell."""
    log_p = log_probabilities(logits[None], banned)[0]
    return float(log_p.gather(1, target[:, None]).double().sum())

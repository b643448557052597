"""Caption of a photo: a sentence, with probability and attention of every word.

Attention maps are NumPy arrays on every runtime. `Caption.to_dict` includes all that overlays need,
so they can be drawn from JSON alone.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from captioner.config import AttentionConfig, SearchConfig, from_table, to_table
from captioner.errors import ConfigError
from captioner.photo.framing import Float32Array, Geometry
from captioner.result.confidence import Judgement

_LEAST_LEFT = 1e-6
"""Sum of a contrast map below which it is rounding error."""
_LACKING = {
    "rollout": "which needs a single Transformer, not an LSTM or an ensemble; choose 'layer'.",
    "evidence": "which ensembles, BLIP and exports of earlier versions do not have; choose "
    "'layer', or export the checkpoint again.",
    "gradient": "which captions have only on request: caption the photo with the captioner that "
    "`Captioner.with_gradients` returns.",
}
"""Why a derived map may be missing, by method, in the order of `Word`'s fields."""


class Rival(NamedTuple):
    """A likely alternative to a word."""

    text: str
    """The word; empty if it stands for the end of the caption."""
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Word:
    """One word of a caption, as displayed: endings such as 's belong to it."""

    text: str
    """The word."""
    probability: float
    """Probability that it is right, given the photo and the words before it; the product over its
    tokens. Calibrated if the checkpoint is, otherwise the decoder's."""
    attention: Float[Float32Array, "gh gw"]
    """Attention map: float32 weights of the regions, none negative, summing to 1. It is the mean
    over the word's tokens and, by default, over the heads of the last layer."""
    heads: Float[Float32Array, "L M gh gw"] | None
    """Attention of each layer and head; a recurrent decoder has one of each. A map sums to less
    than 1 if the rest went to a class token or to words. None if the caption was read from JSON."""
    gate: float | None
    """Gate (beta) of a recurrent decoder, 0 to 1; for a model that also attends to a class token or
    to words, the regions' share of its attention; None for others."""
    rollout: Float[Float32Array, "gh gw"] | None = None
    """Attention rollout through all layers of a Transformer; None for a recurrent decoder."""
    evidence: Float[Float32Array, "gh gw"] | None = None
    """Evidence: regions on which the last layer's heads agree and which raise the word's score; its
    sum equals that of the layer's mean map. None if the decoder or an older export does not provide
    it."""
    gradient: Float[Float32Array, "gh gw"] | None = None
    """Gradient-weighted attention over all layers, with the sum of `evidence`; None unless the
    captioner comes from `with_gradients`."""
    rivals: tuple[Rival, ...] = ()
    """Likeliest first tokens at its position, possibly its own; only from `read_sentence` and
    `complete`."""
    doubtful: bool = False
    """Whether its probability is below the checkpoint's threshold."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A caption that was not chosen."""

    text: str
    """The sentence."""
    log_probability: float
    """Log-probability, natural logarithm, END included."""
    score: float | None = None
    """Score that ranked it: log-probability normalised by length."""
    tokens: tuple[int, ...]
    """Token ids; `Captioner.read_candidates` reads them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Caption:
    """A sentence about a photo."""

    image: str | None
    """Path of the photo as it was given; None if it was not a path."""
    text: str
    """The sentence: its words joined by spaces, in languages that write them."""
    words: tuple[Word, ...]
    """Its words in order; empty if they were not requested."""
    log_probability: float
    """Log-probability of the sentence: natural logarithm, summed over its tokens and END."""
    candidates: tuple[Candidate, ...]
    """The other candidates of beam search, best first."""
    geometry: Geometry
    """The part of the photo that the attention maps cover."""
    checkpoint: str
    """Name of the model."""
    search: SearchConfig
    """Decoding settings."""
    score: float | None = None
    """Score that ranked it: log-probability normalised by length; None if read from JSON."""
    view: AttentionConfig = field(default_factory=AttentionConfig)
    """How `attention` of the words was derived."""
    judgement: Judgement = field(default_factory=Judgement)
    """Confidence of the caption, and whether the image is a photo."""

    def with_view(self, view: AttentionConfig) -> "Caption":
        """Return the caption with another view of its attention.

        Args:
            view: such as another layer or head.

        Raises:
            ConfigError: the model has no such layer or head, or no map of this method; or the
                caption was read from JSON, which holds one view.
        """
        words = []
        for word in self.words:
            if word.heads is None:
                raise ConfigError(
                    "the caption was read from JSON, which holds one view of its attention; "
                    "caption the photo again to see another."
                )
            derived = word.rollout, word.evidence, word.gradient
            attention, share = normalised_attention(word.heads, view, *derived)
            gate = word.gate
            if gate is not None:
                gate *= share / normalised_attention(word.heads, self.view, *derived)[1]
            words.append(replace(word, attention=attention, gate=gate))
        if view.method == "contrast" and words:
            maps = contrast(np.stack([word.attention for word in words]))
            words = [replace(word, attention=x) for word, x in zip(words, maps, strict=True)]
        return replace(self, words=tuple(words), view=view)

    def to_dict(self, *, attention: bool = True) -> dict[str, Any]:
        """Return plain values for JSON.

        Args:
            attention: whether to include attention maps, which `from_dict` needs.
        """
        return {
            "image": self.image,
            "caption": self.text,
            "log_probability": self.log_probability,
            **self.judgement._asdict(),
            "words": [
                {
                    "word": word.text,
                    "probability": word.probability,
                    "doubtful": word.doubtful,
                    "gate": word.gate,
                    "entropy": entropy(word.attention),
                    **({"attention": _to_table(word.attention)} if attention else {}),
                }
                for word in self.words
            ],
            "geometry": self.geometry.to_dict(),
            "view": to_table(self.view),
            "checkpoint": self.checkpoint,
            "search": to_table(self.search),
        }

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> "Caption":
        """Read what `to_dict` returned, which has neither layers, heads nor candidates.

        Raises:
            ConfigError: a value is missing or invalid.
        """
        try:
            return cls(
                image=table["image"],
                text=table["caption"],
                words=tuple(
                    Word(
                        text=word["word"],
                        probability=word["probability"],
                        attention=np.array(word["attention"]["weights"], np.float32),
                        heads=None,
                        gate=word["gate"],
                        doubtful=word.get("doubtful", False),
                    )
                    for word in table["words"]
                ),
                log_probability=table["log_probability"],
                candidates=(),
                geometry=Geometry.from_dict(table["geometry"]),
                checkpoint=table["checkpoint"],
                search=from_table(SearchConfig, table["search"], where="search", given=()),
                view=from_table(AttentionConfig, table["view"], where="view"),
                judgement=Judgement(*(table.get(name) for name in Judgement._fields)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"not a caption as JSON holds it: {error!r}.") from error


def _to_table(attention: Float[Float32Array, "gh gw"]) -> dict[str, Any]:
    return {"grid": list(attention.shape), "weights": attention.tolist()}


def contrast(maps: Float[Float32Array, "T *regions"]) -> Float[Float32Array, "T *regions"]:
    """Subtract from each region its lowest weight over all words.

    Some regions get weight whatever the word; the rest distinguishes the words. If nothing is left
    of a word's map, it stays as it is.

    Args:
        maps: maps of the words of a caption, each summing to 1.

    Returns:
        Maps that sum to 1.
    """
    left = maps - maps.min(axis=0)
    totals = left.sum(axis=tuple(range(1, left.ndim)), keepdims=True)
    shown: Float32Array = np.where(
        totals > _LEAST_LEFT, left / np.maximum(totals, _LEAST_LEFT), maps
    )
    return shown


def normalised_attention(
    heads: Float[Any, "L M gh gw"], view: AttentionConfig, *derived: Float[Any, "gh gw"] | None
) -> tuple[Float[Any, "gh gw"], float]:
    """Return the map that `select_attention` selects, scaled to sum 1, and its sum before."""
    chosen = select_attention(heads, view, *derived)
    share = float(chosen.sum(dtype=np.float64))
    return (chosen if math.isclose(share, 1, abs_tol=1e-6) else chosen / np.float32(share)), share


def select_attention(
    heads: Float[Any, "L M *regions"],
    view: AttentionConfig,
    *derived: Float[Any, "*regions"] | None,
) -> Float[Any, "*regions"]:
    """Select or derive a map from the attention of all layers and heads.

    Args:
        heads: weights of every layer and head.
        view: the view.
        *derived: `rollout`, `evidence` and `gradient` of the `Word`; None where there is none.

    Raises:
        ConfigError: there is no such layer or head, or no map of this method.
    """
    for name, there in zip(("layer", "head"), heads.shape, strict=False):
        asked = getattr(view, name)
        if asked is not None and asked > there:
            raise ConfigError(f"attention.{name} is {asked}; the last {name} is {there}.")
    if view.method in _LACKING:
        found = dict(zip(_LACKING, derived, strict=False)).get(view.method)
        if found is None:
            raise ConfigError(f"attention.method is {view.method!r}, {_LACKING[view.method]}")
        return found
    layers = heads.mean(axis=1) if view.head is None else heads[:, view.head - 1]
    if view.method == "mean":
        return layers.mean(axis=0)
    return layers[-1 if view.layer is None else view.layer - 1]


def entropy(attention: Float[Any, "gh gw"]) -> float:
    """Return the normalised entropy of attention: 0 for one region, 1 for uniform attention.

    It is the Shannon entropy divided by its maximum; 1 for a grid of one region.

    Args:
        attention: weights of the regions, none negative, with a positive sum.
    """
    weights = np.asarray(attention, dtype=np.float64).ravel()
    if len(weights) == 1:
        return 1.0
    shares = weights[weights > 0] / weights.sum()
    nats = float(-(shares * np.log(shares)).sum())
    return min(max(nats / math.log(len(weights)), 0.0), 1.0)

"""Result of captioning a photo: a sentence, with probability and attention of every word.

Attention is NumPy's, whatever the model runs on. `Caption.to_dict` holds all that overlays need, so
that they can be drawn from JSON alone.
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
"""Attention less than this, left by contrast, is rounding."""
_LACKING = {
    "rollout": "which needs a single Transformer, not an LSTM or an ensemble; choose 'layer'.",
    "evidence": "which ensembles, BLIP and exports of earlier versions do not have; choose "
    "'layer', or export the checkpoint again.",
    "gradient": "which captions have only on request: caption the photo with the captioner that "
    "`Captioner.with_gradients` returns.",
}
"""Why there may be no map of each method that derives one, in the order of `Word`'s fields."""


class Rival(NamedTuple):
    """A likely alternative to a word."""

    text: str
    """Empty where the caption could have ended."""
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Word:
    """One word of a caption, as a reader sees it: endings such as 's belong to it."""

    text: str
    """The word."""
    probability: float
    """How likely it is right, given the photo and the words before it; the product over its tokens.
    Calibrated where the checkpoint knows how; otherwise the decoder's."""
    attention: Float[Float32Array, "gh gw"]
    """Where the model looked: float32 weights of the regions, none negative, summing to 1. The
    mean over its tokens, and over the heads of the last layer unless another view is chosen."""
    heads: Float[Float32Array, "L M gh gw"] | None
    """The attention of each layer and head; a recurrent decoder has one of each. A map
    sums to less than 1 where the rest went to a class token or to words. None if the caption was
    read from JSON."""
    gate: float | None
    """How far the photo's regions were let in, 0 to 1: the gate of a recurrent decoder; of a model
    that also looks at a class token or at words, the regions' share of its attention. None where
    there is neither."""
    rollout: Float[Float32Array, "gh gw"] | None = None
    """Attention rollout through all layers of a Transformer; None for the recurrent decoder."""
    evidence: Float[Float32Array, "gh gw"] | None = None
    """Regions that the last layer's heads agree on and that speak for the word, summing to what its
    mean does; None where the decoder or an older export cannot tell."""
    gradient: Float[Float32Array, "gh gw"] | None = None
    """What the word's score depends on by the gradients of all layers, summing to what `evidence`
    does; None unless the captioner came of `with_gradients`."""
    rivals: tuple[Rival, ...] = ()
    """The likeliest first tokens in its place, itself perhaps among them; only `read_sentence`
    finds them."""
    doubtful: bool = False
    """Whether it is less probable than the checkpoint's limit."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A caption that did not win."""

    text: str
    """The sentence."""
    log_probability: float
    """Natural logarithm; the end mark is counted."""
    score: float | None = None
    """What ranked it: its log-probability, normalised by its length."""
    tokens: tuple[int, ...]
    """The ids it is made of; `Captioner.read_candidates` reads them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Caption:
    """A sentence about a photo."""

    image: str | None
    """Path of the photo as it was given; None if it was not a path."""
    text: str
    """The sentence: its words joined by spaces, in languages that write them."""
    words: tuple[Word, ...]
    """Its words in order; none where they were not asked for."""
    log_probability: float
    """Of the whole sentence: natural logarithm, summed over its tokens and the end mark."""
    candidates: tuple[Candidate, ...]
    """What else beam search found, best first."""
    geometry: Geometry
    """The part of the photo that the attention lies on."""
    checkpoint: str
    """Name of the model."""
    search: SearchConfig
    """How the sentence was looked for."""
    score: float | None = None
    """What ranked it: its log-probability, normalised by its length; None if read from JSON."""
    view: AttentionConfig = field(default_factory=AttentionConfig)
    """What `attention` of the words is taken from."""
    judgement: Judgement = field(default_factory=Judgement)
    """How far it can be believed, and whether the image is a photo at all."""

    def with_view(self, view: AttentionConfig) -> "Caption":
        """Show other attention of the same sentence, such as that of another layer or head.

        Raises:
            ConfigError: the model has no such layer or head, nothing to roll out, no evidence or
                gradient, or the caption was read from JSON, which holds one view.
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
        """Plain values for JSON.

        Args:
            attention: whether words have their weights, which `from_dict` needs.
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
        """Read `to_dict` back: all that overlays need, without layers, heads and candidates.

        Raises:
            ConfigError: a value is missing or makes no sense.
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
    """Subtract each region's lowest weight for any word.

    Some regions get weight whatever is said; what is left tells the words apart. The map of a word
    that keeps nothing stays as it is.

    Args:
        maps: of the words of a caption, each summing to 1.

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
    """Choose as `select_attention` does; return a map that sums to 1, and what it summed to."""
    chosen = select_attention(heads, view, *derived)
    share = float(chosen.sum(dtype=np.float64))
    return (chosen if math.isclose(share, 1, abs_tol=1e-6) else chosen / np.float32(share)), share


def select_attention(
    heads: Float[Any, "L M *regions"],
    view: AttentionConfig,
    *derived: Float[Any, "*regions"] | None,
) -> Float[Any, "*regions"]:
    """Choose from the attention of every layer and head.

    Args:
        heads: weights of every layer and head.
        view: what to choose.
        *derived: rollout, evidence and gradient, as of `Word`, as far as there are any.

    Raises:
        ConfigError: there is no such layer or head, nothing was rolled out, or no such map.
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
    """Return how evenly attention is spread: 0 on one region, 1 the same on all.

    It is the Shannon entropy as a share of the largest possible one; 1 for a grid of one region.

    Args:
        attention: weights of the regions, none negative, of positive sum.
    """
    weights = np.asarray(attention, dtype=np.float64).ravel()
    if len(weights) == 1:
        return 1.0
    shares = weights[weights > 0] / weights.sum()
    nats = float(-(shares * np.log(shares)).sum())
    return min(max(nats / math.log(len(weights)), 0.0), 1.0)

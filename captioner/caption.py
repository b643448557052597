"""What captioning a photo gives: a sentence, and for every word how sure and where it looked."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from captioner.config import SearchConfig, to_table
from captioner.preprocess import Geometry


@dataclass(frozen=True, kw_only=True, eq=False)
class Word:
    """One word of a caption, as a reader sees it: endings such as 's belong to it."""

    text: str
    """The word."""
    probability: float
    """How likely it was, given the photo and the words before it; the product over its tokens."""
    attention: Float[Tensor, "gh gw"]
    """Where the model looked: float32 weights of the regions, none negative, summing to 1. The
    mean over its tokens, and over the heads of the last layer."""
    heads: Float[Tensor, "L M gh gw"]
    """The same for every layer and head by itself; the recurrent decoder has one of each."""
    gate: float | None
    """How far the recurrent decoder let in what it looked at, 0 to 1; None for a Transformer."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A caption that did not win."""

    text: str
    """The sentence."""
    log_probability: float
    """Natural logarithm; the end mark is counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Caption:
    """A sentence about a photo."""

    image: str | None
    """Path of the photo as it was given; None if it was not a path."""
    text: str
    """The sentence: its words joined by spaces, in languages that write them."""
    words: tuple[Word, ...]
    """Its words in order."""
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "image": self.image,
            "caption": self.text,
            "log_probability": self.log_probability,
            "words": [
                {
                    "word": word.text,
                    "probability": word.probability,
                    "attention": {
                        "grid": list(word.attention.shape),
                        "weights": word.attention.tolist(),
                    },
                }
                for word in self.words
            ],
            "checkpoint": self.checkpoint,
            "search": to_table(self.search),
        }

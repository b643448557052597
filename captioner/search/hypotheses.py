"""Hypotheses: the captions that a search is considering."""

from typing import Any, NamedTuple

from jaxtyping import Float, Int

from captioner.result.candidates import NO_TOKEN
from captioner.search.arrays import Arrays, arrays_of


class Hypotheses(NamedTuple):
    """K captions of each image, finished or not."""

    tokens: Int[Any, "B K T"]
    """Tokens, END included, then `NO_TOKEN`, up to T = max_words + 1."""
    logs: Float[Any, "B K T"]
    """Log-probability of each token."""
    rows: Int[Any, "B K T"]
    """Row of each token among the B * K of its step; see `Candidates.rows`."""
    value: Float[Any, "B K"]
    """Rank: log-probability while live, score once kept; minus infinity if absent."""

    def take(self, picks: Int[Any, "B J"]) -> "Hypotheses":
        """Select hypotheses within each image."""
        images = arrays_of(picks).arange(len(picks), 1)
        return Hypotheses(*(x[images, picks] for x in self))

    def part(self, places: slice) -> "Hypotheses":
        """Select a range of hypotheses of every image."""
        return Hypotheses(*(x[:, places] for x in self))

    def select(self, images: Int[Any, " N"]) -> "Hypotheses":
        """Select images."""
        return Hypotheses(*(x[images] for x in self))


def concatenate(*parts: Hypotheses) -> Hypotheses:
    """Concatenate the hypotheses of each image."""
    join = arrays_of(parts[0].value).concatenate
    return Hypotheses(*map(join, zip(*parts, strict=True)))


def empty_hypotheses(arrays: Arrays, *shape: int, value: float) -> Hypotheses:
    """Return hypotheses (B, K) without tokens, with room for T."""
    return Hypotheses(
        tokens=arrays.full(shape, NO_TOKEN),
        logs=arrays.full(shape, 0.0),
        rows=arrays.full(shape, 0),
        value=arrays.full(shape[:2], value),
    )

"""What search keeps of the captions it considers."""

import math
from collections.abc import Generator
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.candidates import NOTHING, Candidates, rank


class Rows(NamedTuple):
    """K hypotheses of each image."""

    words: Int[Tensor, "B K T"]
    """END included, then `NOTHING` up to T = max_words + 1."""
    logs: Float[Tensor, "B K T"]
    """Log-probability of each word."""
    value: Float[Tensor, "B K"]
    """What ranks them: log-probability while live, score when kept; minus infinity if absent."""

    def take(self, picks: Int[Tensor, "B J"]) -> "Rows":
        """Take these hypotheses of each image."""
        images = torch.arange(len(picks), device=picks.device)[:, None]
        return Rows(*(x[images, picks] for x in self))

    def select(self, images: Int[Tensor, " N"]) -> "Rows":
        """Take these images."""
        return Rows(*(x[images] for x in self))

    def put(self, images: Int[Tensor, " N"], others: "Rows") -> "Rows":
        """Put others in the place of these images."""
        return Rows(*(x.index_copy(0, images, y) for x, y in zip(self, others, strict=True)))

    def gather_groups(self, groups: int) -> "Rows":
        """Put the hypotheses of an image's groups, rows that follow each other, into one row."""
        return Rows(*(x.unflatten(0, (-1, groups)).flatten(1, 2) for x in self))

    def add(self, others: "Rows") -> "Rows":
        """Keep the best of both, as many as there are here, best first."""
        both = Rows(*(torch.cat(pair, dim=1) for pair in zip(self, others, strict=True)))
        _, picks = top(both.value, self.value.shape[1])
        return both.take(picks)


Steps: TypeAlias = Generator[Rows, None, list[Candidates]]
"""A search in progress: after every word the hypotheses that go on, best first, of the images that
are not done; at last, what was found."""


def no_words(
    images: int, hypotheses: int, longest: int, *, value: float, device: torch.device
) -> Rows:
    """Make hypotheses of no words yet, with room for `longest` of them."""
    return Rows(
        words=torch.full((images, hypotheses, longest), NOTHING, device=device),
        logs=torch.zeros((images, hypotheses, longest), device=device),
        value=torch.full((images, hypotheses), value, device=device),
    )


def log_probabilities(
    logits: Float[Tensor, "B K V"], banned: Int[Tensor, " F"]
) -> Float[Tensor, "B K V"]:
    """Return log-probabilities among the words that are not banned."""
    return logits.float().index_fill(-1, banned, -math.inf).log_softmax(dim=-1)


def top(
    values: Float[Tensor, "B N"], count: int
) -> tuple[Float[Tensor, "B J"], Int[Tensor, "B J"]]:
    """Return the largest values of each row, first, and their places; of equals, the first."""
    # topk leaves open which of equals it takes and in which order; sorting all values would settle
    # it, but slowly, and equals at the brink are rare.
    largest, places = values.topk(min(count + 1, values.shape[1]))
    if (largest[:, count:] == largest[:, count - 1 : count]).any():
        places = values.argsort(dim=-1, descending=True, stable=True)
    places = places[:, :count].sort(dim=-1).values
    largest, order = values.gather(1, places).sort(dim=-1, descending=True, stable=True)
    return largest, places.gather(1, order)


def candidates(rows: Rows, *, end_id: int, length_penalty: float) -> list[Candidates]:
    """Turn the hypotheses of each image into plain lists."""
    return [
        rank(*image, end_id=end_id, length_penalty=length_penalty)
        for image in zip(*(x.tolist() for x in rows), strict=True)
    ]

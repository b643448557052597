"""The protocol both decoders answer, and what passes through it.

A decoder reads the features of an image once (`init_state`) and then takes one word at a time
(`step`). Search works on K hypotheses per image at once: whatever depends on the image alone is
kept once per image (`DecoderState.memory`), whatever depends on the words so far once per
hypothesis (`DecoderState.past`), so a wider beam never copies the image.

Training and explanation read whole captions with `forward`; a test holds `step` to `forward`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.reading import Reading

State = TypeVar("State", bound="DecoderState")


@dataclass(frozen=True)
class DecoderState:
    """What a decoder remembers between two words; a value, never changed in place."""

    memory: tuple[Any, ...]
    """Nested tuples of tensors (B, ...), or None: what the image says."""
    past: tuple[Any, ...]
    """Nested tuples of tensors (B, K, ...): what the words so far say."""

    def reorder(self: State, parents: Int[Tensor, "B K"]) -> State:
        """Continue these hypotheses of each image: repeats widen a beam, omissions prune it."""
        images = torch.arange(len(parents), device=parents.device)[:, None]

        def take(x: Tensor) -> Tensor:  # by whole rows, which is faster than x[images, parents]
            rows = (images * x.shape[1] + parents).flatten()
            return x.flatten(0, 1).index_select(0, rows).unflatten(0, parents.shape)

        return replace(self, past=map_tensors(take, self.past))

    def select(self: State, images: Int[Tensor, " N"]) -> State:
        """Keep these images only, in this order."""

        def take(x: Tensor) -> Tensor:
            return x.index_select(0, images)

        return replace(
            self, memory=map_tensors(take, self.memory), past=map_tensors(take, self.past)
        )


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Change every tensor of nested tuples; named tuples keep their type."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return change(tree)
    items = [map_tensors(change, item) for item in tree]
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)


@runtime_checkable
class Decoder(Protocol):
    """What search, training and explanation need of a decoder."""

    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Read the image, with one hypothesis of no words."""
        ...

    def step(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[Float[Tensor, "B K V"], DecoderState]:
        """Take the latest word of every hypothesis; return the scores of the next word."""
        ...

    def look(self, words: Int[Tensor, "B K"], state: DecoderState) -> tuple[Reading, DecoderState]:
        """Do what `step` does; return a reading of these words (T = 1), with attention."""
        ...

    def __call__(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> Reading:
        """Read K whole captions of each image, START first."""
        ...

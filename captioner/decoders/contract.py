"""Interface of every decoder, and its state.

A decoder reads the features of an image once (`init_state`) and then one word at a time (`step`).
Search works on K hypotheses per image at once: what depends on the image alone is kept once per
image (`DecoderState.memory`), what depends on the words so far once per hypothesis
(`DecoderState.past`), so a wider beam never copies the image.

Training reads whole captions with `forward`; a test checks that it equals `step`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captioner.decoders.output import DecoderOutput

State = TypeVar("State", bound="DecoderState")


@dataclass(frozen=True)
class DecoderState:
    """A decoder's state between two words; a value, never modified in place."""

    memory: tuple[Any, ...]
    """Nested tuples of tensors (B, ...), or None, computed from the image."""
    past: tuple[Any, ...]
    """Nested tuples of tensors (B, K, ...), computed from the words so far."""

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


def map_tensors(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to every tensor of nested tuples; named tuples keep their type."""
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return change(tree)
    items = [map_tensors(change, item) for item in tree]
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)


class Decoder(nn.Module, ABC):
    """Interface that search, training and export use.

    A decoder defines `init_state` and `step_with_attention`. The other methods build on these two,
    and are overridden where there is a faster way.
    """

    layers: int = 1
    """Layers of attention over the regions."""
    heads: int = 1
    """Heads of each layer."""
    longest: int | None = None
    """Longest caption in tokens, START not counted; None for no limit."""
    parallel: bool = False
    """Whether `forward` processes all words in parallel."""

    has_evidence: bool = False
    """Whether `evidence` returns a value."""

    @abstractmethod
    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Read the images; return the state before the first word, with one hypothesis each."""

    @abstractmethod
    def step_with_attention(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Read the latest words; return logits and attention (T = 1), and the next state."""

    def evidence(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B T"],
        attention: Float[Tensor, "B M T R"],
    ) -> Float[Tensor, "B T R"] | None:
        """Return the direct contribution of each attended row of features to the scores of words.

        Args:
            features: features of the images.
            words: one caption of each image, without START.
            attention: weights of the last layer's heads at the step that chose each word, over the
                R rows that a decoder attends to; R is P, except for ensembles.

        Returns:
            Contributions, up to a positive factor per word. None unless `has_evidence`: a score
            decomposes only where features reach it through products and norms alone.
        """
        return None

    def step(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[Float[Tensor, "B K V"], DecoderState]:
        """Read the latest words; return the logits of the next ones, and the next state."""
        output, state = self.step_with_attention(words, state)
        return output.logits[:, :, 0], state

    def forward(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> DecoderOutput:
        """Read K whole captions of each image, START first; here `between_words` is None."""
        state = self.init_state(features).reorder(torch.zeros_like(words[..., 0]))
        outputs = []
        for t in range(words.shape[-1]):
            output, state = self.step_with_attention(words[..., t], state)
            outputs.append(output)
        logits, attention, gates, _ = zip(*outputs, strict=True)
        return DecoderOutput(
            logits=torch.cat(logits, dim=2),
            attention=torch.cat(attention, dim=-2) if with_attention else None,
            gate=None if gates[0] is None else torch.cat(gates, dim=2),
        )

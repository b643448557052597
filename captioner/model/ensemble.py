"""Ensembles: an encoder and a decoder made of several.

An ensemble sees the regions of all members side by side, (B, P, D) with P the sum of theirs and D
the widest, and gives each member its own back; its state holds theirs, member by member. So search
meets a decoder like any other.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from captioner.config import PreprocessConfig
from captioner.decoders.contract import Decoder, DecoderState
from captioner.decoders.output import DecoderOutput
from captioner.model.encoder import Encoder


class FeatureLayout(NamedTuple):
    """One member's part of the features."""

    grid: tuple[int, int]
    """Regions down and across."""
    channels: int
    """Of its features."""
    context: int = 0
    """Rows of features before those of the regions."""

    @property
    def rows(self) -> int:
        """How many rows of features there are."""
        return self.context + self.grid[0] * self.grid[1]

    def has_layout_of(self, other: "FeatureLayout") -> bool:
        """Whether attention over one means the same as over the other, row by row."""
        return (self.grid, self.context) == (other.grid, other.context)


class EnsembleEncoder(nn.Module):
    """The encoders of the members, fed from the input of the first.

    Args:
        encoders: of the members.
        preprocess: what each was trained on; they differ in the normalisation of colours at most.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, encoders: Sequence[Encoder], preprocess: Sequence[PreprocessConfig]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.grid = encoders[0].grid
        """Of the first member, whose attention the others' is laid upon."""
        self.layouts = [
            FeatureLayout(encoder.grid, encoder.feature_dim, encoder.context)
            for encoder in encoders
        ]
        mean, std = (
            torch.tensor([getattr(own, name) for own in preprocess])[:, :, None, None]
            for name in ("mean", "std")
        )  # (members, 3, 1, 1)
        self.register_buffer("scale", std[0] / std, persistent=False)
        self.register_buffer("shift", (mean[0] - mean) / std, persistent=False)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P D"]:
        """Return the regions of all members side by side."""
        features = [
            encoder(pixels * scale + shift)
            for encoder, scale, shift in zip(self.encoders, self.scale, self.shift, strict=True)
        ]
        widest = max(layout.channels for layout in self.layouts)
        return torch.cat([F.pad(own, (0, widest - own.shape[-1])) for own in features], dim=1)


class EnsembleDecoder(Decoder):
    """The decoders of the members; a word's probability is the mean of those they give it.

    The arithmetic mean, as in the ensembles of Rennie et al. 2017 (arXiv:1612.00563): a word that
    one member is sure of stays likely where another would not have thought of it. The geometric
    mean, of the logits, would let every member veto every word.

    Attention is the members' own, each as a head of one layer: the mean over the heads of its last
    layer. Members whose grid or class token is not the first one's are left out of it.

    Args:
        decoders: of the members, over the same words.
        layouts: what each sees of the features.
    """

    def __init__(self, decoders: Sequence[Decoder], layouts: Sequence[FeatureLayout]) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(decoders)
        self.layouts = layouts
        self.heads = sum(layout.has_layout_of(layouts[0]) for layout in layouts)
        self.longest = min(
            (own.longest for own in decoders if own.longest is not None), default=None
        )
        self.parallel = all(own.parallel for own in decoders)

    @property
    def _decoders(self) -> list[Decoder]:
        """The decoders by their type, which a ModuleList forgets."""
        return cast(list[Decoder], list(self.decoders))

    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Start every member on its own features."""
        states = [
            decoder.init_state(own)
            for decoder, own in zip(self._decoders, self._divide(features), strict=True)
        ]
        return DecoderState(
            memory=tuple(state.memory for state in states),
            past=tuple(state.past for state in states),
        )

    def step(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[Float[Tensor, "B K V"], DecoderState]:
        """Take the latest word of every hypothesis; return the scores of the next word."""
        logits, state = self._advance("step", words, state)
        return average_logits(logits), state

    def step_with_attention(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Do what `step` does; return a reading of these words, with attention."""
        outputs, state = self._advance("step_with_attention", words, state)
        return self._merge(outputs), state

    def _advance(
        self, method: str, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[list[Any], DecoderState]:
        """Advance every member by the same words."""
        found = [
            getattr(decoder, method)(words, DecoderState(*own))
            for decoder, *own in zip(self._decoders, state.memory, state.past, strict=True)
        ]
        pasts = tuple(after.past for _, after in found)
        return [own for own, _ in found], DecoderState(memory=state.memory, past=pasts)

    def forward(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> DecoderOutput:
        """Read K whole captions of each image, START first."""
        outputs = [
            decoder(own, words, with_attention=with_attention)
            for decoder, own in zip(self._decoders, self._divide(features), strict=True)
        ]
        return self._merge(outputs)

    def _merge(self, outputs: Sequence[DecoderOutput]) -> DecoderOutput:
        """Average the members' outputs."""
        looks = [
            output.attention[:, :, -1].mean(dim=2)  # (B, K, T, P)
            for output, layout in zip(outputs, self.layouts, strict=True)
            if output.attention is not None and layout.has_layout_of(self.layouts[0])
        ]
        return DecoderOutput(
            logits=average_logits([output.logits for output in outputs]),
            attention=torch.stack(looks, dim=2)[:, :, None] if looks else None,
        )

    def _divide(self, features: Float[Tensor, "B P D"]) -> list[Tensor]:
        """Split the features between the members."""
        parts = features.split([layout.rows for layout in self.layouts], dim=1)
        return [
            own[..., : layout.channels] for own, layout in zip(parts, self.layouts, strict=True)
        ]


def average_logits(logits: Sequence[Float[Tensor, "*rows V"]]) -> Float[Tensor, "*rows V"]:
    """Return the logarithm of the mean of several models' probabilities."""
    logs = torch.stack([own.float().log_softmax(dim=-1) for own in logits])
    return logs.logsumexp(dim=0) - math.log(len(logits))

"""Ensembles: an encoder and a decoder made of several.

The ensemble's features are those of all members side by side, (B, P, D), with P the sum of theirs
and D the widest; each member reads its own part. The state holds the members' states. So search
sees an ordinary decoder.
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
    """Layout of one member's features."""

    grid: tuple[int, int]
    """Rows and columns of regions."""
    channels: int
    """Feature channels."""
    context: int = 0
    """Feature rows before those of the regions."""

    @property
    def rows(self) -> int:
        """Number of feature rows."""
        return self.context + self.grid[0] * self.grid[1]

    def has_layout_of(self, other: "FeatureLayout") -> bool:
        """Whether attention weights of both mean the same, row by row."""
        return (self.grid, self.context) == (other.grid, other.context)


class EnsembleEncoder(nn.Module):
    """Encoders of the members, fed with the first one's input.

    Args:
        encoders: encoders of the members.
        preprocess: preprocessing of each; only colour normalisation may differ.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, encoders: Sequence[Encoder], preprocess: Sequence[PreprocessConfig]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.grid = encoders[0].grid
        """Grid of the first member, on which the others' attention is drawn."""
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
        """Return the features of all members side by side."""
        features = [
            encoder(pixels * scale + shift)
            for encoder, scale, shift in zip(self.encoders, self.scale, self.shift, strict=True)
        ]
        widest = max(layout.channels for layout in self.layouts)
        return torch.cat([F.pad(own, (0, widest - own.shape[-1])) for own in features], dim=1)


class EnsembleDecoder(Decoder):
    """Decoders of the members; the probability of a word is the mean over them.

    It is the arithmetic mean, as in the ensembles of Rennie et al. 2017 (arXiv:1612.00563): a word
    that one member is confident of stays likely. The geometric mean, an average of logits, would
    let every member veto every word.

    Attention has one layer with one head per member: the mean over the heads of its last layer.
    Members whose grid or class token differs from the first one's are omitted.

    Args:
        decoders: decoders of the members, with the same vocabulary.
        layouts: layout of each member's features.
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
        """The decoders with their type, which ModuleList does not keep."""
        return cast(list[Decoder], list(self.decoders))

    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Read each member's features; return the state before the first word."""
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
        """Read the latest words; return the logits of the next ones, and the next state."""
        logits, state = self._advance("step", words, state)
        return average_logits(logits), state

    def step_with_attention(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Read the latest words; return logits and attention (T = 1), and the next state."""
        outputs, state = self._advance("step_with_attention", words, state)
        return self._merge(outputs), state

    def _advance(
        self, method: str, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[list[Any], DecoderState]:
        """Step every member with the same words."""
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

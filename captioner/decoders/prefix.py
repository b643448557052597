"""Prefix decoder: one self-attention over the image's regions and the words that follow them.

Regions attend to regions only, so their keys and values depend on the image alone and are computed
once. Each word takes one softmax over regions and words, without copying the image for every
hypothesis.

Source: GIT, Wang et al. 2022, section 3.1 (arXiv:2205.14100).
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from captioner.decoders.attention import MultiHeadAttention, project_through_norms
from captioner.decoders.blocks import BlocksDecoder, Past
from captioner.decoders.contract import DecoderState
from captioner.decoders.output import DecoderOutput


class _Image(NamedTuple):
    """Keys and values of the regions, by layer."""

    keys: tuple[Float[Tensor, "B M P d"], ...]
    values: tuple[Float[Tensor, "B M P d"], ...]


class PrefixBlock(nn.Module):
    """Self-attention and feed-forward, each with a residual connection and a norm after it."""

    def __init__(
        self, *, width: int, heads: int, feedforward_width: int, dropout: float, eps: float
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width=width, heads=heads, dropout=dropout)
        self.self_norm = nn.LayerNorm(width, eps=eps)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward_width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_width, width),
        )
        self.feedforward_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def add(
        self, x: Float[Tensor, "*rows C"], read: Float[Tensor, "*rows C"]
    ) -> Float[Tensor, "*rows C"]:
        """Add the attended values to x, then apply the feed-forward part."""
        x = self.self_norm(x + self.dropout(read))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))

    def keys_and_values(
        self, x: Float[Tensor, "B K T C"]
    ) -> tuple[Float[Tensor, "B K M T d"], Float[Tensor, "B K M T d"]]:
        """Compute keys and values of the words."""
        keys, values = self.self_attention.keys_and_values(x.flatten(0, 1))
        return keys.unflatten(0, x.shape[:2]), values.unflatten(0, x.shape[:2])

    def read(
        self,
        x: Float[Tensor, "B K T C"],
        image: tuple[Float[Tensor, "B M P d"], Float[Tensor, "B M P d"]],
        words: tuple[Float[Tensor, "B K M S d"], Float[Tensor, "B K M S d"]],
        *,
        seen: Bool[Tensor, "T S"] | None = None,
    ) -> tuple[Float[Tensor, "B K T C"], Float[Tensor, "B K M T P"]]:
        """Attend to all regions and to the words in `seen`; also return the regions' weights."""
        attention, (image_keys, image_values) = self.self_attention, image
        queries = attention.split(attention.query(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        to_words = queries @ words[0].mT  # (B, K, M, T, S)
        if seen is not None:
            to_words = to_words.masked_fill(~seen, -torch.inf)
        to_image = queries @ image_keys[:, None].mT  # (B, K, M, T, P)
        scores = torch.cat([to_image, to_words], dim=-1) * queries.shape[-1] ** -0.5
        regions, others = scores.softmax(dim=-1).split(
            [image_keys.shape[2], words[0].shape[3]], dim=-1
        )
        read = regions @ image_values[:, None] + others @ words[1]  # (B, K, M, T, d)
        return attention.out(read.transpose(2, 3).flatten(3)), regions


class PrefixDecoder(BlocksDecoder):
    """Transformer over regions and words, with cached keys and values of both."""

    has_evidence = True

    def __init__(
        self,
        *,
        words: int,
        feature_dim: int,
        width: int,
        layers: int,
        heads: int,
        feedforward_width: int,
        dropout: float,
        max_positions: int,
        tie: bool,
        eps: float,
        bridge_eps: float,
    ) -> None:
        super().__init__(
            from_feature=nn.Sequential(
                nn.Linear(feature_dim, width), nn.LayerNorm(width, eps=bridge_eps)
            ),
            embedding_norm=nn.LayerNorm(width, eps=eps),
            words=words,
            width=width,
            layers=layers,
            heads=heads,
            dropout=dropout,
            max_positions=max_positions,
            tie=tie,
        )
        self.blocks = nn.ModuleList(
            PrefixBlock(
                width=width,
                heads=heads,
                feedforward_width=feedforward_width,
                dropout=dropout,
                eps=eps,
            )
            for _ in range(layers)
        )

    @property
    def _blocks(self) -> list[PrefixBlock]:
        """The blocks with their type, which ModuleList does not keep."""
        return cast(list[PrefixBlock], list(self.blocks))

    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Run the regions through all layers; return the state before the first word."""
        return DecoderState(memory=self._read_image(features), past=self.empty_past(features))

    def step_with_attention(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Read the latest words; return logits and attention (T = 1), and the next state."""
        image, past = _Image(*state.memory), Past(*state.past)
        x = self.embed(words[..., None], past.keys[0].shape[3])
        grown_keys, grown_values, attention = [], [], []
        for i, block in enumerate(self._blocks):
            keys, values = block.keys_and_values(x)
            keys = torch.cat([past.keys[i], keys], dim=3)
            values = torch.cat([past.values[i], values], dim=3)
            grown_keys.append(keys)
            grown_values.append(values)
            read, weights = block.read(x, (image.keys[i], image.values[i]), (keys, values))
            attention.append(weights)
            x = block.add(x, read)
        output = DecoderOutput(logits=self.words.logits(x), attention=torch.stack(attention, dim=2))
        grown = Past(keys=tuple(grown_keys), values=tuple(grown_values))
        return output, DecoderState(memory=state.memory, past=grown)

    def forward(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> DecoderOutput:
        """Read K whole captions of each image, START first."""
        image, x = self._read_image(features), self.embed(words, 0)
        length = words.shape[-1]
        seen = torch.ones(length, length, dtype=torch.bool, device=words.device).tril()
        attention = []
        for i, block in enumerate(self._blocks):
            own = block.keys_and_values(x)
            read, weights = block.read(x, (image.keys[i], image.values[i]), own, seen=seen)
            attention.append(weights)
            x = block.add(x, read)
        return DecoderOutput(
            logits=self.words.logits(x),
            attention=torch.stack(attention, dim=2) if with_attention else None,
        )

    def evidence(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B T"],
        attention: Float[Tensor, "B M T P"],
    ) -> Float[Tensor, "B T P"]:
        """Return contributions through the last layer's attention, without its feed-forward."""
        block, values = self._blocks[-1], self._read_image(features).values[-1]
        norms = [block.feedforward_norm, block.self_norm]
        directions = project_through_norms(norms, self.words.output_weights[words])
        return (attention * block.self_attention.project_values(directions, values)).sum(dim=1)

    def _read_image(self, features: Float[Tensor, "B P D"]) -> _Image:
        x = self.from_feature(features)
        all_keys, all_values = [], []
        for block in self._blocks:
            keys, values = block.self_attention.keys_and_values(x)
            all_keys.append(keys)
            all_values.append(values)
            if len(all_keys) < self.layers:  # behind the last one, nobody reads the regions
                x = block.add(x, block.self_attention(x, keys, values))
        return _Image(tuple(all_keys), tuple(all_values))

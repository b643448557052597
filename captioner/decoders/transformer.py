"""Transformer decoder: words attend to the words before them, then to the image regions."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captioner.decoders.attention import MultiHeadAttention, project_through_norms
from captioner.decoders.blocks import BlocksDecoder, Past
from captioner.decoders.contract import DecoderState
from captioner.decoders.output import DecoderOutput

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
}


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each with a residual connection and a norm.

    Source: Vaswani et al. 2017, section 3.1 (arXiv:1706.03762), which normalises the sum (`post`);
    with the norm inside the residual branch (`pre`), Xiong et al. 2020, section 3
    (arXiv:2002.04745).
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        feedforward_width: int,
        dropout: float,
        region_dim: int,
        norm: str,
        activation: str,
        eps: float,
    ) -> None:
        super().__init__()
        self.norms_first = norm == "pre"
        self.self_norm = nn.LayerNorm(width, eps=eps)
        self.self_attention = MultiHeadAttention(width=width, heads=heads, dropout=dropout)
        self.cross_norm = nn.LayerNorm(width, eps=eps)
        self.cross_attention = MultiHeadAttention(
            width=width, heads=heads, dropout=dropout, source_dim=region_dim
        )
        self.feedforward_norm = nn.LayerNorm(width, eps=eps)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward_width),
            _ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(feedforward_width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def read_words(
        self, x: Float[Tensor, "N T C"], *, with_weights: bool
    ) -> tuple[Float[Tensor, "N T C"], Float[Tensor, "N M T T"] | None]:
        """Attend from every word to itself and earlier words."""
        given = self.pre_norm(self.self_norm, x)
        keys, values = self.self_attention.keys_and_values(given)
        weights = self.self_attention.weights(given, keys, causal=True) if with_weights else None
        read = self.self_attention(given, keys, values, causal=True)
        return self._add(self.self_norm, x, read), weights

    def read_word(
        self,
        x: Float[Tensor, "N 1 C"],
        past_keys: Float[Tensor, "N M t d"],
        past_values: Float[Tensor, "N M t d"],
    ) -> tuple[Float[Tensor, "N 1 C"], Float[Tensor, "N M T d"], Float[Tensor, "N M T d"]]:
        """Attend from the latest word to all cached ones; also return the extended cache."""
        given = self.pre_norm(self.self_norm, x)
        keys, values = self.self_attention.keys_and_values(given)
        keys = torch.cat([past_keys, keys], dim=2)
        values = torch.cat([past_values, values], dim=2)
        read = self.self_attention(given, keys, values)
        return self._add(self.self_norm, x, read), keys, values

    def read_regions(
        self,
        x: Float[Tensor, "B Q C"],
        keys: Float[Tensor, "B M P d"],
        values: Float[Tensor, "B M P d"],
    ) -> Float[Tensor, "B Q C"]:
        """Attend to the regions from all words of an image, then apply the feed-forward part."""
        read = self.cross_attention(self.pre_norm(self.cross_norm, x), keys, values)
        return self._feed_forward(self._add(self.cross_norm, x, read))

    def read_regions_once(
        self,
        x: Float[Tensor, "B Q C"],
        regions: Float[Tensor, "B P D"],
        *,
        with_weights: bool,
    ) -> tuple[Float[Tensor, "B Q C"], Float[Tensor, "B M Q P"] | None]:
        """Do what `read_regions` does without projecting keys and values, which suits few words."""
        read, weights = self.cross_attention.attend_unprojected(
            self.pre_norm(self.cross_norm, x), regions, with_weights=with_weights
        )
        return self._feed_forward(self._add(self.cross_norm, x, read)), weights

    def pre_norm(self, norm: nn.Module, x: Float[Tensor, "*rows C"]) -> Float[Tensor, "*rows C"]:
        """Return the input of a sublayer: x, normalised first in a pre-norm block."""
        return norm(x) if self.norms_first else x

    def _add(
        self, norm: nn.Module, x: Float[Tensor, "*rows C"], part: Float[Tensor, "*rows C"]
    ) -> Float[Tensor, "*rows C"]:
        total = x + self.dropout(part)
        return total if self.norms_first else norm(total)

    def _feed_forward(self, x: Float[Tensor, "B Q C"]) -> Float[Tensor, "B Q C"]:
        norm = self.feedforward_norm
        return self._add(norm, x, self.feedforward(self.pre_norm(norm, x)))


class TransformerDecoder(BlocksDecoder):
    """Cross-attention Transformer decoder with cached keys and values."""

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
        positions: str,
        max_positions: int,
        tie: bool,
        norm: str,
        activation: str,
        eps: float,
        scaled_words: bool,
        embedding_norm: bool,
        bridge: str,
        head: bool,
    ) -> None:
        normed = partial(nn.LayerNorm, width, eps=eps)
        from_feature = nn.Sequential()
        if bridge != "none":
            from_feature.append(nn.Linear(feature_dim, width))
        if bridge == "linear_norm":
            from_feature.append(normed())
        super().__init__(
            from_feature=from_feature,
            embedding_norm=normed() if embedding_norm else nn.Identity(),
            words=words,
            width=width,
            layers=layers,
            heads=heads,
            dropout=dropout,
            max_positions=max_positions,
            tie=tie,
            positions=positions,
            scaled_words=scaled_words,
        )
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                feedforward_width=feedforward_width,
                dropout=dropout,
                region_dim=feature_dim if bridge == "none" else width,
                norm=norm,
                activation=activation,
                eps=eps,
            )
            for _ in range(layers)
        )
        self.norm = normed() if norm == "pre" else nn.Identity()
        self.has_evidence = not head
        self.head = nn.Sequential()
        if head:
            self.head = nn.Sequential(nn.Linear(width, width), _ACTIVATIONS[activation](), normed())

    @property
    def _blocks(self) -> list[Block]:
        """The blocks with their type, which ModuleList does not keep."""
        return cast(list[Block], list(self.blocks))

    def init_state(self, features: Float[Tensor, "B P D"]) -> DecoderState:
        """Map the regions to the decoder's width; return the state before the first word."""
        return DecoderState(memory=(self.from_feature(features),), past=self.empty_past(features))

    def step(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[Float[Tensor, "B K V"], DecoderState]:
        """Read the latest words; return the logits of the next ones, and the next state."""
        output, state = self._advance(words, state, with_attention=False)
        return output.logits[:, :, 0], state

    def step_with_attention(
        self, words: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Read the latest words; return logits and attention (T = 1), and the next state.

        The last axis of `between_words` has all words so far.
        """
        return self._advance(words, state, with_attention=True)

    def _advance(
        self, words: Int[Tensor, "B K"], state: DecoderState, *, with_attention: bool
    ) -> tuple[DecoderOutput, DecoderState]:
        (regions,), past = state.memory, Past(*state.past)
        position = past.keys[0].shape[3]
        x = self.embed(words[..., None], position)  # (B, K, 1, C)
        grown_keys, grown_values, attention, between_words = [], [], [], []
        for i, block in enumerate(self._blocks):
            y, keys, values = block.read_word(
                x.flatten(0, 1), past.keys[i].flatten(0, 1), past.values[i].flatten(0, 1)
            )
            grown_keys.append(keys.unflatten(0, words.shape))
            grown_values.append(values.unflatten(0, words.shape))
            if with_attention:
                between = block.self_attention.weights(
                    block.pre_norm(block.self_norm, x.flatten(0, 1)), keys
                )
                between_words.append(between.unflatten(0, words.shape))  # (B, K, M, 1, T)
            y, weights = block.read_regions_once(
                y.unflatten(0, words.shape)[:, :, 0],
                regions,
                with_weights=with_attention,
            )
            if weights is not None:
                attention.append(weights.transpose(1, 2)[..., None, :])  # (B, K, M, 1, P)
            x = y[:, :, None]
        grown = Past(keys=tuple(grown_keys), values=tuple(grown_values))
        output = DecoderOutput(
            logits=self.words.logits(self.head(self.norm(x))),
            attention=torch.stack(attention, dim=2) if with_attention else None,
            between_words=torch.stack(between_words, dim=2) if with_attention else None,
        )
        return output, DecoderState(memory=state.memory, past=grown)

    def forward(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> DecoderOutput:
        """Read K whole captions of each image, START first."""
        regions = self.from_feature(features)
        x = self.embed(words, 0)
        attention, between_words = [], []
        for block in self._blocks:
            y, weights = block.read_words(x.flatten(0, 1), with_weights=with_attention)
            if weights is not None:
                between_words.append(weights.unflatten(0, words.shape[:2]))  # (B, K, M, T, T)
            y = y.unflatten(0, words.shape[:2]).flatten(1, 2)  # (B, K*T, C)
            keys, values = block.cross_attention.keys_and_values(regions)
            if with_attention:
                weights = block.cross_attention.weights(block.pre_norm(block.cross_norm, y), keys)
                attention.append(weights.unflatten(2, words.shape[1:]))  # (B, M, K, T, P)
            y = block.read_regions(y, keys, values)
            x = y.unflatten(1, words.shape[1:])
        return DecoderOutput(
            logits=self.words.logits(self.head(self.norm(x))),
            attention=torch.stack(attention, dim=1).permute(0, 3, 1, 2, 4, 5)
            if with_attention
            else None,
            between_words=torch.stack(between_words, dim=2) if with_attention else None,
        )

    def evidence(
        self,
        features: Float[Tensor, "B P D"],
        words: Int[Tensor, "B T"],
        attention: Float[Tensor, "B M T P"],
    ) -> Float[Tensor, "B T P"] | None:
        """Return contributions through the last layer's attention, without its feed-forward.

        Returns:
            Contributions; None with a `head`, whose activation does not decompose.
        """
        if not self.has_evidence:
            return None
        block = self._blocks[-1]
        norms = [] if block.norms_first else [block.feedforward_norm, block.cross_norm]
        directions = project_through_norms([self.norm, *norms], self.words.output_weights[words])
        _, values = block.cross_attention.keys_and_values(self.from_feature(features))
        return (attention * block.cross_attention.project_values(directions, values)).sum(dim=1)

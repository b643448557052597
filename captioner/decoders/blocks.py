"""Shared by Transformer decoders: word and position embeddings, and the cache of keys and values.

The blocks themselves are the decoder's own.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from captioner.decoders.contract import Decoder
from captioner.decoders.words import WordTable


class Past(NamedTuple):
    """Keys and values of the words so far, by layer."""

    keys: tuple[Float[Tensor, "B K M T d"], ...]
    values: tuple[Float[Tensor, "B K M T d"], ...]


class BlocksDecoder(Decoder):
    """Decoder that reads all words of a caption at once.

    Args:
        from_feature: brings the features of regions to what the blocks read.
        embedding_norm: of the sum of word and position.
        words: ids of the vocabulary.
        width: channels of the state.
        layers: blocks.
        heads: of attention.
        dropout: of the words read.
        max_positions: tokens of the longest caption, START counted.
        tie: whether words are scored against the vectors by which they are read.
        positions: `learned` or `sinusoidal`.
        scaled_words: whether words are multiplied by sqrt(width).
    """

    parallel = True

    def __init__(
        self,
        *,
        from_feature: nn.Module,
        embedding_norm: nn.Module,
        words: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        max_positions: int,
        tie: bool,
        positions: str = "learned",
        scaled_words: bool = False,
    ) -> None:
        super().__init__()
        self.layers, self.heads, self.longest = layers, heads, max_positions - 1
        self.width = width
        self.from_feature = from_feature
        self.words = WordTable(words=words, width=width, tie=tie)
        # The table's vectors have length 1.
        self.word_scale = math.sqrt(width) if scaled_words else 1.0
        if positions == "learned":
            self.positions = nn.Parameter(torch.randn(max_positions, width) * 0.02)
        else:
            self.register_buffer("positions", sinusoids(max_positions, width), persistent=False)
        self.embedding_norm = embedding_norm
        self.dropout = nn.Dropout(dropout)

    def empty_past(self, features: Float[Tensor, "B P D"]) -> Past:
        """Return what is remembered of no words yet."""
        nothing = features.new_zeros(features.shape[0], 1, self.heads, 0, self.width // self.heads)
        return Past(keys=(nothing,) * self.layers, values=(nothing,) * self.layers)

    def embed(self, words: Int[Tensor, "B K T"], first_position: int) -> Float[Tensor, "B K T C"]:
        """Look words up, at the places from `first_position` on.

        Raises:
            ValueError: there is no such place.
        """
        last = first_position + words.shape[-1]
        if last > len(self.positions):
            raise ValueError(
                f"caption of {last} tokens; this decoder reads {len(self.positions)} at most."
            )
        x = self.words(words) * self.word_scale + self.positions[first_position:last]
        return self.dropout(self.embedding_norm(x))


def sinusoids(length: int, width: int) -> Float[Tensor, "length width"]:
    """Position vectors of Vaswani et al. 2017, section 3.5 (arXiv:1706.03762)."""
    angles = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10_000) / width)
    )
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]

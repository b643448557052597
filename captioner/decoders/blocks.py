"""Word and position embeddings, and the key-value cache, of all Transformer decoders."""

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
    """Base class of decoders that process all words of a caption in parallel.

    Args:
        from_feature: maps region features to the blocks' input.
        embedding_norm: normalises the sum of word and position embedding.
        words: vocabulary size.
        width: channels of the state.
        layers: number of blocks.
        heads: attention heads of each block.
        dropout: probability of dropping a channel of the embedded words.
        max_positions: longest caption in tokens, START counted.
        tie: whether the output layer shares the word embeddings.
        positions: `learned` or `sinusoidal`.
        scaled_words: whether word embeddings are multiplied by sqrt(width).
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
        """Return the cache before the first word."""
        nothing = features.new_zeros(features.shape[0], 1, self.heads, 0, self.width // self.heads)
        return Past(keys=(nothing,) * self.layers, values=(nothing,) * self.layers)

    def embed(self, words: Int[Tensor, "B K T"], first_position: int) -> Float[Tensor, "B K T C"]:
        """Embed words at consecutive positions, starting at `first_position`.

        Raises:
            ValueError: the caption is longer than `max_positions`.
        """
        last = first_position + words.shape[-1]
        if last > len(self.positions):
            raise ValueError(
                f"caption of {last} tokens; this decoder reads {len(self.positions)} at most."
            )
        x = self.words(words) * self.word_scale + self.positions[first_position:last]
        return self.dropout(self.embedding_norm(x))


def sinusoids(length: int, width: int) -> Float[Tensor, "length width"]:
    """Return sinusoidal position embeddings.

    Source: Vaswani et al. 2017, section 3.5 (arXiv:1706.03762).
    """
    angles = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10_000) / width)
    )
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]

"""Settings of the prefix decoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from captioner.decoders.settings import DecoderConfig
from captioner.errors import require


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(DecoderConfig):
    """Transformer that reads the image before the words (GIT, Wang et al. 2022, arXiv:2205.14100).

    One softmax weighs regions and words, so regions get the less attention the longer a caption is.
    """

    network: ClassVar[str] = "captioner.decoders.prefix:PrefixDecoder"

    kind: Literal["prefix"] = "prefix"
    width: int = 256
    """Channels of the decoder's state."""
    layers: int = 3
    """Blocks of self-attention and feed-forward."""
    heads: int = 4
    """Attention heads; they divide `width`."""
    feedforward_width: int = 1024
    """Hidden channels of the feed-forward part of a block."""
    dropout: float = 0.1
    """Probability of dropping a channel after each part of a block and of the words read."""
    max_positions: int = 64
    """Longest caption the decoder can read, in tokens, START counted."""
    tie: bool = True
    """Share the word table between input and output."""
    eps: float = 1e-5
    """Added to variances by the norms."""
    bridge_eps: float = 1e-5
    """The same, by the norm that features pass."""

    @property
    def longest(self) -> int | None:
        """Words of the longest caption: START takes a position too."""
        return self.max_positions - 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.width % self.heads == 0,
            f"decoder.width is {self.width} and decoder.heads is {self.heads}; "
            "heads must divide width.",
        )

"""Settings of the prefix decoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from captioner.decoders.settings import BlocksConfig


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(BlocksConfig):
    """Transformer that reads the image before the words (GIT, Wang et al. 2022, arXiv:2205.14100).

    One softmax weighs regions and words, so regions get the less attention the longer a caption is.
    """

    network: ClassVar[str] = "captioner.decoders.prefix:PrefixDecoder"

    kind: Literal["prefix"] = "prefix"
    max_positions: int = 64
    """Longest caption the decoder can read, in tokens, START counted."""
    tie: bool = True
    """Share the word table between input and output."""
    eps: float = 1e-5
    """Added to variances by the norms."""
    bridge_eps: float = 1e-5
    """The same, by the norm that features pass."""

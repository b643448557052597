"""Settings of the recurrent decoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from captioner.decoders.settings import DecoderConfig


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(DecoderConfig):
    """Soft-attention recurrent decoder (Xu et al. 2015, arXiv:1502.03044)."""

    network: ClassVar[str] = "captioner.decoders.recurrent:RecurrentDecoder"

    kind: Literal["lstm"] = "lstm"
    """Which decoder these settings belong to; so called with either cell."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Recurrent cell."""
    width: int = 512
    """Channels of the recurrent state."""
    embedding_dim: int = 256
    """Channels of a word; weight tying uses the same table on output."""
    attention: Literal["additive", "dot", "scaled_dot", "general"] = "additive"
    """How a region is scored against the state."""
    attention_width: int = 256
    """Channels in which features and state are compared."""
    dropout: float = 0.3
    """Probability of dropping a channel of the words read and of the output layer."""
    tie: bool = True
    """Share the word table between input and output."""

    @property
    def label(self) -> str:
        """`lstm` or `gru`."""
        return self.cell

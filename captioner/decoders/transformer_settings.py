"""Settings of the Transformer decoder."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from captioner.decoders.settings import BlocksConfig


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(BlocksConfig):
    """Transformer decoder with cross-attention (Vaswani et al. 2017, arXiv:1706.03762).

    The settings from `norm` on are those of decoders that others trained, such as BERT's and
    GPT-2's; a model of our own leaves them as they are.
    """

    network: ClassVar[str] = "captioner.decoders.transformer:TransformerDecoder"

    kind: Literal["transformer"] = "transformer"
    positions: Literal["learned", "sinusoidal"] = "learned"
    """How word order enters."""
    max_positions: int = 64
    """Longest caption the decoder can read, in tokens, START counted."""
    tie: bool = True
    """Share the word table between input and output."""
    norm: Literal["pre", "post"] = "pre"
    """Where each part of a block is normalised: before it, or after its sum with what went in."""
    activation: Literal["relu", "gelu", "gelu_tanh"] = "relu"
    """Of the feed-forward parts; `gelu_tanh` is the approximation that GPT-2 uses."""
    eps: float = 1e-5
    """Added to variances by the norms."""
    scaled_words: bool = True
    """Multiply the words read by sqrt(width), as in the paper."""
    embedding_norm: bool = False
    """Normalise the sum of word and position."""
    bridge: Literal["linear_norm", "linear", "none"] = "linear_norm"
    """What brings the features to `width`; with `none`, keys and values read them as they are."""
    head: bool = False
    """Transform the state by a layer, activation and norm before words are scored, as in BERT."""

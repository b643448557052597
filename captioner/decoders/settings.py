"""Settings of the decoders; importing them does not import torch."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from captioner.errors import require


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Settings of a decoder: the arguments of its network, except `words` and `feature_dim`.

    Integers are sizes of 1 or more; floats, such as dropout, are in [0, 1).
    """

    kind: str
    """Which decoder these settings belong to."""
    network: ClassVar[str]
    """The subclass of `captioner.decoders.contract.Decoder` they build, as `module:Class`."""

    layers = heads = 1
    """Of attention over the regions."""

    @property
    def label(self) -> str:
        """Name shown to users."""
        return self.kind

    @property
    def longest(self) -> int | None:
        """Longest caption in tokens, START and END not counted; None for no limit.

        If there is a limit, the setting `max_positions` gives it, START counted.
        """
        positions: int | None = getattr(self, "max_positions", None)
        return None if positions is None else positions - 1

    def __post_init__(self) -> None:
        check_sizes(self, where="decoder")


@dataclass(frozen=True, kw_only=True)
class BlocksConfig(DecoderConfig):
    """Settings shared by all Transformer decoders."""

    width: int = 256
    """Width of the hidden state."""
    layers: int = 3
    """Transformer blocks."""
    heads: int = 4
    """Attention heads; they divide `width`."""
    feedforward_width: int = 1024
    """Hidden width of the feed-forward layers."""
    dropout: float = 0.1
    """Dropout of the input embeddings and after each sublayer of a block."""

    max_positions: int = 64
    """Maximum length in tokens, with the start token."""
    tie: bool = True
    """Weight tying: input and output share the embedding table."""
    eps: float = 1e-5
    """Epsilon of the layer norms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self, where="decoder")


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(DecoderConfig):
    """Soft-attention recurrent decoder (Xu et al. 2015, arXiv:1502.03044)."""

    network: ClassVar[str] = "captioner.decoders.recurrent:RecurrentDecoder"

    kind: Literal["lstm"] = "lstm"
    """Which decoder these settings belong to, with either cell."""
    cell: Literal["lstm", "gru"] = "lstm"
    """Recurrent cell."""
    width: int = 512
    """Width of the recurrent state."""
    embedding_dim: int = 256
    """Width of the word embeddings."""
    attention: Literal["additive", "dot", "scaled_dot", "general"] = "additive"
    """Attention score between a region and the state."""
    attention_width: int = 256
    """Width of the space in which features and state are compared."""
    dropout: float = 0.3
    """Dropout of the word embeddings and before the output layer."""
    tie: bool = True
    """Weight tying: input and output share the embedding table."""

    @property
    def label(self) -> str:
        """`lstm` or `gru`."""
        return self.cell


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(BlocksConfig):
    """Transformer decoder with cross-attention (Vaswani et al. 2017, arXiv:1706.03762).

    The settings from `norm` on are those of decoders that others trained, such as BERT's and
    GPT-2's; a model of our own leaves them as they are.
    """

    network: ClassVar[str] = "captioner.decoders.transformer:TransformerDecoder"

    kind: Literal["transformer"] = "transformer"
    positions: Literal["learned", "sinusoidal"] = "learned"
    """Position embeddings."""
    norm: Literal["pre", "post"] = "pre"
    """Layer norm before each sublayer (pre), or after its residual sum (post)."""
    activation: Literal["relu", "gelu", "gelu_tanh"] = "relu"
    """Activation of the feed-forward layers; `gelu_tanh` is GPT-2's approximation."""
    scaled_words: bool = True
    """Multiply word embeddings by sqrt(width), as in the paper."""
    embedding_norm: bool = False
    """Layer norm on the sum of word and position embeddings."""
    bridge: Literal["linear_norm", "linear", "none"] = "linear_norm"
    """Projection of the features to `width`; with `none`, keys and values use them unchanged."""
    head: bool = False
    """Linear layer, activation and norm before the output layer, as in BERT."""


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(BlocksConfig):
    """Transformer that reads the image before the words (GIT, Wang et al. 2022, arXiv:2205.14100).

    One softmax weighs regions and words, so regions get the less attention the longer a caption is.
    """

    network: ClassVar[str] = "captioner.decoders.prefix:PrefixDecoder"

    kind: Literal["prefix"] = "prefix"
    bridge_eps: float = 1e-5
    """Epsilon of the norm on the features."""


def check_sizes(settings: Any, *, where: str) -> None:
    """Check that integers are 1 or more, and floats in [0, 1).

    Raises:
        ConfigError: a value is out of range; the message begins with `where`.
    """
    for setting in fields(settings):
        name, value = setting.name, getattr(settings, setting.name)
        if setting.type is int:
            require(value >= 1, f"{where}.{name} is {value}; it must be 1 or more.")
        elif setting.type is float:
            require(0 <= value < 1, f"{where}.{name} is {value}; it must be in [0, 1).")


def check_heads(settings: Any, *, where: str) -> None:
    """Check that `heads` divides `width`.

    Raises:
        ConfigError: it does not; the message begins with `where`.
    """
    require(
        settings.width % settings.heads == 0,
        f"{where}.width is {settings.width} and {where}.heads is {settings.heads}; heads must "
        "divide width.",
    )

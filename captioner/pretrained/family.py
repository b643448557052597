"""The result of reading a family's configuration, and readers that families share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from captioner.config import (
    AttentionConfig,
    EncoderConfig,
    ModelConfig,
    PreprocessConfig,
    SearchConfig,
)
from captioner.decoders import TransformerConfig
from captioner.errors import CheckpointError
from captioner.pretrained.configuration import Section
from captioner.pretrained.keys import Rule
from captioner.words.tokenizer import Tokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Statistics of CLIP's training images, which BLIP, GIT and others also use."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Vocabulary size and special ids from the configuration."""

    rows: int
    """Rows of the embedding table, which may exceed the number of tokens in the files."""
    start: int
    """Id of the start token."""
    end: int
    """Id of the end token."""
    pad: int
    """Id of the padding token."""
    then: tuple[int, ...] = ()
    """Ids that follow `start` in every caption."""
    added: dict[int, str] = field(default_factory=dict)
    """Tokens missing from the tokenizer files, by id."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Settings of a model, from its configuration."""

    model: ModelConfig
    vocabulary: Vocabulary
    photos: PreprocessConfig
    """Default preprocessing, used where no file sets it."""
    search: SearchConfig
    """Decoding settings of the published scores."""
    rules: tuple[Rule, ...]
    """Rules that rename its weights."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """Default attention maps."""
    any_size: bool = False
    """Whether the preprocessor file may set any input size."""
    finish: "Callable[[Family, Tokenizer], Family] | None" = None
    """Completes the settings that depend on the tokenizer."""


def read_vit(
    section: Section, backbone: str, *, size: int, activation: str = "gelu", eps: float = 1e-5
) -> tuple[EncoderConfig, int, int]:
    """Read the configuration of a Vision Transformer.

    Args:
        section: the encoder's configuration.
        backbone: timm's name of the same architecture, at any size.
        size: default input size in pixels.
        activation: the only supported activation.
        eps: default epsilon of the layer norms.

    Returns:
        Settings of the encoder, side of the square input in pixels, and feature channels.

    Raises:
        CheckpointError: the architecture is not supported.
    """
    section.require(hidden_act=activation, num_channels=3)
    width = section.count("hidden_size", 768, most=2**14)
    heads = section.count("num_attention_heads", 12, most=2**10)
    image = section.count("image_size", size, most=2**13)
    patch = section.count("patch_size", 16, most=image)
    if width % heads or image % patch:
        raise CheckpointError(
            f"{section.where}: {width} channels do not divide into {heads} heads, or photos of "
            f"{image} pixels into patches of {patch}."
        )
    options: dict[str, Any] = {
        "embed_dim": width,
        "depth": section.count("num_hidden_layers", 12, most=2**8),
        "num_heads": heads,
        "mlp_ratio": section.count("intermediate_size", 3072, most=2**16) / width,
        "patch_size": patch,
    }
    encoder = EncoderConfig(
        backbone=backbone,
        options=options,
        class_token=True,
        eps=section.fraction("layer_norm_eps", eps),
    )
    return encoder, image, width


def read_bert(
    section: Section,
    *,
    heads: int = 12,
    dropout: float = 0.1,
    bridge: Literal["linear", "none"] = "none",
) -> TransformerConfig:
    """Read the configuration of BERT as a decoder, with cross-attention in every layer.

    Args:
        section: the decoder's configuration.
        heads: default number of heads.
        dropout: default dropout.
        bridge: layer that maps features to the decoder's width.

    Raises:
        CheckpointError: the architecture is not supported.
    """
    section.require(hidden_act="gelu", position_embedding_type="absolute")
    return TransformerConfig(
        width=section.count("hidden_size", 768, most=2**14),
        layers=section.count("num_hidden_layers", 12, most=2**8),
        heads=section.count("num_attention_heads", heads, most=2**10),
        feedforward_width=section.count("intermediate_size", 3072, most=2**16),
        dropout=section.fraction("hidden_dropout_prob", dropout),
        max_positions=section.count("max_position_embeddings", 512),
        norm="post",
        activation="gelu",
        eps=section.fraction("layer_norm_eps", 1e-12),
        scaled_words=False,
        embedding_norm=True,
        bridge=bridge,
        head=True,
    )

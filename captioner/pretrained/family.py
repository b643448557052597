"""The common result of the families' readers, and parts that several share."""

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
"""Of the photos that CLIP was trained on; BLIP, GIT and others took them over."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The vocabulary, as the configuration describes it."""

    rows: int
    """Of the word table; more than there are words where some are no tokens of the files."""
    start: int
    """The id before every caption."""
    end: int
    """The id that finishes one."""
    pad: int
    """The id that fills up batches."""
    then: tuple[int, ...] = ()
    """Ids that follow `start` in every caption."""
    added: dict[int, str] = field(default_factory=dict)
    """Tokens that no file names, by id."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model, as its configuration describes it."""

    model: ModelConfig
    vocabulary: Vocabulary
    photos: PreprocessConfig
    """What the encoder is fed where no file says it."""
    search: SearchConfig
    """The decoding that published scores belong to."""
    rules: tuple[Rule, ...]
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """Which of its attention is shown."""
    any_size: bool = False
    """Whether the model reads photos of any size that its file of preprocessing gives."""
    finish: "Callable[[Family, Tokenizer], Family] | None" = None
    """What is known only with the words at hand."""


def read_vit(
    section: Section, backbone: str, *, size: int, activation: str = "gelu", eps: float = 1e-5
) -> tuple[EncoderConfig, int, int]:
    """Read the configuration of a Vision Transformer.

    Args:
        section: its table.
        backbone: timm's name for the same architecture at any size.
        size: default of the input, pixels.
        activation: the only one supported.
        eps: default epsilon of its layer norms.

    Returns:
        Settings of the encoder, height and width of the input in pixels, channels of a feature.

    Raises:
        CheckpointError: it is built in another way.
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
    """Read the configuration of BERT as a decoder, with attention to a photo in every layer.

    Args:
        section: its table.
        heads: default.
        dropout: default.
        bridge: maps features to its width.

    Raises:
        CheckpointError: it is built in another way.
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

"""The network: an encoder for region features, and a decoder that turns them into words.

Shapes: B images, K captions of each, P rows of features (gh*gw regions row by row from the top
left, and before them a class token where the encoder keeps it), D feature channels, C channels of a
decoder's state, L layers, M heads, d channels of a head, T words (START counted on input, END on
output), V words in the vocabulary, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from pkgutil import resolve_name
from typing import cast

from jaxtyping import Float, Int
from torch import Tensor, nn

from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig
from captioner.decoders import DecoderConfig
from captioner.decoders.contract import Decoder, DecoderState
from captioner.decoders.output import DecoderOutput
from captioner.model.encoder import Encoder
from captioner.model.ensemble import EnsembleDecoder, EnsembleEncoder
from captioner.model.florence import FlorenceEncoder
from captioner.model.modes import evaluating

__all__ = [
    "CaptionModel",
    "Decoder",
    "DecoderOutput",
    "DecoderState",
    "Encoder",
    "build_decoder",
    "build_model",
    "evaluating",
    "join_models",
]


class CaptionModel(nn.Module):
    """Encoder and decoder of one checkpoint, or of an ensemble."""

    def __init__(self, encoder: Encoder | EnsembleEncoder, decoder: Decoder) -> None:
        super().__init__()
        # Only inference meets an ensemble, and needs no more of it than of a single encoder.
        self.encoder = cast(Encoder, encoder)
        self.decoder = decoder

    def forward(
        self,
        pixels: Float[Tensor, "B 3 H W"],
        words: Int[Tensor, "B K T"],
        *,
        with_attention: bool = False,
    ) -> DecoderOutput:
        """Read K captions of each image; the image is encoded once for all of them."""
        return self.decoder(self.encoder(pixels), words, with_attention=with_attention)


def build_decoder(config: DecoderConfig, *, words: int, feature_dim: int) -> Decoder:
    """Build a decoder from its settings.

    Args:
        config: settings of the decoder.
        words: vocabulary size, special tokens included.
        feature_dim: channels of the encoder's features.
    """
    settings = asdict(config)
    del settings["kind"]
    return resolve_name(config.network)(words=words, feature_dim=feature_dim, **settings)


def build_model(
    config: ModelConfig,
    *,
    preprocess: PreprocessConfig,
    words: int,
    encoder_weights: Path | bool = False,
) -> CaptionModel:
    """Build a model with random weights, except for `encoder_weights`.

    Args:
        config: settings of encoder and decoder.
        preprocess: settings of the input, for its size.
        words: vocabulary size, special tokens included.
        encoder_weights: a safetensors file with the backbone's weights, or True for timm's hub.

    Raises:
        ConfigError: the settings do not form a model.
        CheckpointError: the encoder's weights do not fit.
    """
    encoder = _build_encoder(config.encoder, preprocess, weights=encoder_weights)
    decoder = build_decoder(config.decoder, words=words, feature_dim=encoder.feature_dim)
    return CaptionModel(encoder, decoder)


def _build_encoder(
    config: EncoderConfig, preprocess: PreprocessConfig, *, weights: Path | bool
) -> Encoder:
    size = (preprocess.height, preprocess.width)
    if config.task is not None:
        return FlorenceEncoder(
            config.backbone, options=config.options, size=size, task=config.task, weights=weights
        )
    return Encoder(
        config.backbone,
        options=config.options,
        size=size,
        levels=config.levels,
        class_token=config.class_token,
        eps=config.eps,
        weights=weights,
    )


def join_models(
    models: Sequence[CaptionModel], preprocess: Sequence[PreprocessConfig]
) -> CaptionModel:
    """Build an ensemble of models with the same vocabulary; weights are shared, not copied.

    Args:
        models: the members.
        preprocess: preprocessing of each; see `captioner.checkpoint.header.join_headers`.
    """
    encoder = EnsembleEncoder([model.encoder for model in models], preprocess)
    decoder = EnsembleDecoder([model.decoder for model in models], encoder.layouts)
    return CaptionModel(encoder, decoder)

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
        # Only what captions meets an ensemble, and that asks no more of it than of one encoder.
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
    """Build the decoder these settings describe, for a vocabulary and an encoder's channels."""
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
    """Build the network these settings describe, with random weights except for `encoder_weights`.

    Args:
        config: encoder and decoder.
        preprocess: gives the input size.
        words: size of the vocabulary, specials included.
        encoder_weights: a safetensors file with the backbone's weights, or True for timm's hub.
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
    """Build an ensemble over the same vocabulary; weights are shared, not copied.

    Args:
        models: from checkpoints.
        preprocess: what each is fed; see `captioner.checkpoint.header.join_headers`.
    """
    encoder = EnsembleEncoder([model.encoder for model in models], preprocess)
    decoder = EnsembleDecoder([model.decoder for model in models], encoder.layouts)
    return CaptionModel(encoder, decoder)

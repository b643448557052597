"""Decoders: write a caption word by word from the features of image regions.

Each kind is a settings class and the network it names. Callers use `settings.DecoderConfig` and
`contract.Decoder`, and never ask which decoder they have. docs/extending.md adds another.
"""

from captioner.decoders.settings import (
    DecoderConfig,
    PrefixConfig,
    RecurrentConfig,
    TransformerConfig,
)

__all__ = ["DECODERS", "DecoderConfig", "PrefixConfig", "RecurrentConfig", "TransformerConfig"]

DECODERS: dict[str, type[DecoderConfig]] = {
    RecurrentConfig.kind: RecurrentConfig,
    TransformerConfig.kind: TransformerConfig,
    PrefixConfig.kind: PrefixConfig,
}
"""Settings class of each kind of decoder, by its `decoder.kind` in tables and checkpoints."""

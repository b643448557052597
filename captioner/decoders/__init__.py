"""Decoders: what writes a caption, word by word, of the features of image regions.

Each kind is a class of settings, and beside it the network that they name.
What all say of themselves is `settings.DecoderConfig` and `contract.Decoder`; whoever has a decoder
asks these, never which one it is. docs/extending.md adds a third.
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
"""Settings of every kind of decoder, by what `decoder.kind` calls it in tables and checkpoints."""

"""Base settings of every decoder."""

from dataclasses import dataclass, fields
from typing import ClassVar

from captioner.errors import require


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Settings of a decoder: the arguments of its network, but for `words` and `feature_dim`.

    Whole numbers among them are sizes, 1 or more; others, such as dropout, are in [0, 1).
    """

    kind: str
    """Which decoder these settings belong to."""
    network: ClassVar[str]
    """The subclass of `captioner.decoders.contract.Decoder` they build, as `module:Class`."""

    layers = heads = 1
    """Of attention over the regions."""

    @property
    def label(self) -> str:
        """What people call such a decoder."""
        return self.kind

    @property
    def longest(self) -> int | None:
        """Words of the longest caption, START and END not counted; None: any.

        Where there is a limit, the setting `max_positions` gives it, START counted.
        """
        positions: int | None = getattr(self, "max_positions", None)
        return None if positions is None else positions - 1

    def __post_init__(self) -> None:
        for setting in fields(self):
            name, value = setting.name, getattr(self, setting.name)
            if setting.type is int:
                require(value >= 1, f"decoder.{name} is {value}; it must be 1 or more.")
            elif setting.type is float:
                require(0 <= value < 1, f"decoder.{name} is {value}; it must be in [0, 1).")


@dataclass(frozen=True, kw_only=True)
class BlocksConfig(DecoderConfig):
    """What the settings of all decoders made of blocks of attention say."""

    width: int = 256
    """Channels of the decoder's state."""
    layers: int = 3
    """Blocks, each of attention and a feed-forward part."""
    heads: int = 4
    """Attention heads; they divide `width`."""
    feedforward_width: int = 1024
    """Hidden channels of the feed-forward part of a block."""
    dropout: float = 0.1
    """Probability of dropping a channel after each part of a block and of the words read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.width % self.heads == 0,
            f"decoder.width is {self.width} and decoder.heads is {self.heads}; "
            "heads must divide width.",
        )

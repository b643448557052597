"""What the settings of every decoder say, before there is a network."""

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
        return None

    def __post_init__(self) -> None:
        for setting in fields(self):
            name, value = setting.name, getattr(self, setting.name)
            if setting.type is int:
                require(value >= 1, f"decoder.{name} is {value}; it must be 1 or more.")
            elif setting.type is float:
                require(0 <= value < 1, f"decoder.{name} is {value}; it must be in [0, 1).")

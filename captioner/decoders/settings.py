"""What the settings of every decoder say, before there is a network."""

from dataclasses import dataclass, fields
from typing import ClassVar

from captioner.errors import require


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Settings of a decoder: the arguments of its network, but for `words` and `feature_dim`.

    Every whole number among them is a size, 1 or more.
    """

    kind: str
    """Which decoder these settings belong to."""
    network: ClassVar[str]
    """The subclass of `captioner.decoders.contract.Decoder` they build, as `module:Class`."""

    @property
    def layers(self) -> int:
        """Layers of attention over the regions."""
        return 1

    @property
    def heads(self) -> int:
        """Heads of each layer."""
        return 1

    @property
    def longest(self) -> int | None:
        """Words of the longest caption, START and END not counted; None: any.

        Where there is a limit, the setting `max_positions` gives it, START counted.
        """
        return None

    def __post_init__(self) -> None:
        for setting in fields(self):
            if setting.type is int:
                value = getattr(self, setting.name)
                require(value >= 1, f"decoder.{setting.name} is {value}; it must be 1 or more.")

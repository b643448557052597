"""When a run ends before its time: too many photos fail, or its hours are over."""

import re
import time
from dataclasses import dataclass, field

from captioner.errors import ConfigError
from captioner.folder.stopping import LimitReached

_ENOUGH = 100
"""Photos that are tried before a share of them says anything."""


@dataclass
class Limits:
    """Counts what fails; the time runs from when it is made."""

    max_failures: int | None = None
    """How many photos may fail in this run."""
    max_share: float | None = None
    """Which share of them, once there are a hundred."""
    max_hours: float | None = None
    """How long it may take."""
    _tried: int = 0
    _failed: int = 0
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def parse(cls, failures: str | None, hours: float | None) -> "Limits":
        """Read `12` or `10%`, and hours.

        Raises:
            ConfigError: it is nothing of the kind.
        """
        if hours is not None and hours <= 0:
            raise ConfigError(f"--max-hours {hours:g}: give more than 0.")
        if failures is None:
            return cls(max_hours=hours)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%|(\d+)", failures, re.ASCII)
        if not found:
            raise ConfigError(f"--max-failures {failures}: give a number, or a share such as 10%.")
        if found[1]:
            return cls(max_share=float(found[1]) / 100, max_hours=hours)
        return cls(max_failures=int(found[2]), max_hours=hours)

    def count(self, *, failed: bool) -> None:
        """Take a photo that was tried into account."""
        self._tried += 1
        self._failed += failed

    def check(self) -> None:
        """End the run if it is over a limit; what is written stays.

        Raises:
            LimitReached: it is.
        """
        of = f"{self._failed} of {self._tried} photos failed, more than --max-failures"
        if self.max_failures is not None and self._failed > self.max_failures:
            raise LimitReached(f"{of} {self.max_failures}")
        share = self.max_share
        if share is not None and self._tried >= _ENOUGH and self._failed > share * self._tried:
            raise LimitReached(f"{of} {100 * share:g}%")
        if self.max_hours and time.monotonic() - self._began > 3600 * self.max_hours:
            raise LimitReached(f"--max-hours {self.max_hours:g} are over")

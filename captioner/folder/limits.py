"""Limits that stop a run early: too many failures, or too much time."""

import re
import time
from dataclasses import dataclass, field

from captioner.errors import ConfigError
from captioner.folder.stopping import LimitReached

_ENOUGH = 100
"""Photos to try before a failure rate is meaningful."""


@dataclass
class Limits:
    """Counts failures; the clock starts when it is created."""

    max_failures: int | None = None
    """Failures allowed in this run."""
    max_share: float | None = None
    """Failure rate allowed, from 0 to 1; checked after 100 photos."""
    max_hours: float | None = None
    """Hours the run may take."""
    _tried: int = 0
    _failed: int = 0
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def parse(cls, failures: str | None, hours: float | None) -> "Limits":
        """Parse `12` or `10%`, and hours.

        Raises:
            ConfigError: a value is malformed.
        """
        if hours is not None and not hours > 0:
            raise ConfigError(f"--max-hours {hours:g}: give more than 0.")
        if failures is None:
            return cls(max_hours=hours)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%|(\d+)", failures, re.ASCII)
        if not found:
            raise ConfigError(f"--max-failures {failures}: give a number, or a share such as 10%.")
        if found[1] and float(found[1]) > 100:
            raise ConfigError(f"--max-failures {failures}: give a share of 100% at most.")
        if found[1]:
            return cls(max_share=float(found[1]) / 100, max_hours=hours)
        return cls(max_failures=int(found[2]), max_hours=hours)

    def count(self, *, failed: bool) -> None:
        """Count a photo that was tried."""
        self._tried += 1
        self._failed += failed

    def check(self) -> None:
        """Stop the run if a limit is exceeded; committed work is kept.

        Raises:
            LimitReached: a limit is exceeded.
        """
        of = f"{self._failed} of {self._tried} photos failed, more than --max-failures"
        if self.max_failures is not None and self._failed > self.max_failures:
            raise LimitReached(f"{of} {self.max_failures}")
        share = self.max_share
        if share is not None and self._tried >= _ENOUGH and self._failed > share * self._tried:
            raise LimitReached(f"{of} {100 * share:g}%")
        if self.max_hours and time.monotonic() - self._began > 3600 * self.max_hours:
            raise LimitReached(f"--max-hours {self.max_hours:g} reached")

"""What the user is told while a run goes on: in words with a bar, or as JSON events."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

Style = Literal["text", "json", "quiet"]

_EVERY = 10.0
"""Seconds between two JSON events of progress."""


@dataclass
class Tally:
    """How the photos of a run ended; each counts once."""

    captioned: int = 0
    """Captioned in this run."""
    before: int = 0
    """Captioned by an earlier run."""
    skipped: int = 0
    """Left as they are, for a reason that was told."""
    failed: int = 0
    """Could not be captioned, in this run or an earlier one."""

    @property
    def total(self) -> int:
        """All photos met."""
        return self.captioned + self.before + self.skipped + self.failed

    def __str__(self) -> str:
        plural = "" if self.total == 1 else "s"
        return (
            f"{self.total} photo{plural}: {self.captioned} captioned, {self.before} captioned "
            f"before, {self.skipped} skipped, {self.failed} failed"
        )


class Progress:
    """Tells how a run goes, on standard error. `with` ends the bar.

    Args:
        style: `text` names failures and shows a bar on a terminal, if tqdm is installed; `json`
            writes events, one object a line; `quiet` names failures only.
    """

    def __init__(self, style: Style) -> None:
        self.tally = Tally()
        self._style = style
        self._bar: Any = None
        self._started = self._told = time.monotonic()

    @property
    def wants_total(self) -> bool:
        """Whether it is worth counting the photos beforehand, for the time that is left."""
        return self._style == "json" or (self._style == "text" and sys.stderr.isatty())

    def begin(self, total: int | None) -> None:
        """Start counting towards this many photos, if that is known."""
        if self._style == "json":
            self._event("begin", total=total)
        elif self._style == "text" and sys.stderr.isatty():
            try:
                from tqdm import tqdm  # noqa: PLC0415  # only if it is there
            except ImportError:
                return
            self._bar = tqdm(total=total, unit=" photos", smoothing=0.05)

    def failed(self, name: str, reason: str) -> None:
        """Name a photo that failed, and why."""
        self.tally.failed += 1
        if self._style == "json":
            self._event("failed", image=name, reason=reason)
        elif self._bar is not None:
            self._bar.write(f"captioner: {name}: {reason}", file=sys.stderr)
        else:
            print(f"captioner: {name}: {reason}", file=sys.stderr, flush=True)

    def skipped(self, name: str, reason: str) -> None:
        """Count a photo that is left as it is; only the JSON events name it."""
        self.tally.skipped += 1
        if self._style == "json":
            self._event("skipped", image=name, reason=reason)

    def advance(self) -> None:
        """Show the tally as it is now."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix(failed=self.tally.failed, refresh=False)
            self._bar.update(self.tally.total - self._bar.n)
        elif self._style == "json" and now - self._told > _EVERY:
            self._told = now
            self._event("progress", **self._numbers())

    def end(self, event: Literal["end", "interrupted"]) -> None:
        """Close the bar; JSON events end with the tally."""
        self.__exit__()
        if self._style == "json":
            self._event(event, **self._numbers())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _numbers(self) -> dict[str, Any]:
        seconds = time.monotonic() - self._started
        return {**asdict(self.tally), "seconds": round(seconds, 3)}

    @staticmethod
    def _event(event: str, **values: Any) -> None:
        print(json.dumps({"event": event, **values}), file=sys.stderr, flush=True)

"""What the user is told while a run goes on: in words with a bar, or as JSON events."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from captioner.interchange import portable

Style = Literal["text", "json", "quiet"]

_EVERY = 10.0
"""Seconds between two JSON events of progress."""
_NAMED = 5
"""Names of folders on one line."""
VERSION = 1
"""Of the JSON events: counts the changes that a program which reads them would misunderstand."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
        self.passed_over: Collection[str] = ()
        """Folders that are not looked into, as far as they came by."""
        self._style = style
        self._bar: Any = None
        self._first_skipped: tuple[str, str] | None = None
        self._started = self._told = time.monotonic()
        self._total: int | None = None

    @property
    def wants_total(self) -> bool:
        """Whether it is worth counting the photos beforehand, for the time that is left."""
        return self._style == "json" or (self._style == "text" and sys.stderr.isatty())

    def begin(self, total: int | None) -> None:
        """Start counting towards this many photos, if that is known."""
        self._total = total
        if self._style == "json":
            self._event("begin", version=VERSION, total=total)
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
            self._bar.write(f"captioner: {one_line(name)}: {reason}", file=sys.stderr)
        else:
            _say(f"captioner: {one_line(name)}: {reason}")

    def skipped(self, name: str, reason: str) -> None:
        """Count a photo that is left as it is; JSON events name each, the text ends with one."""
        self.tally.skipped += 1
        self._first_skipped = self._first_skipped or (name, reason)
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
        """Close the bar, and say why photos were skipped; JSON events end with the tally."""
        self.__exit__()
        self.name_passed_over()
        if self._style == "json":
            names = Counter(map(_own_name, sorted(self.passed_over)))
            self._event(event, **self._numbers(), passed_over=dict(names))
        elif self._style == "text" and self._first_skipped is not None:
            name, reason = self._first_skipped
            others = self.tally.skipped - 1
            more = f"; and {others} more, which --dry-run names" if others else ""
            _say(f"captioner: {one_line(name)} is skipped: {reason}{more}.")

    def name_passed_over(self) -> None:
        """Name the folders that were not looked into, those of one name together."""
        if not self.passed_over or self._style != "text":
            return
        names = Counter(map(_own_name, sorted(self.passed_over)))
        named = [
            f"{one_line(name)} ({times} times)" if times > 1 else one_line(name)
            for name, times in names.most_common(_NAMED)
        ]
        rest = len(names) - len(named)
        more = f" and {rest} other names" if rest else ""
        plural = "" if len(self.passed_over) == 1 else "s"
        _say(
            f"captioner: {len(self.passed_over)} folder{plural} passed over: {', '.join(named)}"
            f"{more}; --hidden takes the photos in them, too."
        )

    def error(self, message: str) -> None:
        """Say why the run ends before its time, as a JSON event."""
        self._event("error", message=message, **self._numbers())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _numbers(self) -> dict[str, Any]:
        """The tally, seconds, photos a second and, where it is known, the seconds that are left."""
        seconds = time.monotonic() - self._started
        rate = (self.tally.captioned + self.tally.failed) / seconds if seconds else 0.0
        left = 0 if self._total is None else max(0, self._total - self.tally.total)
        known = self._total is not None and (rate or not left)
        return {
            **asdict(self.tally),
            "seconds": round(seconds, 3),
            "rate": round(rate, 2),
            "remaining": round(left / (rate or 1)) if known else None,
        }

    @staticmethod
    def _event(event: str, **values: Any) -> None:
        _say(json.dumps(portable({"event": event, **values})))


def _own_name(folder: str) -> str:
    return folder.rpartition("/")[2]


def _say(line: str) -> None:
    """Write a line to standard error; if that is a log on a full disk, the run goes on without."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def one_line(name: str) -> str:
    """Name a file on one line: what would break it, or steer a terminal, is escaped."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], name)

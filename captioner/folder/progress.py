"""Progress of a run on standard error: a bar and messages, or JSON events."""

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
"""Seconds between two `progress` events."""
_NAMED = 5
"""Folder names listed in the summary."""
VERSION = 1
"""Version of the JSON events; incremented when a change would break programs that read them."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass
class Tally:
    """Outcomes of a run's photos; each photo counts once."""

    captioned: int = 0
    """Captioned in this run."""
    before: int = 0
    """Captioned by an earlier run."""
    skipped: int = 0
    """Skipped, with a reason that was reported."""
    failed: int = 0
    """Failed, in this run or an earlier one."""

    @property
    def total(self) -> int:
        """All photos found."""
        return self.captioned + self.before + self.skipped + self.failed

    def __str__(self) -> str:
        plural = "" if self.total == 1 else "s"
        return (
            f"{self.total} photo{plural}: {self.captioned} captioned, {self.before} already "
            f"captioned, {self.skipped} skipped, {self.failed} failed"
        )


class Progress:
    """Reports the progress of a run on standard error. As a context manager, closes the bar.

    Args:
        style: `text` reports failures and shows a bar on a terminal, if tqdm is installed;
            `json` writes events, one object per line; `quiet` reports failures only.
    """

    def __init__(self, style: Style) -> None:
        self.tally = Tally()
        self.skipped_folders: Collection[str] = ()
        """Folders that were not searched."""
        self._style = style
        self._bar: Any = None
        self._first_skipped: tuple[str, str] | None = None
        self._started = self._told = time.monotonic()
        self._total: int | None = None

    @property
    def wants_total(self) -> bool:
        """Whether to count the photos beforehand, to show the remaining time."""
        return self._style == "json" or (self._style == "text" and sys.stderr.isatty())

    def begin(self, total: int | None) -> None:
        """Start the bar; `total` is the number of photos, if known."""
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
        """Report a failed photo and the reason."""
        self.tally.failed += 1
        if self._style == "json":
            self._event("failed", image=name, reason=reason)
        elif self._bar is not None:
            self._bar.write(f"captioner: {one_line(name)}: {reason}", file=sys.stderr)
        else:
            _say(f"captioner: {one_line(name)}: {reason}")

    def skipped(self, name: str, reason: str) -> None:
        """Count a skipped photo; JSON reports each one, the text summary only the first."""
        self.tally.skipped += 1
        self._first_skipped = self._first_skipped or (name, reason)
        if self._style == "json":
            self._event("skipped", image=name, reason=reason)

    def advance(self) -> None:
        """Update the bar, or emit a `progress` event if one is due."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix(failed=self.tally.failed, refresh=False)
            self._bar.update(self.tally.total - self._bar.n)
        elif self._style == "json" and now - self._told > _EVERY:
            self._told = now
            self._event("progress", **self._numbers())

    def end(self, event: Literal["end", "interrupted"]) -> None:
        """Close the bar and summarise what was skipped; JSON ends with the tally."""
        self.__exit__()
        self.name_skipped_folders()
        if self._style == "json":
            names = Counter(map(_own_name, sorted(self.skipped_folders)))
            self._event(event, **self._numbers(), skipped_folders=dict(names))
        elif self._style == "text" and self._first_skipped is not None:
            name, reason = self._first_skipped
            others = self.tally.skipped - 1
            more = f"; and {others} more (--dry-run lists them)" if others else ""
            _say(f"captioner: skipped {one_line(name)}: {reason}{more}.")

    def name_skipped_folders(self) -> None:
        """List the folders that were not searched, grouped by name."""
        if not self.skipped_folders or self._style != "text":
            return
        names = Counter(map(_own_name, sorted(self.skipped_folders)))
        named = [
            f"{one_line(name)} ({times} times)" if times > 1 else one_line(name)
            for name, times in names.most_common(_NAMED)
        ]
        rest = len(names) - len(named)
        more = f" and {rest} other names" if rest else ""
        plural = "" if len(self.skipped_folders) == 1 else "s"
        _say(
            f"captioner: skipped {len(self.skipped_folders)} system folder{plural}: "
            f"{', '.join(named)}{more}; use --hidden to include their photos."
        )

    def error(self, message: str) -> None:
        """Emit a JSON event that says why the run failed."""
        self._event("error", message=message, **self._numbers())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _numbers(self) -> dict[str, Any]:
        """Return the tally, seconds, photos per second and, if known, the remaining seconds."""
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
    """Print a line to standard error; a log on a full disk does not stop the run."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def one_line(name: str) -> str:
    """Escape control characters in a file name: they would break the line or steer a terminal."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], name)

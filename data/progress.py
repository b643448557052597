"""Progress of long loops: a bar in a terminal, a line every minute in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LOG_SECONDS = 60.0
"""Interval between two lines without a terminal."""


def progress_bar(
    items: Iterable[Item],
    *,
    title: str,
    total: int | None = None,
    unit: str = "batches",
    quiet: bool = False,
) -> Iterator[Item]:
    """Yield the items, and show progress on standard error.

    Args:
        items: the items.
        title: name of the work, such as "validation".
        total: number of items; None takes their length, if they have one.
        unit: name of the items, in the plural.
        quiet: show nothing, such as on all ranks but the first.
    """
    hidden = True if quiet else None  # None: hidden without a terminal
    bar = tqdm(items, desc=title, total=total, unit=f" {unit}", leave=False, disable=hidden)
    started = logged = time.monotonic()
    for done, item in enumerate(bar, start=1):
        yield item
        now = time.monotonic()
        if bar.disable and not quiet and now - logged >= LOG_SECONDS:
            line = f"{title}: {done} {unit}"
            if bar.total:
                left = duration((now - started) * (bar.total - done) / done)
                line = f"{title}: {done} of {bar.total} {unit}, {left} left"
            print(line, file=sys.stderr)
            logged = now


def duration(seconds: float) -> str:
    """Format a duration: `70 s`, `12 min`, `3 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"

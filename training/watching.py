"""How far something has come: a bar in a terminal, and a line every minute in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LOG_SECONDS = 60.0
"""Between two lines, where there is no terminal."""


def watched(
    items: Iterable[Item],
    *,
    title: str,
    total: int | None = None,
    unit: str = "batch",
    quiet: bool = False,
) -> Iterator[Item]:
    """Yield these, and say on standard error how far it is.

    Args:
        items: to go through.
        title: what is done with them.
        total: how many there are, if they do not say themselves.
        unit: what one is called.
        quiet: say nothing, as where another process does.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    shown = tqdm(items, desc=title, total=total, unit=unit, leave=False, disable=quiet or None)
    started = said = time.monotonic()
    for done, item in enumerate(shown, start=1):
        yield item
        now = time.monotonic()
        if shown.disable and not quiet and now - said >= LOG_SECONDS:
            left = duration((now - started) * ((total or done) - done) / done)
            print(f"{title}: {done} of {total}, {left} left", file=sys.stderr, flush=True)
            said = now


def duration(seconds: float) -> str:
    """Say how long that is: `70 s`, `12 min`, `3 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"

"""Graceful shutdown on Ctrl-C, a scheduler's SIGTERM, or a terminal that closes.

The first signal abandons the current batch and finishes cleanly; the second kills the process,
which loses no committed work either.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        """Exit status, 128 plus the signal's number as shells report it."""
        self.why = "interrupted"
        """The reason, for messages."""


class LimitReached(Stopped):
    """A limit set by the user stops the run gracefully."""

    def __init__(self, why: str) -> None:
        super().__init__(0)
        self.status = 3
        self.why = why


@contextmanager
def graceful_shutdown() -> Iterator[None]:
    """Raise Stopped on the first signal; the second kills. Ignored signals (nohup) stay ignored."""
    usual = (signal.SIG_DFL, signal.default_int_handler)
    taken = {number: old for number, old in _handlers().items() if old in usual}

    def stop(number: int, _: FrameType | None) -> None:
        _set(dict.fromkeys(taken, signal.SIG_DFL))
        raise Stopped(number)

    try:
        _set(dict.fromkeys(taken, stop))
        yield
    finally:
        _set(taken)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer the first signal until the block ends; the second kills.

    Keeps the counts in step with the disk. Signals whose default action is to kill are left alone,
    and outside the main thread, which receives all signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = {number: old for number, old in _handlers().items() if callable(old)}
    held_back: list[int] = []

    def hold_back(number: int, _: FrameType | None) -> None:
        _set(dict.fromkeys(taken, signal.SIG_DFL))
        held_back.append(number)

    try:
        _set(dict.fromkeys(taken, hold_back))
        yield
    finally:
        _set(taken)
        for number in held_back:
            taken[number](number, None)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _set(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)

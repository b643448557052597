"""Stopping a run: Ctrl-C, a scheduler's SIGTERM, a terminal that closes.

The first signal drops the work in hand and puts what is done in order; the second kills the
process, which loses no work either.
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
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        """Exit status by which a shell reports it."""
        self.why = "interrupted"
        """In words."""


class LimitReached(Stopped):
    """A limit that the user gave ends the run in order."""

    def __init__(self, why: str) -> None:
        super().__init__(0)
        self.status = 3
        self.why = why


@contextmanager
def stopping_gently() -> Iterator[None]:
    """Raise Stopped at the first signal that is not ignored, as under nohup; the second kills."""
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
def uninterrupted() -> Iterator[None]:
    """Hold the first signal back until this is done; the second kills.

    What is on disk and what is counted would differ if a signal came between the two. Signals that
    kill at once anyway are left alone, and so are threads that receive none.
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

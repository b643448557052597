"""Being told to end: by Ctrl-C, by a scheduler, by systemd, by a terminal that closes.

The first time, work in hand is dropped and what is done is put in order. The second time, the
process dies there and then; where dying loses no work, neither does that.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """The program is told to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        """What the shell reports of a program ended so."""


@contextmanager
def stopping_gently() -> Iterator[None]:
    """Raise Stopped when told to end, unless that is ignored, as with nohup; once, then die."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    taken = {number: handler for number, handler in before.items() if handler in usual}

    def stop(number: int, _: FrameType | None) -> None:
        for other in taken:
            signal.signal(other, signal.SIG_DFL)
        raise Stopped(number)

    try:
        for number in taken:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)

"""What a journal was begun with, and the lock on it: `captions.run.json` beside `captions.jsonl`.

One file is both, since a lock belongs to a file that is never replaced by another.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioner.durable import explained, sync
from captioner.errors import CaptionerError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_FORMAT = 1
"""Counts the changes of journals that older programs would misread."""


class RunFile:
    """Settings of a run, and its lock.

    Args:
        journal: the file they belong to.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.path = journal.with_suffix(".run.json")
        self._file = -1

    def lock(self) -> None:
        """Keep every other run away until `unlock`, or until this process ends however it ends.

        Raises:
            CaptionerError: another run holds it, or the file system knows no locks.
        """
        with explained(self.path, option="--output"):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(self._file)
        except BlockingIOError:
            self.unlock()
            raise CaptionerError(
                f"{self.journal}: another run is writing to it; wait for it, or choose another "
                "--output."
            ) from None
        except OSError as error:
            self.unlock()
            raise CaptionerError(
                f"{self.path}: cannot be locked ({error.strerror}), so two runs could spoil each "
                "other's work; choose an --output on a local disk."
            ) from error

    def unlock(self) -> None:
        """Let other runs in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def known(self) -> bool:
        """Whether there are settings, so that the journal is one of ours."""
        return self.read() is not None

    def write(self, settings: dict[str, Any]) -> None:
        """Write the settings, on disk when this returns; only while the journal holds nothing.

        Raises:
            OSError: they cannot be written.
        """
        content = json.dumps({"format": _FORMAT, "settings": settings}, indent=2).encode() + b"\n"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content, 0)
        sync(self._file)

    def check(self, settings: dict[str, Any]) -> None:
        """Compare the settings with those that the journal was begun with.

        Raises:
            CaptionerError: they differ, and the text says in what.
        """
        begun = self.read()
        if begun is None:
            raise CaptionerError(
                f"{self.path}: does not say how the captions were made; put it back as it was, "
                "choose another --output, or begin again with --overwrite."
            )
        old, new = dict(_flat(begun)), dict(_flat(settings))
        changes = [
            f"{name} was {_show(old.get(name))} and is now {_show(new.get(name))}"
            for name in {**old, **new}
            # Of searches, older programs wrote down what does nothing, too.
            if name in new or not name.startswith("search.")
            # A setting that an older program did not have was off.
            if old.get(name, new.get(name) or None) != new.get(name)
        ]
        if changes:
            raise CaptionerError(
                f"{self.journal}: was begun with other settings: {'; '.join(changes)}. Give the "
                "old ones to go on, choose another --output, or begin it again with --overwrite."
            )

    def read(self) -> dict[str, Any] | None:
        """Return the settings; None if there are none, or they are damaged.

        Raises:
            CaptionerError: another version of this program wrote them.
        """
        try:
            table = json.loads(self.path.read_bytes())
            settings = table["settings"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if table.get("format") != _FORMAT:
            raise CaptionerError(
                f"{self.path}: written by another version of captioner; upgrade it, choose another "
                "--output, or begin it again with --overwrite."
            )
        return settings if isinstance(settings, dict) else None


def _lock(file: int) -> None:
    """Take the lock or raise BlockingIOError."""
    if sys.platform == "win32":
        os.lseek(file, 1 << 30, os.SEEK_SET)  # Windows locks bytes, and forbids reading them
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _show(value: Any) -> str:
    return "not there" if value is None else json.dumps(value, ensure_ascii=False)

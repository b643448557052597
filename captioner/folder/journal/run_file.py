"""Settings and lock of a journal: `captions.run.json` beside `captions.jsonl`.

One file serves as both: a lock needs a file that is never replaced, and this one is not.
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
"""Version of the journal format; incremented when older versions would misread it."""


class RunFile:
    """Settings of a run, and the lock that it holds.

    Args:
        journal: path of the journal.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.path = journal.with_suffix(".run.json")
        self._file = -1

    def lock(self) -> None:
        """Lock out other runs until `unlock`, or until this process exits or crashes.

        Raises:
            CaptionerError: another run holds the lock, or the file system has no locks.
        """
        with explained(self.path, option="--output"):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(self._file)
        except BlockingIOError:
            self.unlock()
            raise CaptionerError(
                f"{self.journal}: in use by another run; wait for it to finish, or choose another "
                "--output."
            ) from None
        except OSError as error:
            self.unlock()
            raise CaptionerError(
                f"{self.path}: cannot be locked ({error.strerror}), so two runs could overwrite "
                "each other's work; choose an --output on a local disk."
            ) from error

    def unlock(self) -> None:
        """Release the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, settings: dict[str, Any]) -> None:
        """Write the settings and fsync them; only while the journal is empty.

        Raises:
            OSError: the file cannot be written.
        """
        content = json.dumps({"format": _FORMAT, "settings": settings}, indent=2).encode() + b"\n"
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content, 0)
        sync(self._file)

    def check(self, settings: dict[str, Any]) -> None:
        """Compare the settings with those that the journal was created with.

        Raises:
            CaptionerError: they differ; the message lists the differences.
        """
        begun = self.read()
        if begun is None:
            raise CaptionerError(
                f"{self.path}: missing or damaged, so the settings of {self.journal.name} are "
                "unknown; restore it, choose another --output, or start over with --overwrite."
            )
        old, new = dict(_flat(begun)), dict(_flat(settings))
        changes = [
            f"{name} was {_show(old.get(name))} and is now {_show(new.get(name))}"
            for name in {**old, **new}
            # Older versions also recorded decoding settings without effect.
            if name in new or not name.startswith("search.")
            # Settings that an older version did not have were off.
            if old.get(name, new.get(name) or None) != new.get(name)
        ]
        if changes:
            raise CaptionerError(
                f"{self.journal}: was created with other settings: {'; '.join(changes)}. Use the "
                "old settings to resume, choose another --output, or start over with --overwrite."
            )

    def read(self) -> dict[str, Any] | None:
        """Return the settings; None if they are missing or damaged.

        Raises:
            CaptionerError: an incompatible version of captioner wrote them.
        """
        try:
            table = json.loads(self.path.read_bytes())
            settings = table["settings"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if table.get("format") != _FORMAT:
            raise CaptionerError(
                f"{self.path}: written by another version of captioner; upgrade captioner, choose "
                "another --output, or start over with --overwrite."
            )
        return settings if isinstance(settings, dict) else None


def _lock(file: int) -> None:
    """Take the lock, or raise BlockingIOError."""
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
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)

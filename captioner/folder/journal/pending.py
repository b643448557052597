"""The write-ahead log of a batch: if a run is killed, the next run replays it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from captioner.durable import explained, replace_file, sync_folder
from captioner.errors import CaptionerError
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sidecars import SIDECARS
from captioner.folder.sidecars.changes import Change
from captioner.folder.sidecars.contract import Note


@dataclass(frozen=True, kw_only=True)
class PendingEntry:
    """Everything to write for one photo."""

    record: JournalRecord
    changes: tuple[Change, ...] = ()
    before: JournalRecord | None = None
    """The photo's earlier record, which stays if a change fails."""


class Pending:
    """`captions.pending.json` beside `captions.jsonl`.

    Args:
        journal: path of the journal.
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_suffix(".pending.json")

    def write(self, entries: Sequence[PendingEntry]) -> None:
        """Write the log and fsync it.

        Raises:
            CaptionerError: the file cannot be written.
        """
        content = json.dumps([self._pack(entry) for entry in entries]).encode()
        with explained(self.path, option="--output"):
            replace_file(self.path, content)
            sync_folder(self.path.parent)

    def read(self) -> list[PendingEntry]:
        """Return the logged entries; empty if there is no log.

        Raises:
            CaptionerError: the log is damaged.
        """
        try:
            return [self._unpack(table) for table in json.loads(self.path.read_bytes())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CaptionerError(
                f"{self.path}: damaged, so the last batch of an interrupted run is unknown; delete "
                "the file to continue: those photos are captioned again."
            ) from None

    def _pack(self, entry: PendingEntry) -> dict[str, Any]:
        """Convert an entry to plain values, with paths relative to the journal."""
        return {
            "record": entry.record.to_dict(),
            "before": entry.before and entry.before.to_dict(),
            "changes": [
                asdict(replace(change, path=self._seen_from_here(change.path)))
                for change in entry.changes
            ],
        }

    def _unpack(self, table: Any) -> PendingEntry:
        """Convert plain values to an entry.

        Raises:
            ValueError, TypeError, KeyError: the values are not an entry.
        """
        here = os.path.realpath(self.path.parent)
        changes = [
            Change(**{**change, "note": Note(**change["note"])}) for change in table["changes"]
        ]
        if any(change.kind not in SIDECARS for change in changes):
            raise ValueError(f"not a change: {changes}")
        return PendingEntry(
            record=JournalRecord.from_dict(table["record"]),
            before=table["before"] and JournalRecord.from_dict(table["before"]),
            changes=tuple(
                replace(change, path=os.path.join(here, change.path)) for change in changes
            ),
        )

    def _seen_from_here(self, path: str) -> str:
        """Return a path relative to the journal's folder."""
        folder, name = os.path.split(path)
        whole = os.path.join(os.path.realpath(folder), name)
        try:
            return os.path.relpath(whole, os.path.realpath(self.path.parent))
        except ValueError:  # on another drive
            return whole

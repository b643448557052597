"""The batch that is being written, so that a run killed meanwhile is completed by the next."""

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
    """What is to be written about one photo."""

    record: JournalRecord
    changes: tuple[Change, ...] = ()
    before: JournalRecord | None = None
    """What is known of it already, which stays if a change cannot be made."""


class Pending:
    """`captions.pending.json` beside `captions.jsonl`.

    Args:
        journal: the file it lies beside.
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_suffix(".pending.json")

    def exists(self) -> bool:
        """Whether a batch is being written, or was when a run was killed."""
        return self.path.exists()

    def remove(self) -> None:
        """Say that there is none.

        Raises:
            OSError: it cannot be deleted.
        """
        self.path.unlink(missing_ok=True)

    def write(self, entries: Sequence[PendingEntry]) -> None:
        """Say what is going to be written; it is on disk when this returns.

        Raises:
            CaptionerError: it cannot be written.
        """
        content = json.dumps([self._pack(entry) for entry in entries]).encode()
        with explained(self.path, option="--output"):
            replace_file(self.path, content)
            sync_folder(self.path.parent)

    def read(self) -> list[PendingEntry]:
        """Return what was going to be written: nothing if there is no such file.

        Raises:
            CaptionerError: it is damaged.
        """
        try:
            return [self._unpack(table) for table in json.loads(self.path.read_bytes())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError, RecursionError):
            raise CaptionerError(
                f"{self.path}: is damaged, so it is not known which photos a run that was killed "
                "was writing about; delete it to go on: they are captioned anew."
            ) from None

    def _pack(self, entry: PendingEntry) -> dict[str, Any]:
        """Turn an entry into plain values that stay true when journal and photos move together."""
        return {
            "record": entry.record.to_dict(),
            "before": entry.before and entry.before.to_dict(),
            "changes": [
                asdict(replace(change, path=self._seen_from_here(change.path)))
                for change in entry.changes
            ],
        }

    def _unpack(self, table: Any) -> PendingEntry:
        """Read an entry back.

        Raises:
            ValueError, TypeError, KeyError: it is none.
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
        """The way from the journal's folder to a file."""
        folder, name = os.path.split(path)
        whole = os.path.join(os.path.realpath(folder), name)
        try:
            return os.path.relpath(whole, os.path.realpath(self.path.parent))
        except ValueError:  # on another drive
            return whole

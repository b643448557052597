"""The journal: a line for every photo that is done, and nothing that a crash could take back.

Beside `captions.jsonl` lie `captions.run.json`, the settings it was begun with and the lock that
keeps a second run away, and, while captions go to other files, too, `captions.pending.json`, the
batch that is being written.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.durable import (
    FULL,
    digest,
    explained,
    remove_unfinished,
    replacing,
    sync_folder,
)
from captioner.errors import CaptionerError, MetadataError
from captioner.folder.changes import remove_traces
from captioner.folder.held import Held, read_held, read_records
from captioner.folder.pending import Entry, Pending
from captioner.folder.records import Record
from captioner.folder.settings import RunFile


class Journal:
    """A journal that is being written. `with` locks it, completes what a crash left, and closes it.

    Args:
        path: the JSON lines file; missing folders are made.
        settings: plain values that every record in it was, or will be, made with.
        overwrite: begin it again, whatever it holds.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.held = Held()
        self._settings = settings
        self._overwrite = overwrite
        self._pending = Pending(path)
        self._run = RunFile(path)
        self._file = -1
        self._committing = False

    def __enter__(self) -> "Journal":
        with explained(self.path, option="--output"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._run.lock()
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs write to it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._run.unlock()

    @property
    def begun(self) -> bool:
        """Whether it is this run's: one to be overwritten is so only when there is a caption."""
        return self._file >= 0

    def begin(self) -> None:
        """Begin it again if that is asked for and has not been done; what it held is lost.

        Raises:
            CaptionerError: it cannot be written.
        """
        if self.begun:
            return
        with explained(self.path, option="--output"):
            self._pending.remove()
            self._open_file(size=0)
            self._run.write(self._settings)

    def commit(self, entries: Sequence[Entry]) -> list[Record]:
        """Write a batch: the files beside the photos, then the journal. All of it, or none.

        Returns:
            The records written: a photo whose file could not be written has failed.

        Raises:
            CaptionerError: the disk is full, or the journal cannot be written.
        """
        self.begin()
        self._committing = True
        self._check_in_place()
        if any(entry.changes for entry in entries):
            self._pending.write(entries)
        records = self._complete(entries)
        self._committing = False
        return records

    def tidy(self, *, compact: bool = True) -> None:
        """Leave no trace of a batch that is written, and one line a photo.

        Args:
            compact: drop lines that later ones have replaced, which takes long in a long journal.

        Raises:
            CaptionerError: the disk is full, or the journal cannot be written.
        """
        self._check_in_place()
        with explained(self.path, option="--output"):
            if not self._committing:  # an interrupted batch is completed by the next run
                self._pending.remove()
            if compact and self.held.superseded:
                self._compact()

    def _open(self) -> None:
        if self.path.exists() and not self.path.is_file():
            raise CaptionerError(
                f"{self.path}: is a folder, a pipe or a device; choose another --output."
            )
        with explained(self.path, option="--output"):
            for path in (self.path, self._pending.path):
                remove_unfinished(path)
        if self._overwrite:  # nothing is lost before there is something to take its place
            return
        if not self._run.known() and self.path.exists() and self.path.stat().st_size:
            raise CaptionerError(
                f"{self.path}: exists, and no {self._run.path.name} says that it is the captions "
                "of a folder; choose another --output, or replace it with --overwrite."
            )
        self.held = read_held(self.path)
        if self.held.size or self._pending.exists():
            self._run.check(self._settings)
        with explained(self.path, option="--output"):
            if not self.held.size and not self._pending.exists():
                self._run.write(self._settings)
            self._open_file(size=self.held.size)
            self._recover()

    def _open_file(self, *, size: int) -> None:
        """Open for appending, and cut off what a crash left behind the last whole line."""
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.ftruncate(self._file, size)
        os.fsync(self._file)
        sync_folder(self.path.parent)

    def _recover(self) -> None:
        """Complete the batch that a killed run was writing."""
        entries = self._pending.read()
        for entry in entries:
            for change in entry.changes:
                remove_traces(change.path)
        self._complete([entry for entry in entries if not self._is_written(entry.record)])

    def _check_in_place(self) -> None:
        """Make sure that what is written is what the user finds there.

        Raises:
            CaptionerError: the journal was moved, deleted or replaced meanwhile.
        """
        ours = os.fstat(self._file)
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None or not os.path.samestat(ours, there):
            raise CaptionerError(
                f"{self.path}: was moved, deleted or replaced while captions were written to it; "
                "put it back if you can, and run the same command again."
            )

    def _is_written(self, record: Record) -> bool:
        return digest(record.image) in (
            self.held.captioned if record.status == "captioned" else self.held.failed
        )

    def _complete(self, entries: Sequence[Entry]) -> list[Record]:
        """Make the changes, then write the lines."""
        records = [_apply(entry) for entry in entries]
        with explained(self.path, option="--output"):
            self._append(records)
        return records

    def _append(self, records: Sequence[Record]) -> None:
        content = memoryview(b"".join(record.to_line() for record in records))
        try:
            while content:
                content = content[os.write(self._file, content) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.held.size)
            raise
        self.held.size = os.fstat(self._file).st_size
        for record in records:
            self.held.add(record)

    def _compact(self) -> None:
        """Write the journal anew without the lines that later ones have replaced."""
        newest: dict[bytes, int] = {}
        seen: set[bytes] = set()
        for record, end in read_records(self.path):
            key = digest(record.image)
            if key in seen:
                newest[key] = end
            seen.add(key)
        with replacing(self.path) as unfinished, unfinished.open("wb") as file:
            for record, end in read_records(self.path):
                if newest.get(digest(record.image), end) == end:
                    file.write(record.to_line())
            file.flush()
        sync_folder(self.path.parent)
        os.close(self._file)
        self._open_file(size=self.path.stat().st_size)
        self.held = read_held(self.path)


def _apply(entry: Entry) -> Record:
    """Make an entry's changes; where one cannot be made, its photo has failed."""
    for change in entry.changes:
        try:
            change.apply()
        except OSError as error:
            if error.errno in FULL:
                with explained(Path(change.path), option="--output"):
                    raise
            reason = f"{change.path} cannot be written: {error.strerror}."
            return Record(image=entry.record.image, status="failed", reason=reason)
        except MetadataError as error:
            return Record(image=entry.record.image, status="failed", reason=str(error))
    return entry.record

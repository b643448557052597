"""The journal: an append-only, crash-safe file with one line per finished photo.

Beside `captions.jsonl` lie `captions.run.json`, its settings and lock, and, while captions are
written to other files, `captions.pending.json`, the write-ahead log of the current batch.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from captioner.durable import (
    FULL,
    digest,
    explained,
    remove_unfinished,
    replacing,
    sync,
    sync_folder,
)
from captioner.errors import CaptionerError, MetadataError
from captioner.folder.journal.index import JournalIndex, damaged_lines, read_index, read_records
from captioner.folder.journal.pending import Pending, PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.journal.run_file import RunFile
from captioner.folder.sidecars.changes import remove_traces
from captioner.folder.sources.stamps import Stamp


class Journal:
    """A journal open for writing. Entering it takes the lock and recovers from a crash.

    Args:
        path: the JSON lines file; missing folders are created.
        settings: plain values shared by all its records.
        overwrite: start over, discarding what it holds.
        repair: move damaged lines to `captions.damaged.jsonl`.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        *,
        overwrite: bool = False,
        repair: bool = False,
    ) -> None:
        self.path = path
        self.index = JournalIndex(path)
        self._settings = settings
        self._overwrite = overwrite
        self._repair = repair
        self._pending = Pending(path)
        self._run = RunFile(path)
        self._file = -1

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
        """Close the file and release the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._run.unlock()

    @property
    def model(self) -> str:
        """Name of the checkpoint that wrote its captions."""
        return str(self._settings.get("checkpoint", "captioner"))

    @property
    def begun(self) -> bool:
        """Whether this run has opened the file; with `overwrite` only from the first commit on."""
        return self._file >= 0

    def begin(self) -> None:
        """With `overwrite`, truncate the journal, unless that has been done.

        Raises:
            CaptionerError: the journal cannot be written.
        """
        if self.begun:
            return
        with explained(self.path, option="--output"):
            self._pending.path.unlink(missing_ok=True)
            self._open_file(size=0)
            self._run.write(self._settings)

    def commit(self, entries: Sequence[PendingEntry]) -> list[tuple[JournalRecord, str | None]]:
        """Write a batch atomically: first the sidecars, then the journal.

        Returns:
            Each record with the reason why it, or one of its files, failed; None if it did not.

        Raises:
            CaptionerError: the disk is full, or the journal cannot be written.
        """
        self.begin()
        self._check_in_place()
        if any(entry.changes for entry in entries):
            self._pending.write(entries)
        return self._complete(entries)

    def tidy(self, *, compact: bool = True) -> None:
        """Verify the journal, and remove superseded lines.

        Args:
            compact: rewrite the file without superseded lines; slow for a long journal.

        Raises:
            CaptionerError: the disk is full, or the journal cannot be written.
        """
        self._check_in_place()
        if compact and self.index.superseded:
            with explained(self.path, option="--output"):
                self._compact()

    def _open(self) -> None:
        if self.path.exists() and not self.path.is_file():
            raise CaptionerError(f"{self.path}: not a regular file; choose another --output.")
        with explained(self.path, option="--output"):
            for path in (self.path, self._pending.path):
                remove_unfinished(path)
        if self._overwrite:  # keep the old captions until there is a new one
            return
        if self._run.read() is None and self.path.exists() and self.path.stat().st_size:
            raise CaptionerError(
                f"{self.path}: exists, but without {self._run.path.name} it is not known to be "
                "captioner's; choose another --output, or replace it with --overwrite."
            )
        if self._repair:
            self._set_damaged_lines_aside()
        self.index = read_index(self.path)
        if self.index.size or self._pending.path.exists():
            self._run.check(self._settings)
        with explained(self.path, option="--output"):
            if not self.index.size and not self._pending.path.exists():
                self._run.write(self._settings)
            ended = self._set_end_aside()
            self._open_file(size=self.index.size)
            if not ended:
                self.index.size += os.write(self._file, b"\n")
            self._recover()

    def _open_file(self, *, size: int) -> None:
        """Open for appending, and truncate what a crash left after the last complete line."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        os.ftruncate(self._file, size)
        sync(self._file)
        sync_folder(self.path.parent)

    def _recover(self) -> None:
        """Replay the batch of a run that was killed."""
        entries = self._pending.read()
        for entry in entries:
            for change in entry.changes:
                remove_traces(change.path)
        self._complete([entry for entry in entries if not self._is_done(entry)])

    def _check_in_place(self) -> None:
        """Check that the open file is still the one at `path`.

        Raises:
            CaptionerError: the journal was moved, deleted or replaced.
        """
        ours = os.fstat(self._file)
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None or not os.path.samestat(ours, there):
            raise CaptionerError(
                f"{self.path}: moved, deleted or replaced during the run; restore it if you can, "
                "and run the same command again."
            )

    def _is_done(self, entry: PendingEntry) -> bool:
        """Whether the journal already holds an entry, or a newer record for its photo."""
        key = digest(entry.record.image)
        if key not in self.index.captioned:
            return key in self.index.failed and entry.record.status == "failed"
        if entry.before is None:
            return entry.record.status == "captioned"
        now = self.index.read(key)  # may have been edited since
        return bool(now.edited) and now.caption not in (entry.before.caption, entry.record.caption)

    def _complete(self, entries: Sequence[PendingEntry]) -> list[tuple[JournalRecord, str | None]]:
        """Write the sidecars, then append the lines."""
        outcomes = [_apply(entry) for entry in entries]
        with explained(self.path, option="--output"):
            unwritten = []
            for record, _ in outcomes:
                key = digest(record.image)
                if key not in self.index.captioned or self.index.read(key) != record:
                    unwritten.append(record)
            self._append(unwritten)
            self._pending.path.unlink(missing_ok=True)
        return outcomes

    def _append(self, records: Sequence[JournalRecord]) -> None:
        lines = [record.to_line() for record in records]
        content = memoryview(b"".join(lines))
        try:
            while content:
                content = content[os.write(self._file, content) :]
            sync(self._file)
        except BaseException:  # including signals
            os.ftruncate(self._file, self.index.size)
            raise
        for record, line in zip(records, lines, strict=True):
            self.index.add(record, start=self.index.size)
            self.index.size += len(line)

    def _set_damaged_lines_aside(self) -> None:
        """Move lines that are not records to `captions.damaged.jsonl`."""
        if not any(damaged for _, damaged in damaged_lines(self.path)):
            return
        with explained(self.path, option="--output"):
            self._set_aside(line for line, damaged in damaged_lines(self.path) if damaged)
            with replacing(self.path) as unfinished, unfinished.open("wb") as file:
                file.writelines(line for line, damaged in damaged_lines(self.path) if not damaged)
            sync_folder(self.path.parent)

    def _set_end_aside(self) -> bool:
        """Save lines after the last record that come from an editor, not from a crash.

        Returns:
            Whether the last record ends with a newline, which some editors omit.
        """
        if not self.path.exists():
            return True
        with self.path.open("rb") as file:
            file.seek(max(0, self.index.size - 1))
            ended = not self.index.size or file.read(1) == b"\n"
            lines = [line for line in file if line.endswith(b"\n") and b"\0" not in line]
        if any(line.strip() for line in lines):
            self._set_aside(lines)
        return ended

    def _set_aside(self, lines: Iterable[bytes]) -> None:
        with self.path.with_suffix(".damaged.jsonl").open("ab") as file:
            file.writelines(line.rstrip(b"\r\n") + b"\n" for line in lines)
            file.flush()
            sync(file.fileno())
        sync_folder(self.path.parent)

    def _compact(self) -> None:
        """Rewrite the journal without superseded lines."""
        newest: dict[bytes, int | None] = {}
        seen: set[bytes] = set()
        for record, place in read_records(self.path):
            key = digest(record.image)
            if key in seen:
                newest[key] = place.start
            seen.add(key)
        with (
            replacing(self.path) as unfinished,
            unfinished.open("wb") as file,
            self.path.open("rb") as lines,
        ):
            for record, _ in read_records(self.path):
                key = digest(record.image)
                if key not in newest:
                    file.write(record.to_line())
                elif (start := newest[key]) is not None:  # at the position of the first
                    lines.seek(start)
                    file.write(JournalRecord.from_line(lines.readline()).to_line())
                    newest[key] = None
        sync_folder(self.path.parent)
        replaced = self._file
        self._open_file(size=self.path.stat().st_size)
        os.close(replaced)
        self.index = read_index(self.path)


def _apply(entry: PendingEntry) -> tuple[JournalRecord, str | None]:
    """Make an entry's changes; if one fails, the photo fails."""
    record = entry.record
    for change in entry.changes:
        try:
            change.apply()
            if change.inside and record.modified is not None:  # metadata changed the file's size
                stamp = Stamp.of_file(change.path)
                record = replace(record, **asdict(stamp)) if stamp else record
            continue
        except OSError as error:
            if error.errno in FULL:
                with explained(Path(change.path), option="--output"):
                    raise
            reason = f"{change.path} cannot be written: {error.strerror}."
        except MetadataError as error:
            reason = str(error)
        if entry.before is not None:
            return entry.before, reason
        return JournalRecord(image=record.image, status="failed", reason=reason), reason
    return record, record.reason

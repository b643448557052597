"""Brings sidecars and photo metadata up to date with the journal: missing or edited captions."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from captioner.durable import digest
from captioner.errors import MetadataError, UnsupportedFileError
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.plan import outdated_targets
from captioner.folder.progress import Progress
from captioner.folder.sidecars import SIDECARS
from captioner.folder.sidecars.changes import Change
from captioner.folder.sidecars.contract import Note
from captioner.folder.sidecars.targets import Target
from captioner.folder.sources.inputs import Photo
from captioner.folder.sources.remote import StrPath, join
from captioner.folder.sources.stamps import Stamp
from captioner.folder.stopping import defer_signals
from captioner.interchange import readable
from captioner.metadata import text_digest

_TOGETHER = 64
"""Captions per commit."""


class SidecarUpdater:
    """Writes the journal's captions into files that lack them or hold older ones.

    Args:
        journal: open.
        targets: files that receive captions in addition to the journal.
        progress: reports files that cannot be written.
        root: folder that names are relative to, or the archive.
    """

    def __init__(
        self, journal: Journal, targets: Sequence[Target], *, progress: Progress, root: StrPath
    ) -> None:
        self.journal = journal
        self.targets = targets
        self.progress = progress
        self.root = root
        self.unwritten: dict[str, str] = {}
        """Photos whose caption is in the journal but could not be written to a file, with the
        reason."""
        self._missing: list[PendingEntry] = []

    def plan(
        self,
        photo: Photo,
        record: JournalRecord,
        targets: Sequence[Target],
        *,
        before: JournalRecord | None,
    ) -> tuple[Change, ...] | str:
        """Plan which files to write a caption into, or return the reason for writing none.

        Args:
            photo: the photo.
            record: its new record.
            targets: files that may be written.
            before: its earlier record, whose captions the files may hold.

        Raises:
            MetadataError: a file cannot be written.
        """
        ours = _captions(before)
        model = None if record.edited else self.journal.model
        note = Note(model=model, confidence=record.confidence)
        kinds = before.also_in or () if before else ()
        plans: list[tuple[Change, ...] | str] = []
        unsupported: MetadataError | None = None
        for target in targets:
            written = target.kind in kinds or bool(before and before.replaces)
            try:
                caption = record.caption or ""
                plans.append(target.plan(photo, caption, ours=ours, written=written, note=note))
            except UnsupportedFileError as error:
                unsupported = error  # harmless if another target takes the caption
            except OSError as error:
                raise MetadataError(
                    f"{photo.name}: {error.filename} cannot be read: {error.strerror}."
                ) from error
        planned = (change for plan in plans if not isinstance(plan, str) for change in plan)
        changes = tuple(dict.fromkeys(planned))  # two targets may plan the same change
        if unsupported is not None and not changes:
            raise unsupported
        if plans and not changes:
            return str(plans[0])
        for target in targets:
            target.claim(photo.name, photo.path)
        return changes

    def add(self, photo: Photo) -> None:
        """Queue a caption for the files that lack it; `write` flushes the queue."""
        if photo.name in self.unwritten:  # just failed
            return
        index = self.journal.index
        record = index.read(digest(photo.name))
        changes: tuple[Change, ...] | str = ()
        if (record.caption or "").strip():  # empty if a user deleted it
            try:
                wanting = list(outdated_targets(photo, index, self.targets))
                changes = self.plan(photo, record, wanting, before=record)
            except UnsupportedFileError:
                pass
            except MetadataError as error:
                self._fail(photo.name, str(error).removeprefix(f"{photo.name}: "))
                return
        if isinstance(changes, str) or not changes:  # a human caption is there already
            self.progress.tally.before += 1
            return
        self._missing.append(
            PendingEntry(record=with_files(record, record, changes), changes=changes, before=record)
        )
        if len(self._missing) >= _TOGETHER:
            self.write()

    def write(self) -> None:
        """Write the queued captions; one that cannot be written stays in the journal."""
        entries, self._missing = self._missing, []
        if not entries:
            return
        with defer_signals():
            for record, reason in self.journal.commit(entries):
                if reason is None:
                    self.progress.tally.before += 1
                else:
                    self._fail(record.image, reason)
        self.progress.advance()

    def keep(self, edits: Iterable[tuple[str, str]]) -> None:
        """Store edited captions in the journal and in the files that hold the old ones.

        Args:
            edits: pairs of photo name and caption.
        """
        edits = iter(edits)
        while some := list(islice(edits, _TOGETHER)):
            entries = [self._edited(name, caption) for name, caption in some]
            with defer_signals():
                for record, reason in self.journal.commit(entries):
                    if reason is not None:
                        self._fail(record.image, reason)

    def _edited(self, name: str, caption: str) -> PendingEntry:
        photo = Photo(name=name, path=join(self.root, name))
        index, key = self.journal.index, digest(name)
        before = index.read(key) if key in index.captioned else None
        stamp = photo.current_stamp()
        now = stamp or (before.stamp if before else None)  # in archives
        record = JournalRecord(
            image=name, status="captioned", caption=caption, edited=True, **stamp_fields(now)
        )
        changes: tuple[Change, ...] | str = ()
        if stamp and caption.strip():
            try:
                changes = self.plan(photo, record, self.targets, before=before)
            except MetadataError as error:
                self._fail(name, str(error).removeprefix(f"{name}: "))
        if isinstance(changes, str):
            changes = ()
        return PendingEntry(
            record=with_files(record, before, changes),
            changes=changes,
            before=with_files(record, before, ()),
        )

    def _fail(self, name: str, reason: str) -> None:
        """Report a caption that could not be written to a file; the journal keeps it."""
        if name not in self.unwritten:
            self.unwritten[name] = reason
            self.progress.failed(name, reason)


def with_files(
    record: JournalRecord, before: JournalRecord | None, changes: Sequence[Change]
) -> JournalRecord:
    """Return a record that lists the files holding its caption, and older captions still in files.

    Args:
        record: the new record.
        before: the photo's earlier record.
        changes: file changes committed with it.
    """
    kinds: set[str] = {change.kind for change in changes}
    record = replace(record, files=_files(before, changes) or None)
    if before is None:
        return replace(record, also_in=sorted(kinds) or None)
    there = set(before.also_in or ())
    if before.caption == record.caption:
        kinds |= there
    older = [text for text in _captions(before) if text != record.caption]
    return replace(
        record,
        also_in=sorted(kinds) or None,
        replaces=older or None if before.replaces or there - kinds else None,
    )


def _files(before: JournalRecord | None, changes: Sequence[Change]) -> list[dict[str, Any]]:
    """List the files written, each with the caption it had before the first write.

    A caption and an alt text from different runs are listed separately; written together, once.
    """
    files = list((before and before.files) or ())
    for change in changes:
        name, fields = readable(os.path.basename(change.path)), SIDECARS[change.kind].fields
        again = [
            file
            for file in files
            if file["file"] == name and fields in ("both", _fields_of(file["kind"]))
        ]
        ours = change.had is None or text_digest(change.had) in {file["digest"] for file in again}
        hads = (file["had"] for file in again if "had" in file)
        had = next(hads, None) if ours else change.had
        written = {"file": name, "kind": change.kind, "digest": text_digest(change.caption)}
        files = [file for file in files if file not in again]
        files.append(written | ({} if had is None else {"had": readable(had)}))
    return sorted(files, key=lambda file: (file["file"], file["kind"]))


def _fields_of(kind: str) -> str | None:
    return SIDECARS[kind].fields if kind in SIDECARS else None


def stamp_fields(stamp: Stamp | None) -> dict[str, Any]:
    """Return a stamp as record fields."""
    return asdict(stamp) if stamp else {}


def _captions(record: JournalRecord | None) -> tuple[str, ...]:
    """Return the captions that files may hold, newest first."""
    if record is None:
        return ()
    return tuple(dict.fromkeys(filter(None, (record.caption, *(record.replaces or ())))))

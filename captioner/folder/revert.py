"""Removes what runs wrote beside and into photos, except captions that were edited since."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from captioner.durable import digest
from captioner.errors import MetadataError
from captioner.folder.journal.index import read_records
from captioner.folder.journal.journal import Journal
from captioner.folder.journal.pending import PendingEntry
from captioner.folder.journal.records import JournalRecord
from captioner.folder.progress import Progress
from captioner.folder.sidecars import SIDECARS, Sidecar
from captioner.folder.sidecars.changes import Change, identify
from captioner.folder.sidecars.contract import read_file
from captioner.folder.sources.remote import StrPath, join
from captioner.folder.stopping import defer_signals
from captioner.interchange import readable
from captioner.metadata import text_digest

_TOGETHER = 64
"""Photos per commit of the journal."""


@dataclass(frozen=True, kw_only=True)
class Reverted:
    """Outcome of a revert."""

    changed: int
    """Files restored to their earlier caption, or deleted."""
    kept: int
    """Files left alone because they were edited or could not be changed; each was reported."""


def revert(journal: Journal, *, root: StrPath, progress: Progress) -> Reverted:
    """Remove a journal's captions from every file except the journal itself.

    Files that a run created are deleted; captions that it replaced or joined its own to are
    restored. If it is killed, the next run completes it.

    Args:
        journal: open.
        root: folder that names are relative to.
        progress: reports the files that are left alone.

    Raises:
        CaptionerError: the disk is full, or the journal cannot be written.
    """
    changed = 0
    kept: dict[tuple[str, str], str] = {}
    while True:  # caption and alt text of one file take two rounds
        before, entries = changed, _plan(journal, root, kept)
        while some := list(islice(entries, _TOGETHER)):
            with defer_signals():
                for entry, (_, reason) in zip(some, journal.commit(some), strict=True):
                    if reason is None:
                        changed += len(entry.changes)
                    else:
                        kept[entry.record.image, ""] = reason
        if changed == before:
            break
    for (image, _), reason in kept.items():
        progress.failed(image, reason)
    return Reverted(changed=changed, kept=len(kept))


def _plan(
    journal: Journal, root: StrPath, kept: dict[tuple[str, str], str]
) -> Iterator[PendingEntry]:
    """Yield the changes that can be made now, and note why the rest is kept."""
    for record, _ in read_records(journal.path):
        if not record.files or journal.index.read(digest(record.image)) != record:
            continue
        changes: dict[str, Change] = {}
        left: list[dict[str, Any]] = []
        for file in record.files:
            try:
                change = _change(record, file, join(root, record.image))
            except (MetadataError, OSError) as error:
                change = f"{file['file']} kept: {error}"
            if isinstance(change, str):
                kept[record.image, f"{file['file']} {file['kind']}"] = change
            if isinstance(change, str) or (change and change.path in changes):
                left.append(file)
            elif change is not None:
                changes[change.path] = change
        kinds = {file["kind"] for file in left}
        also_in = [kind for kind in record.also_in or () if kind in kinds]
        yield PendingEntry(
            record=replace(record, files=left or None, also_in=also_in or None),
            changes=tuple(changes.values()),
            before=record,
        )


def _change(record: JournalRecord, file: dict[str, Any], photo: str) -> Change | str | None:
    """Plan how to restore a file; a reason if it is kept, None if there is nothing to do.

    Raises:
        OSError: the file cannot be read.
        MetadataError: the file is damaged.
    """
    name, sidecar = file["file"], SIDECARS.get(file["kind"])
    if sidecar is None or (path := _find(sidecar, photo, name)) is None:
        return f"{name} kept: unknown kind {file['kind']!r}; a newer version wrote it."
    content, had = read_file(path), file.get("had", "")
    if content is None:
        return None
    found = sidecar.read(content, name=record.image)
    if all(text == had for text in found):
        return None
    if record.edited:
        return f"{name} kept: its caption was written by a person."
    if not all(_is_ours(text, file["digest"], sidecar, content, record) for text in found):
        return f"{name} kept: edited since it was written."
    change = Change(kind=file["kind"], path=path, before=identify(content), caption=had)
    change.render(content, name=record.image)  # fail before anything is written
    return change


def _is_ours(
    text: str, wrote: str, sidecar: Sidecar, content: bytes, record: JournalRecord
) -> bool:
    """Whether a text is the one that was written, or the alt text derived from it."""
    found = text_digest(text)
    return found == wrote or found in sidecar.digests(content, name=record.image)


def _find(sidecar: Sidecar, photo: str, name: str) -> str | None:
    """Return the path of a photo's sidecar with this file name."""
    paths = (sidecar.path_for(photo), *sidecar.find(photo))
    return next((path for path in paths if readable(os.path.basename(path)) == name), None)

"""Taking out what a run wrote beside photos and into them, unless somebody has edited it since."""

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
from captioner.folder.stopping import uninterrupted
from captioner.interchange import readable
from captioner.metadata import text_digest

_TOGETHER = 64
"""Photos whose files are changed between two writes of the journal."""


@dataclass(frozen=True, kw_only=True)
class Reverted:
    """What became of the files."""

    changed: int
    """Files that say again what they said, or are gone."""
    kept: int
    """Files that somebody has edited, or that could not be changed; they were named."""


def revert(journal: Journal, *, root: StrPath, progress: Progress) -> Reverted:
    """Take captions of a journal out of all files but the journal.

    Files that a run began are removed, and where it replaced a caption or joined its own to one,
    that caption is written back. Killed meanwhile, the next run completes it, as with captions.

    Args:
        journal: open.
        root: the folder that names are relative to.
        progress: told of what stays.

    Raises:
        CaptionerError: the disk is full, or the journal cannot be written.
    """
    changed = 0
    kept: dict[tuple[str, str], str] = {}
    while True:  # caption and alt text of one file take two rounds: the second sees what is left
        before, entries = changed, _plan(journal, root, kept)
        while some := list(islice(entries, _TOGETHER)):
            with uninterrupted():
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
    """Yield what can be taken out now, and note why the rest stays."""
    for record, _ in read_records(journal.path):
        if not record.files or journal.index.read(digest(record.image)) != record:
            continue
        changes: dict[str, Change] = {}
        left: list[dict[str, Any]] = []
        for file in record.files:
            try:
                change = _change(record, file, join(root, record.image))
            except (MetadataError, OSError) as error:
                change = f"{file['file']} stays: {error}"
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
    """Plan how a file says again what it said; a reason if it stays, None if it says so already.

    Raises:
        OSError: it cannot be read.
        MetadataError: it is damaged.
    """
    name, sidecar = file["file"], SIDECARS.get(file["kind"])
    if sidecar is None or (path := _find(sidecar, photo, name)) is None:
        return f"{name} stays: it is of a kind that is not known here."
    content, had = read_file(path), file.get("had", "")
    if content is None:
        return None
    found = sidecar.read(content, name=record.image)
    if all(text == had for text in found):
        return None
    if record.edited:
        return f"{name} stays: its caption is somebody's own."
    if not all(_is_ours(text, file["digest"], sidecar, content, record) for text in found):
        return f"{name} stays: it was edited since."
    change = Change(kind=file["kind"], path=path, before=identify(content), caption=had)
    change.render(content, name=record.image)  # what cannot be done fails now
    return change


def _is_ours(
    text: str, wrote: str, sidecar: Sidecar, content: bytes, record: JournalRecord
) -> bool:
    """Whether a text is the one written, or an alt text made of it."""
    found = text_digest(text)
    return found == wrote or found in sidecar.digests(content, name=record.image)


def _find(sidecar: Sidecar, photo: str, name: str) -> str | None:
    """Return the file of a photo that is called so."""
    paths = (sidecar.place(photo), *sidecar.find(photo))
    return next((path for path in paths if readable(os.path.basename(path)) == name), None)

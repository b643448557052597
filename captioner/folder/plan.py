"""Which of the photos found are to be captioned now, and what is to become of the others."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from captioner.durable import digest
from captioner.errors import CaptionerError
from captioner.folder.journal.index import JournalIndex, read_records
from captioner.folder.sidecars.targets import Target
from captioner.folder.sources.inputs import Found, Photo, Problem, Replaced
from captioner.folder.sources.remote import StrPath
from captioner.metadata import text_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What is to be done about one photo."""

    kind: Literal["caption", "caption again", "write", "done", "failed before", "skip", "problem"]
    """`caption again`: another photo has taken its name. `write`: its caption is in the journal,
    and missing in a file. `problem`: a folder or an archive that cannot be looked through."""
    found: Found
    reason: str = ""
    """Why it is skipped, or what the problem is."""


def plan(
    found: Iterable[Found],
    index: JournalIndex,
    *,
    targets: Sequence[Target],
    retry_failed: bool,
    retried: tuple[str, ...] = (),
) -> Iterator[Step]:
    """Decide about every photo when its turn comes.

    Args:
        found: the photos.
        index: what the journal holds; it may grow meanwhile.
        targets: where captions go with their photos. What all of them refuse is skipped.
        retry_failed: caption those that failed before, and no others.
        retried: how names begin that are tried with them, in folders and archives that could not be
            looked through.
    """
    for item in found:
        if isinstance(item, Problem):
            yield Step(kind="problem", found=item, reason=item.reason)
            continue
        if isinstance(item, Replaced):
            yield Step(kind="skip", found=item, reason=item.reason)
            continue
        key = digest(item.name)
        if key in index.captioned:
            yield Step(kind=_again(item, key, index, targets, retry_failed), found=item)
        elif key in index.failed and not retry_failed:
            yield Step(kind="failed before", found=item)
        elif retry_failed and key not in index.failed and not item.name.startswith(retried):
            yield Step(kind="skip", found=item, reason="it is new, and --retry-failed passes it by")
        else:
            refusals = [target.refuse(item) for target in targets]
            if refusals and None not in refusals:
                yield Step(kind="skip", found=item, reason=refusals[0] or "")
            else:
                yield Step(kind="caption", found=item)


def _again(
    photo: Photo, key: bytes, index: JournalIndex, targets: Sequence[Target], retry_failed: bool
) -> Literal["caption again", "write", "done"]:
    """Decide about a photo that has a caption."""
    if retry_failed:
        return "done"
    if index.is_replaced(key, photo.look()):
        return "caption again"
    return "write" if any(lacking(photo, index, targets)) else "done"


def lacking(photo: Photo, index: JournalIndex, targets: Iterable[Target]) -> Iterator[Target]:
    """Yield the targets whose file lacks the caption of the journal, or has an older one."""
    key = digest(photo.name)
    for target in targets:
        written = index.is_in(key, target.kind)
        if target.lacks(photo, written=written) or index.may_be_outdated(key, target.kind):
            yield target


def remember(targets: Sequence[Target], journal: Path, root: StrPath) -> None:
    """Let no other photo take a file whose caption is in the journal."""
    shared = [target for target in targets if target.sidecar.shared]
    if shared:
        for record, _ in read_records(journal):
            if record.status == "captioned":
                for target in shared:
                    target.own(record.image, os.path.join(root, record.image))


def written_before(journal: Path) -> dict[bytes, str]:
    """Return which texts a journal says were written beside photos, by the photos' names.

    Texts that were joined to somebody's are left out. Of a damaged journal, which is about to be
    begun again, what precedes the damage counts.
    """
    written: dict[bytes, str] = {}
    with suppress(CaptionerError):
        for record, _ in read_records(journal):
            text = text_digest(record.caption or "")
            if not record.edited and any(file["digest"] == text for file in record.files or ()):
                written[digest(record.image)] = text
    return written

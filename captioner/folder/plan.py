"""Decides what to do with each photo found: caption it, write its sidecars, or skip it."""

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
    """What to do with one photo."""

    kind: Literal["caption", "caption again", "write", "done", "failed before", "skip", "problem"]
    """`caption again`: the file was replaced by another photo. `write`: the journal has a caption
    that a sidecar lacks. `problem`: a folder or archive that cannot be listed."""
    found: Found
    reason: str = ""
    """Why it is skipped, or the problem."""


def plan(
    found: Iterable[Found],
    index: JournalIndex,
    *,
    targets: Sequence[Target],
    retry_failed: bool,
    retried: tuple[str, ...] = (),
) -> Iterator[Step]:
    """Yield one step for each item found, in order.

    Args:
        found: photos and problems.
        index: index of the journal; it may grow during iteration.
        targets: sidecars to write. A photo that every target refuses is skipped.
        retry_failed: caption photos that failed before, and no others.
        retried: name prefixes of folders and archives that could not be listed and are retried,
            too.
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
            yield Step(kind="skip", found=item, reason="new photo; --retry-failed skips it")
        else:
            refusals = [target.refuse(item) for target in targets]
            if refusals and None not in refusals:
                yield Step(kind="skip", found=item, reason=refusals[0] or "")
            else:
                yield Step(kind="caption", found=item)


def _again(
    photo: Photo, key: bytes, index: JournalIndex, targets: Sequence[Target], retry_failed: bool
) -> Literal["caption again", "write", "done"]:
    """Decide what to do with a photo that has a caption."""
    if retry_failed:
        return "done"
    if index.is_replaced(key, photo.current_stamp()):
        return "caption again"
    return "write" if any(outdated_targets(photo, index, targets)) else "done"


def outdated_targets(
    photo: Photo, index: JournalIndex, targets: Iterable[Target]
) -> Iterator[Target]:
    """Yield the targets whose file lacks the journal's caption or has an older one."""
    key = digest(photo.name)
    for target in targets:
        written = index.is_in(key, target.kind)
        if target.lacks(photo, written=written) or index.may_be_outdated(key, target.kind):
            yield target


def claim_shared(targets: Sequence[Target], journal: Path, root: StrPath) -> None:
    """Claim shared sidecars for the photos in the journal, so that no other photo takes them."""
    shared = [target for target in targets if target.sidecar.shared]
    if shared:
        for record, _ in read_records(journal):
            if record.status == "captioned":
                for target in shared:
                    target.claim(record.image, os.path.join(root, record.image))


def written_before(journal: Path) -> dict[bytes, str]:
    """Map digests of photo names to digests of the texts the journal says were written.

    Texts that were joined to a human caption are omitted. A damaged journal, which is about to be
    overwritten, counts up to the damage.
    """
    written: dict[bytes, str] = {}
    with suppress(CaptionerError):
        for record, _ in read_records(journal):
            text = text_digest(record.caption or "")
            if not record.edited and any(file["digest"] == text for file in record.files or ()):
                written[digest(record.image)] = text
    return written

"""`captions.failed.jsonl` beside `captions.jsonl`: what failed and why, one a line."""

import json
import os
from collections.abc import Container, Iterator, Mapping
from itertools import chain
from pathlib import Path

from captioner.durable import digest, explained, replacing
from captioner.folder.journal.index import JournalIndex, read_records
from captioner.folder.journal.journal import Journal
from captioner.folder.sources.remote import StrPath, is_remote
from captioner.interchange import portable, restored


def write_report(
    journal: Journal, problems: Mapping[str, str], *, met: Container[bytes], root: StrPath
) -> None:
    """Write the report; where nothing failed, there is none.

    Args:
        journal: open; the photos that failed are in it.
        problems: folders and archives that could not be looked through, with the reason.
        met: digests of the photos that failed and came by in this run. Those that did not, and are
            not there any more, are left out.
        root: the folder that names are relative to, or the archive.

    Raises:
        CaptionerError: it cannot be written.
    """
    path = _place(journal.path)
    with explained(path, option="--output"):
        lines = chain(
            _failures(journal, met, root) if journal.index.failed else (), problems.items()
        )
        first = next(lines, None)
        if first is None:
            path.unlink(missing_ok=True)
            return
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            for image, reason in chain([first], lines):
                table = portable({"image": image, "reason": reason})
                file.write(json.dumps(table).encode() + b"\n")


def read_problems(journal: Path, index: JournalIndex) -> dict[str, str]:
    """Return the folders and archives that the last run could not look through, with the reason.

    Args:
        journal: the report lies beside it.
        index: what it holds; photos that failed are there.
    """
    try:
        lines = _place(journal).read_bytes().splitlines()
        tables = [restored(json.loads(line)) for line in lines]
        reasons = {table["image"]: table["reason"] for table in tables}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # no report, or none of ours
        return {}
    return {name: reason for name, reason in reasons.items() if digest(name) not in index}


def beginnings(problems: Mapping[str, str], *, root: StrPath) -> tuple[str, ...]:
    """How the names begin of photos that lie in such folders and archives."""
    if {os.fspath(root), f"{root}/"} & problems.keys():
        return ("",)
    return tuple(name for name in problems if name.endswith("/"))


def _failures(journal: Journal, met: Container[bytes], root: StrPath) -> Iterator[tuple[str, str]]:
    """Yield the photos that failed; the last record of a photo counts."""
    reasons: dict[str, str] = {}
    for record, _ in read_records(journal.path):
        if digest(record.image) in journal.index.failed:
            reasons[record.image] = record.reason or ""
    for name, reason in reasons.items():
        if digest(name) in met or _is_there(root, name):
            yield name, reason


def _is_there(root: StrPath, name: str) -> bool:
    """Whether there is such a photo, or the archive that it lies in; of a store, nobody asks."""
    if is_remote(root) or is_remote(name):
        return True
    path = Path(os.path.join(root, name))
    return os.path.lexists(path) or any(os.path.isfile(above) for above in path.parents)


def _place(journal: Path) -> Path:
    return journal.with_suffix(".failed.jsonl")

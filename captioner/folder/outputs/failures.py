"""The list of failures: `captions.failed.jsonl`, one photo and reason per line."""

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
    """Write the list, or delete it if nothing failed.

    Args:
        journal: open.
        problems: folders and archives that could not be listed, with the reason.
        met: digests of the failed photos seen in this run. Others are listed only if they still
            exist.
        root: folder that names are relative to, or the archive.

    Raises:
        CaptionerError: the list cannot be written.
    """
    path = failures_path(journal.path)
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
    """Return the folders and archives that the last run could not list, with the reason.

    Args:
        journal: path of the journal; the list lies beside it.
        index: index of the journal, which tells photos from folders and archives.
    """
    try:
        lines = failures_path(journal).read_bytes().splitlines()
        tables = [restored(json.loads(line)) for line in lines]
        reasons = {table["image"]: table["reason"] for table in tables}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # missing or damaged
        return {}
    return {name: reason for name, reason in reasons.items() if digest(name) not in index}


def name_prefixes(problems: Mapping[str, str], *, root: StrPath) -> tuple[str, ...]:
    """Return the name prefixes of photos in these folders and archives."""
    if {os.fspath(root), f"{root}/"} & problems.keys():
        return ("",)
    return tuple(name for name in problems if name.endswith("/"))


def _failures(journal: Journal, met: Container[bytes], root: StrPath) -> Iterator[tuple[str, str]]:
    """Yield the failed photos with the reason; a photo's last record counts."""
    reasons: dict[str, str] = {}
    for record, _ in read_records(journal.path):
        if digest(record.image) in journal.index.failed:
            reasons[record.image] = record.reason or ""
    for name, reason in reasons.items():
        if digest(name) in met or _is_there(root, name):
            yield name, reason


def _is_there(root: StrPath, name: str) -> bool:
    """Whether a photo, or its archive, exists; assumed in object stores."""
    if is_remote(root) or is_remote(name):
        return True
    path = Path(os.path.join(root, name))
    return os.path.lexists(path) or any(os.path.isfile(above) for above in path.parents)


def failures_path(journal: Path) -> Path:
    """Return the path of the list, beside the journal."""
    return journal.with_suffix(".failed.jsonl")

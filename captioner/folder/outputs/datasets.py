"""Data sets for training programs.

`metadata.jsonl` makes the photo folder an "imagefolder" data set for `datasets.load_dataset`. Tar
archives hold photos and captions in WebDataset format.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

from captioner.durable import replacing
from captioner.errors import CaptionerError
from captioner.folder.journal.index import read_records
from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.originals import Originals, is_in_archive
from captioner.folder.sources.remote import StrPath, is_remote
from captioner.interchange import portable, readable

METADATA = "metadata.jsonl"
"""File name that imagefolder expects, in the folder that its names are relative to."""
_LARGEST = 2**30
"""Bytes per archive, where there are several."""


def check_place(path: Path, root: StrPath) -> None:
    """Check that a data set can be read back from its location.

    Raises:
        CaptionerError: it cannot.
    """
    if is_remote(root):
        return
    here, top = os.path.realpath(path.parent), os.path.realpath(root)
    if path.name == METADATA and here != top:
        raise CaptionerError(
            f"{path}: an imagefolder data set must lie in the folder of its photos; use --output "
            f"{Path(top, METADATA)}, or another name."
        )
    if path.suffix.lower() == ".tar" and os.path.commonpath([here, top]) == top:
        raise CaptionerError(
            f"{path}: lies inside the photo folder, so the next run would caption its photos; "
            "choose a path outside."
        )


def write_metadata(path: Path, journal: Path) -> None:
    """Write a line for every captioned photo outside archives.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w", encoding="utf-8") as file:
        for record in _captioned(journal):
            if not is_in_archive(record.image):
                line = {"file_name": readable(record.image), "text": readable(record.caption or "")}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_metadata(path: Path) -> Iterator[tuple[str, str]]:
    """Yield photo names and captions.

    Raises:
        ValueError: the file is not such a data set.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            table = json.loads(line)
            table = table if isinstance(table, dict) else {}
            name, text = table.get("file_name"), table.get("text")
            if not (isinstance(name, str) and isinstance(text, str)):
                raise ValueError(f"line {number} lacks file_name or text")
            yield name, text


def nth_archive(path: Path, number: int) -> Path:
    """Return the path of the n-th archive; names such as `a-%06d.tar` contain its number.

    Raises:
        CaptionerError: the number's format is malformed.
    """
    if "%" not in path.name:
        return path
    try:
        return path.with_name(path.name % number)
    except (TypeError, ValueError):
        raise CaptionerError(
            f"{path}: use %06d for the number of each archive, and %% for a percent sign."
        ) from None


def write_archives(path: Path, journal: Path, root: StrPath) -> None:
    """Write photos and captions into tar archives, replacing older ones.

    Each captioned photo that still exists becomes three files with one stem: the photo, unchanged,
    its caption as `.txt` and its record as `.json`.

    Args:
        path: the archive; with a number in its name, a new archive begins after 1 GiB.
        journal: path of the journal.
        root: folder that names are relative to, or the archive.

    Raises:
        OSError: an archive cannot be written.
    """
    originals = Originals(root)
    archives = 0
    with ExitStack() as open_now:
        archive: tarfile.TarFile | None = None
        for number, record in enumerate(_captioned(journal)):
            photo = originals.read(record.image)
            if not photo:
                continue
            if archive is None or ("%" in path.name and archive.offset >= _LARGEST):
                open_now.close()
                unfinished = open_now.enter_context(replacing(nth_archive(path, archives)))
                archive = open_now.enter_context(tarfile.open(unfinished, "w"))
                archives += 1
            suffix = os.path.splitext(record.image)[1].lower().lstrip(".") or "jpg"
            text = readable(record.caption or "").encode()
            about = json.dumps(portable(record.to_dict()), ensure_ascii=False).encode()
            files = {"jpg" if suffix in ("jpeg", "jpe", "jfif") else suffix: photo}
            for ending, content in (files | {"txt": text, "json": about}).items():
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
    while "%" in path.name and archives and (old := nth_archive(path, archives)).exists():
        old.unlink()  # left over from a larger data set
        archives += 1


def _captioned(journal: Path) -> Iterator[JournalRecord]:
    """Yield the records with a non-empty caption."""
    for record, _ in read_records(journal):
        if (record.caption or "").strip():
            yield record

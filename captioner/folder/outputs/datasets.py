"""Photos and captions as training programs read them.

`metadata.jsonl` makes the folder of the photos a data set that `datasets.load_dataset` reads as
"imagefolder". Tar archives hold photos and captions as WebDataset reads them.
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
"""The name that imagefolder looks for, in the folder that its names are relative to."""
_LARGEST = 2**30
"""Bytes of photos in one of several archives."""


def check_place(path: Path, root: StrPath) -> None:
    """Make sure that a data set's file can be read back where it is going to be.

    Raises:
        CaptionerError: it cannot, and the text says what to do.
    """
    if is_remote(root):
        return
    here, top = os.path.realpath(path.parent), os.path.realpath(root)
    if path.name == METADATA and here != top:
        raise CaptionerError(
            f"{path}: a data set's names are relative to the folder it lies in; give --output "
            f"{Path(top, METADATA)}, or another name."
        )
    if path.suffix.lower() == ".tar" and os.path.commonpath([here, top]) == top:
        raise CaptionerError(
            f"{path}: lies among the photos, and the next run would caption those in it; choose "
            "a place outside."
        )


def write_metadata(path: Path, journal: Path) -> None:
    """Write a line for every photo that has a caption and is a file by itself.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", encoding="utf-8") as file:
        for record in _captioned(journal):
            if not is_in_archive(record.image):
                line = {"file_name": readable(record.image), "text": readable(record.caption or "")}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_metadata(path: Path) -> Iterator[tuple[str, str]]:
    """Yield photos and captions.

    Raises:
        ValueError: it is no such file.
        OSError: it cannot be read.
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
    """Return the name of an archive, one of many if it has a place for a number, as `a-%06d.tar`.

    Raises:
        CaptionerError: that place makes no sense.
    """
    if "%" not in path.name:
        return path
    try:
        return path.with_name(path.name % number)
    except (TypeError, ValueError):
        raise CaptionerError(
            f"{path}: write %06d where the number of each archive goes, and %% for a percent sign."
        ) from None


def write_archives(path: Path, journal: Path, root: StrPath) -> None:
    """Write photos and captions into tar archives, which take the place of older ones.

    Each photo that has a caption and is still there becomes three files of one name: the photo as
    it is, its caption as `.txt`, its record as `.json`.

    Args:
        path: where a number has its place in the name, a new archive begins after a gigabyte.
        journal: with the records.
        root: the folder that names are relative to, or the archive.

    Raises:
        OSError: one cannot be written.
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
        old.unlink()  # of a data set that was larger
        archives += 1


def _captioned(journal: Path) -> Iterator[JournalRecord]:
    """Yield the records with captions; empty ones are meant to say nothing."""
    for record, _ in read_records(journal):
        if (record.caption or "").strip():
            yield record

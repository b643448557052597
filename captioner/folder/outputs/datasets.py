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
from captioner.folder.journal.records import JournalRecord
from captioner.folder.outputs.contract import Table, refused
from captioner.folder.outputs.originals import Originals, is_in_archive
from captioner.folder.sources.remote import StrPath, is_remote
from captioner.interchange import portable, readable

METADATA = "metadata.jsonl"
"""File name that imagefolder expects, in the folder that its names are relative to."""
_LARGEST = 2**30
"""Bytes per archive, where there are several."""


class MetadataTable(Table):
    """`metadata.jsonl`: a line for every captioned photo outside archives."""

    is_dataset = True

    def check(self, path: Path, root: StrPath) -> None:
        """Check that it lies in the folder of the photos."""
        if not is_remote(root) and os.path.realpath(path.parent) != os.path.realpath(root):
            raise CaptionerError(
                f"{path}: an imagefolder data set must lie in the folder of its photos; use "
                f"--output {Path(os.path.realpath(root), METADATA)}, or another name."
            )

    def write(self, path: Path, records: Iterator[JournalRecord], *, words: bool) -> None:
        """Write names and captions."""
        with path.open("w", encoding="utf-8") as file:
            for record in _captioned(records):
                if is_in_archive(record.image):
                    continue
                line = {"file_name": readable(record.image), "text": readable(record.caption or "")}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def read(self, path: Path) -> Iterator[tuple[str, str]]:
        """Yield photo names and captions."""
        try:
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
        except (OSError, ValueError) as error:
            raise refused(path, f"it cannot be read ({error})") from error


class Archives(Table):
    """Tar archives: each captioned photo that still exists becomes three files with one stem.

    These are the photo, unchanged, its caption as `.txt` and its record as `.json`. With a number
    in its name, such as `a-%06d.tar`, a new archive begins after 1 GiB.
    """

    is_dataset = True

    def check(self, path: Path, root: StrPath) -> None:
        """Check its name, and that it does not lie among the photos."""
        _nth(path, 0)
        top = os.path.realpath(root)
        if not is_remote(root) and os.path.commonpath([os.path.realpath(path.parent), top]) == top:
            raise CaptionerError(
                f"{path}: lies inside the photo folder, so the next run would caption its photos; "
                "choose a path outside."
            )

    def first(self, path: Path) -> Path:
        """Return the path of the first archive."""
        return _nth(path, 0)

    def save(
        self, path: Path, records: Iterator[JournalRecord], *, words: bool, root: StrPath
    ) -> None:
        """Write as many archives as it takes, each replacing an older one."""
        originals = Originals(root)
        archives = 0
        with ExitStack() as open_now:
            archive: tarfile.TarFile | None = None
            for number, record in enumerate(_captioned(records)):
                photo = originals.read(record.image)
                if not photo:
                    continue
                if archive is None or ("%" in path.name and archive.offset >= _LARGEST):
                    open_now.close()
                    unfinished = open_now.enter_context(replacing(_nth(path, archives)))
                    archive = open_now.enter_context(tarfile.open(unfinished, "w"))
                    archives += 1
                for ending, content in _files(record, photo).items():
                    member = tarfile.TarInfo(f"{number:09d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))
        while "%" in path.name and archives and (old := _nth(path, archives)).exists():
            old.unlink()  # left over from a larger data set
            archives += 1


def _nth(path: Path, number: int) -> Path:
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


def _files(record: JournalRecord, photo: bytes) -> dict[str, bytes]:
    """Return the files of a photo by their extensions."""
    suffix = os.path.splitext(record.image)[1].lower().lstrip(".") or "jpg"
    return {
        "jpg" if suffix in ("jpeg", "jpe", "jfif") else suffix: photo,
        "txt": readable(record.caption or "").encode(),
        "json": json.dumps(portable(record.to_dict()), ensure_ascii=False).encode(),
    }


def _captioned(records: Iterator[JournalRecord]) -> Iterator[JournalRecord]:
    """Yield the records with a non-empty caption."""
    return (record for record in records if (record.caption or "").strip())

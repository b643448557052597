"""Checks that downloads are complete; if not, what to download and where to put it."""

import gzip
import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from captioner.errors import DataError
from data.coco import Record, load_records
from data.prepare.known import ANNOTATIONS, DataSet, Download, PhotoFolder

_BLOCK = 2**22  # bytes hashed at once


@dataclass(frozen=True)
class Found:
    """What there is to prepare."""

    records: list[Record]
    images: list[str]
    """Folders and archives for an ImageSource."""


def find(root: Path, data_set: DataSet, *, checked: Path, md5: bool = True) -> Found:
    """Find the files of a data set, check them and read the captions.

    Args:
        root: the folder they were downloaded to.
        data_set: which one.
        checked: a file that records correct checksums, so that they are computed once.
        md5: compare checksums; reading COCO once takes minutes.

    Raises:
        DataError: files are missing, truncated or wrong; the text lists all of them and the way
            out.
    """
    wrong: list[str] = []
    images: list[str] = []
    for photos in data_set.photos:
        place = _find_photos(root, photos, wrong, checked=checked if md5 else None)
        images += [str(place)] if place else []
    if len(wrong) == len(data_set.photos) and any(root.glob("*.tar")):
        wrong.clear()  # the photos were packed by somebody else
        images = [str(path) for path in sorted(root.glob("*.tar"))]
    strangers = [name for name in data_set.strangers if (root / name).exists()]
    if wrong and strangers:
        wrong.append(
            f"{', '.join(strangers)}: photos of another year, which have other names. Karpathy's "
            "split belongs to those of 2014. To train on these, give captions_train2017.json "
            "instead of the name of the data set."
        )
    annotations = _find_annotations(root, data_set, wrong)
    if wrong or annotations is None:
        lines = "".join(f"\n  {line}" for line in wrong)
        raise DataError(f"{data_set.title} is not ready in {root}:{lines}")
    with _unpacked(annotations, data_set) as path:
        records = load_records(path)
    _check_splits(records, data_set, annotations)
    return Found(records, images)


def _find_photos(
    root: Path, photos: PhotoFolder, wrong: list[str], *, checked: Path | None
) -> Path | None:
    """A folder of photos, or else the download; what is wrong is added to the list."""
    for name in photos.folders:
        if (root / name).is_dir():
            return root / name
    path = root / photos.download.name
    if not path.exists():
        wrong.append(_fetch(photos.download, root))
    elif (fault := _fault(path, photos.download, checked=checked)) is not None:
        wrong.append(fault)
    else:
        return path
    return None


def _find_annotations(root: Path, data_set: DataSet, wrong: list[str]) -> Path | None:
    """Karpathy's file of this data set, packed or not."""
    plain = root / data_set.annotations
    for path in (plain, plain.with_name(plain.name + ".gz")):
        if path.exists():
            size = _unpacked_size(path)
            if size == data_set.annotations_size:
                return path
            wrong.append(
                f"{path.name} holds {size:,} bytes, not {data_set.annotations_size:,}; it is cut "
                f"short or another file. Get it again from {ANNOTATIONS.address}"
            )
            return None
    path = root / ANNOTATIONS.name
    if not path.exists():
        others = sorted(root.glob("captions_*.json")) + sorted(root.glob("annotations/captions_*"))
        hint = f" ({others[0].name} has the captions, but not the split)" if others else ""
        wrong.append(f"{data_set.annotations}{hint}: {_fetch(ANNOTATIONS, root)}")
    elif (fault := _fault(path, ANNOTATIONS, checked=None)) is not None:
        wrong.append(fault)
    else:
        return path
    return None


def _fetch(download: Download, root: Path) -> str:
    size = f", {_in_words(download.size)}" if download.size else ""
    return (
        f"{download.name} is missing{size}. Get it from {download.address} and put it into {root}"
    )


def _fault(path: Path, download: Download, *, checked: Path | None) -> str | None:
    """What is wrong with a download, or None."""
    size = path.stat().st_size
    if download.size is not None and size < download.size:
        return (
            f"{path.name} is {_in_words(size)} of {_in_words(download.size)}: its download "
            f"stopped. Resume it: curl -C - -o {path} {download.address}"
        )
    if download.size is not None and size > download.size:
        return (
            f"{path.name} is {size:,} bytes, more than the {download.size:,} of the published "
            f"file. Get it again from {download.address}"
        )
    if path.suffix == ".zip" and not zipfile.is_zipfile(path):
        return f"{path.name} is not a complete zip archive. Get it again from {download.address}"
    if checked is None or download.md5 is None or _is_remembered(path, checked):
        return None
    found = _md5(path)
    if found != download.md5:
        return (
            f"{path.name} is damaged: its md5 is {found}, not {download.md5}. Get it again from "
            f"{download.address}"
        )
    _remember(path, checked)
    return None


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_remembered(path: Path, checked: Path) -> bool:
    try:
        remembered = json.loads(checked.read_text(encoding="utf-8"))
        return bool(remembered.get(path.name) == _stamp(path))
    except (OSError, ValueError, AttributeError):
        return False


def _remember(path: Path, checked: Path) -> None:
    try:
        remembered = json.loads(checked.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        remembered = {}
    checked.parent.mkdir(parents=True, exist_ok=True)
    checked.write_text(json.dumps({**remembered, path.name: _stamp(path)}), encoding="utf-8")


def _unpacked_size(path: Path) -> int:
    if path.suffix != ".gz":
        return path.stat().st_size
    try:
        with gzip.open(path) as file:
            return sum(len(block) for block in iter(lambda: file.read(_BLOCK), b""))
    except (OSError, EOFError):
        return 0


@contextmanager
def _unpacked(path: Path, data_set: DataSet) -> Iterator[Path]:
    """The file of captions, taken out of the archive it came in for as long as it is read."""
    if path.suffix != ".zip":
        yield path
        return
    with TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(data_set.annotations)]
        if not names:
            raise DataError(
                f"{path} has no {data_set.annotations} in it. Get it again from "
                f"{ANNOTATIONS.address}"
            )
        yield Path(archive.extract(names[0], folder))


def _check_splits(records: Sequence[Record], data_set: DataSet, path: Path) -> None:
    counts = Counter(record.split for record in records)
    if counts != data_set.splits:
        found, known = (
            ", ".join(f"{count:,} {name}" for name, count in splits.items())
            for splits in (counts, data_set.splits)
        )
        raise DataError(
            f"{path} has {found}; {data_set.title} has {known} in Karpathy's split. Take the file "
            f"from {ANNOTATIONS.address}, or give the path of yours instead of the name."
        )


def _in_words(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.2f} GB"

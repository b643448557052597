"""Verifies that downloads are complete; otherwise says what to download, and where to put it."""

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

_BLOCK = 2**22  # bytes hashed at a time


@dataclass(frozen=True)
class Found:
    """Captions and photos to prepare."""

    records: list[Record]
    images: list[str]
    """Folders and archives of an ImageSource."""


def find(
    root: Path,
    data_set: DataSet,
    *,
    checked: Path,
    md5: bool = True,
    faults: list[str] | None = None,
) -> Found:
    """Locate and verify the files of a data set, and read its captions.

    Args:
        root: folder of the downloads.
        data_set: the data set.
        checked: file that records verified checksums, so that they are computed once.
        md5: verify checksums; this reads COCO once, which takes minutes.
        faults: receives the faults of the captions, as of `load_records`.

    Raises:
        DataError: files are missing, truncated or wrong; the message lists all of them with a way
            out.
    """
    wrong: list[str] = []
    images: list[str] = []
    for photos in data_set.photos:
        place = _find_photos(root, photos, wrong, checked=checked if md5 else None)
        images += [str(place)] if place else []
    if len(wrong) == len(data_set.photos) and any(root.glob("*.tar")):
        wrong.clear()  # the photos are in somebody else's tar shards
        images = [str(path) for path in sorted(root.glob("*.tar"))]
    other_years = [name for name in data_set.other_years if (root / name).exists()]
    if wrong and other_years:
        wrong.append(
            f"{', '.join(other_years)}: photos of another year, with other names. Karpathy's split "
            "is of 2014. To train on these, give captions_train2017.json instead of the data "
            "set's name."
        )
    annotations = _find_annotations(root, data_set, wrong)
    if wrong or annotations is None:
        lines = "".join(f"\n  {line}" for line in wrong)
        raise DataError(f"{data_set.title} is not ready in {root}:{lines}")
    with _unpacked(annotations, data_set) as path:
        records = load_records(path, faults=faults)
    if not faults:  # of entries that are left out
        _check_splits(records, data_set, annotations)
    return Found(records, images)


def _find_photos(
    root: Path, photos: PhotoFolder, wrong: list[str], *, checked: Path | None
) -> Path | None:
    """Return the folder of photos or the verified download; add what is wrong to the list."""
    for name in photos.folders:
        if (root / name).is_dir():
            return root / name
    path = root / photos.download.name
    if not path.exists():
        wrong.append(_missing(photos.download, root))
    elif (fault := _fault(path, photos.download, checked=checked)) is not None:
        wrong.append(fault)
    else:
        return path
    return None


def _find_annotations(root: Path, data_set: DataSet, wrong: list[str]) -> Path | None:
    """Return Karpathy's file of this data set, compressed or not; add what is wrong to the list."""
    plain = root / data_set.annotations
    for path in (plain, plain.with_name(plain.name + ".gz")):
        if path.exists():
            size = _unpacked_size(path)
            if size == data_set.annotations_size:
                return path
            wrong.append(
                f"{path.name} holds {size:,} bytes, not {data_set.annotations_size:,}; it is "
                f"truncated or another file. Download it again from {ANNOTATIONS.address}"
            )
            return None
    path = root / ANNOTATIONS.name
    if not path.exists():
        others = sorted(root.glob("captions_*.json")) + sorted(root.glob("annotations/captions_*"))
        hint = f" ({others[0].name} has the captions, but not the split)" if others else ""
        wrong.append(f"{data_set.annotations}{hint}: {_missing(ANNOTATIONS, root)}")
    elif (fault := _fault(path, ANNOTATIONS, checked=None)) is not None:
        wrong.append(fault)
    else:
        return path
    return None


def _missing(download: Download, root: Path) -> str:
    size = f", {_in_words(download.size)}" if download.size else ""
    return f"{download.name} is missing{size}. Download it from {download.address} to {root}"


def _fault(path: Path, download: Download, *, checked: Path | None) -> str | None:
    """Return what is wrong with a download, or None."""
    size = path.stat().st_size
    if download.size is not None and size < download.size:
        return (
            f"{path.name} is {_in_words(size)} of {_in_words(download.size)}: the "
            f"download is incomplete. Resume it: curl -C - -o {path} {download.address}"
        )
    if download.size is not None and size > download.size:
        return (
            f"{path.name} is {size:,} bytes, more than the {download.size:,} of the published "
            f"file. Download it again from {download.address}"
        )
    if path.suffix == ".zip" and not zipfile.is_zipfile(path):
        return (
            f"{path.name} is not a complete zip archive. Download it again from {download.address}"
        )
    if checked is None or download.md5 is None or _is_remembered(path, checked):
        return None
    found = _md5(path)
    if found != download.md5:
        return (
            f"{path.name} is damaged: its MD5 is {found}, not {download.md5}. Download it again "
            f"from {download.address}"
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
    """Yield the captions file, extracted from its zip archive while it is needed."""
    if path.suffix != ".zip":
        yield path
        return
    with TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(data_set.annotations)]
        if not names:
            raise DataError(
                f"{path} has no {data_set.annotations} in it. Download it again from "
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
            f"{path} has {found}, but Karpathy's split of {data_set.title} has {known}. Download "
            f"it from {ANNOTATIONS.address}, or give the path of your file instead of the name."
        )


def _in_words(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.2f} GB"

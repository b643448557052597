"""Caption files -> records: image, captions, split.

Four formats, recognised by content:

    COCO captions    {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
    Karpathy split   {"images": [{"filename", "split", "sentences": [{"raw"}]}]}
    CSV              columns image and caption (and split), one caption per row
    JSON lines       {"image", "caption" or "captions"} (and "split", "image_id"), one per line

Any of them may be compressed with gzip. Without splits in the file, all images belong to the split
in its name (`captions_val2014.json`: val), or else to train.
"""

import csv
import gzip
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.errors import DataError

_FORMATS = (
    "Give a COCO captions file, a Karpathy split file, a CSV file with the columns image and "
    'caption, or JSON lines such as {"image": "1.jpg", "captions": ["a dog"]}.'
)

_KINDS = {str: "a text", int: "a whole number", list: "a list"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """An image and its captions."""

    image: str
    """Name in the image source: a relative path or an archive member."""
    image_id: int
    """Id from the file, or the image's index in it; unique."""
    captions: tuple[str, ...]
    """Captions as written, at least one."""
    split: str
    """`train`, `val`, `test`, ...; `restval` of Karpathy's COCO split counts as train."""


@dataclass
class _Entry:
    """An unchecked entry for one image."""

    image: str
    where: str  # for errors: "line 3", "image 7"
    image_id: int | None = None
    split: str | None = None
    captions: list[str] = field(default_factory=list)


def load_records(annotations: Path, *, split: str | None = None) -> list[Record]:
    """Read a caption file, in the file's order.

    Args:
        annotations: a file in one of the formats above; blank captions are dropped.
        split: split to keep; None keeps all.

    Raises:
        DataError: the file cannot be read, is empty or of an unknown format, lacks the split, or
            has incomplete or duplicate entries. Images without captions and duplicates are listed.
    """
    records = _check(_parse(_read_text(annotations), path=annotations), path=annotations)
    return select_split(records, split, annotations=annotations)


def select_split(
    records: Sequence[Record], split: str | None, *, annotations: Path
) -> list[Record]:
    """Keep the records of a split; None keeps all.

    Raises:
        DataError: no record of this file has the split.
    """
    counts = Counter(record.split for record in records)
    if split is not None and split not in counts:
        known = ", ".join(f"{name} ({count})" for name, count in counts.items())
        raise DataError(f"{annotations} has no split {split!r}; it has {known}.")
    return [record for record in records if split in (None, record.split)]


def digest_of(*sets: Sequence[Record]) -> str:
    """Return a SHA-256 digest of images and captions, in order."""
    digest = hashlib.sha256()
    for records in sets:
        for record in records:
            digest.update(repr((record.image, record.image_id, record.captions)).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            f"Caption file {path} does not exist; data/README.md says where captions come from."
        ) from None
    except (OSError, EOFError) as error:
        raise DataError(f"Caption file {path} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}). {_FORMATS}") from error
    if not text.strip():
        raise DataError(f"Caption file {path} is empty. {_FORMATS}")
    return text


def _parse(text: str, *, path: Path) -> list[_Entry]:
    """Detect the format and read the entries."""
    if not text.lstrip().startswith(("{", "[")):
        return _merge(_parse_csv(text, path=path), path=path)
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a complete object, then more: JSON lines
            return _merge(_parse_lines(text, path=path), path=path)
        raise DataError(
            f"{path}, line {error.lineno}: invalid JSON ({error.msg}). "
            "If the file was downloaded, download it again."
        ) from error
    table = table if isinstance(table, dict) else {}
    if "image" in table:
        return _merge(_parse_lines(text, path=path), path=path)
    if "images" not in table:
        raise DataError(f"{path} is JSON, but not in a known caption format. {_FORMATS}")
    _need(table, {"images": list}, where=str(path))
    if "annotations" in table:
        return list(_parse_coco(table, path=path))
    return list(_parse_karpathy(table["images"], path=path))


def _parse_coco(table: dict[str, Any], *, path: Path) -> Iterator[_Entry]:
    _need(table, {"annotations": list}, where=str(path))
    for place, image in enumerate(table["images"]):
        _need(image, {"id": int, "file_name": str}, where=f"{path}, entry {place} of images")
    for place, annotation in enumerate(table["annotations"]):
        keys = {"id": int, "image_id": int, "caption": str}
        _need(annotation, keys, where=f"{path}, entry {place} of annotations")
    captions: dict[int, list[str]] = {image["id"]: [] for image in table["images"]}
    orphans = [a for a in table["annotations"] if a["image_id"] not in captions]
    if orphans:
        raise DataError(
            f"{path}: {len(orphans)} annotations refer to images that are not listed, such as "
            f"annotation {orphans[0]['id']} of image {orphans[0]['image_id']}; add these images, "
            "or remove the annotations."
        )
    for annotation in table["annotations"]:  # merged files repeat annotation ids, never image ids
        captions[annotation["image_id"]].append(annotation["caption"])
    for image in table["images"]:
        yield _Entry(
            image=image["file_name"],
            where=f"image {image['id']}",
            image_id=image["id"],
            captions=captions[image["id"]],
        )


def _parse_karpathy(images: list[Any], *, path: Path) -> Iterator[_Entry]:
    for place, image in enumerate(images):
        where = f"entry {place} of images"
        keys = {"filename": str, "split": str, "sentences": list}
        _need(image, keys, {"filepath": str, "cocoid": int, "imgid": int}, where=f"{path}, {where}")
        for sentence in image["sentences"]:
            _need(sentence, {"raw": str}, where=f"{path}, {where}, sentences")
        folder = image.get("filepath")
        yield _Entry(
            image=f"{folder}/{image['filename']}" if folder else image["filename"],
            where=where,
            image_id=image.get("cocoid", image.get("imgid")),
            split="train" if image["split"] == "restval" else image["split"],
            captions=[sentence["raw"] for sentence in image["sentences"]],
        )


def _parse_csv(text: str, *, path: Path) -> Iterator[_Entry]:
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = rows.fieldnames or []
    if not {"image", "caption"} <= set(header):
        first = text.lstrip().partition("\n")[0].rstrip("\r")
        for mark, name in ((";", "semicolons"), ("\t", "tabs")):
            if {"image", "caption"} <= set(next(csv.reader([first], delimiter=mark), ())):
                raise DataError(
                    f"{path}: columns are separated by {name}; save it with commas instead."
                )
        raise DataError(
            f"{path} is not in a known caption format; it starts with {first[:60]!r}. {_FORMATS}"
        )
    for row in rows:
        if None in row or None in row.values():
            columns = len([*header, *(row.get(None) or ())]) - list(row.values()).count(None)
            raise DataError(
                f"{path}, line {rows.line_num}: the header has {len(header)} columns, this row "
                f"{columns}. Quote captions that contain commas."
            )
        yield _Entry(
            image=row["image"],
            where=f"line {rows.line_num}",
            split=row.get("split") or None,
            captions=[row["caption"]],
        )


def _parse_lines(text: str, *, path: Path) -> Iterator[_Entry]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: not a JSON object ({error.msg}); write one object per line."
            ) from error
        captions = {"captions": list} if "captions" in row else {"caption": str}
        _need(row, {"image": str, **captions}, {"split": str, "image_id": int}, where=where)
        for caption in row.get("captions", []):
            _need({"captions": caption}, {"captions": str}, where=where)
        yield _Entry(
            image=row["image"],
            where=f"line {number}",
            image_id=row.get("image_id"),
            split=row.get("split"),
            captions=row["captions"] if "captions" in row else [row["caption"]],
        )


def _need(
    entry: Any,
    keys: Mapping[str, type],
    optional: Mapping[str, type] | None = None,
    *,
    where: str,
) -> None:
    """Check that an entry is an object with these keys, and values of these types."""
    if not isinstance(entry, dict):
        raise DataError(f"{where}: {entry!r} is not an object with {', '.join(keys)}. {_FORMATS}")
    missing = [key for key in keys if key not in entry]
    if missing:
        raise DataError(
            f"{where}: {', '.join(missing)} missing; it has {', '.join(entry)}. {_FORMATS}"
        )
    for key, kind in {**(optional or {}), **keys}.items():
        if key in entry and not isinstance(entry[key], kind):
            raise DataError(f"{where}: {key} is {entry[key]!r}; it must be {_KINDS[kind]}.")


def _merge(entries: Iterable[_Entry], *, path: Path) -> list[_Entry]:
    """Merge the rows of each image."""
    merged: dict[str, _Entry] = {}
    for entry in entries:
        first = merged.setdefault(entry.image, entry)
        if first is entry:
            continue
        if (first.split, first.image_id) != (entry.split, entry.image_id):
            raise DataError(
                f"{path}, {entry.where}: image {entry.image!r} has another split or image_id than "
                f"in {first.where}; use the same in all its rows."
            )
        first.captions += entry.captions
    return list(merged.values())


def _check(entries: list[_Entry], *, path: Path) -> list[Record]:
    """Turn entries into records; check that each has captions, and a unique name and id."""
    if not entries:
        raise DataError(f"Caption file {path} contains no images. {_FORMATS}")
    numbered = sum(entry.image_id is not None for entry in entries)
    if numbered not in (0, len(entries)):
        raise DataError(
            f"{path}: {numbered} of {len(entries)} images have an id; give one to all or to none."
        )
    default_split = _split_by_name(path)
    by_id: dict[int, _Entry] = {}
    by_name: dict[str, _Entry] = {}
    records, faults = [], []
    for number, entry in enumerate(entries):
        captions = tuple(caption for caption in entry.captions if caption.strip())
        image_id = number if entry.image_id is None else entry.image_id
        if not captions:
            faults.append(
                f"{path}, {entry.where}: image {entry.image!r} has no captions; "
                "add one, or remove the image from the file."
            )
        if (owner := by_id.setdefault(image_id, entry)) is not entry:
            faults.append(
                f"{path}: {owner.image!r} ({owner.where}) and {entry.image!r} ({entry.where}) "
                f"share the id {image_id}; give each image its own."
            )
        elif (owner := by_name.setdefault(entry.image, entry)) is not entry:
            faults.append(
                f"{path}: {entry.image!r} is listed twice ({owner.where} and {entry.where}); move "
                "all its captions to one of them."
            )
        split = entry.split or default_split
        records.append(Record(image=entry.image, image_id=image_id, captions=captions, split=split))
    if faults:
        raise DataError(list_faults(faults))
    return records


def list_faults(faults: Sequence[str], *, most: int = 20) -> str:
    """List the faults, one per line, and count those beyond `most`."""
    more = [f"... and {len(faults) - most} more"] if len(faults) > most else []
    return "\n".join([*faults[:most], *more])


def _split_by_name(path: Path) -> str:
    named = re.search(r"(?<![a-z])(train|val|test)(ing|id|idation)?(?![a-z])", path.name.lower())
    return named[1] if named else "train"

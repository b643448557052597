"""Caption files -> records: image, captions, split.

Four formats, recognised by content:

    COCO captions    {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
    Karpathy split   {"images": [{"filename", "split", "sentences": [{"raw"}]}]}
    CSV              columns image and caption (and split), one caption per row
    JSON lines       {"image", "caption" or "captions"} (and "split", "image_id"), one per line;
                     "has_id": false marks an "image_id" that is only a number of a row

Any of them may be compressed with gzip. Without splits in the file, all images belong to the split
in its name (`captions_val2014.json`: val), or else to train.
"""

import csv
import gzip
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.errors import DataError

_FORMATS = (
    "Give a COCO captions file, a Karpathy split file, a CSV file with the columns image and "
    'caption, or JSON lines such as {"image": "1.jpg", "captions": ["a dog"]}.'
)

_SHOWN = 20
"""Faults that an error lists; `data.prepare --check` lists all."""
_KINDS = {str: "a text", int: "a whole number", list: "a list", bool: "true or false"}


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
    has_id: bool = field(default=True, compare=False)
    """Whether the file gives the id; an index says nothing about other files."""


@dataclass
class _Entry:
    """An unchecked entry for one image."""

    image: str
    where: str  # for errors: "line 3", "image 7"
    image_id: int | None = None
    has_id: bool = True
    split: str | None = None
    captions: list[str] = field(default_factory=list)


def load_records(
    annotations: Path, *, split: str | None = None, faults: list[str] | None = None
) -> list[Record]:
    """Read a caption file, in the file's order.

    Args:
        annotations: a file in one of the formats above; blank captions are dropped.
        split: split to keep; None keeps all.
        faults: receives the faults of entries, one line each, instead of an error that lists the
            first; entries that cannot be used are left out.

    Raises:
        DataError: the file cannot be read, is empty or of an unknown format, lacks the split, or
            has incomplete or duplicate entries, images without captions, or captions without image.
    """
    found: list[str] = [] if faults is None else faults
    entries = _parse(_read_text(annotations), path=annotations, faults=found)
    records = _check(entries, path=annotations, faults=found)
    if found and faults is None:
        usable = any(record.captions for record in records)
        raise DataError(_list_faults(found) + ("" if usable else f" {_FORMATS}"))
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


def _parse(text: str, *, path: Path, faults: list[str]) -> list[_Entry]:
    """Detect the format and read the entries; faults of single ones are added to the list."""
    if not text.lstrip().startswith(("{", "[")):
        return _merge(_parse_csv(text, path=path, faults=faults), path=path, faults=faults)
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a complete object, then more: JSON lines
            return _merge(_parse_lines(text, path=path, faults=faults), path=path, faults=faults)
        raise DataError(
            f"{path}, line {error.lineno}: invalid JSON ({error.msg}). "
            "If the file was downloaded, download it again."
        ) from error
    table = table if isinstance(table, dict) else {}
    if "image" in table:
        return _merge(_parse_lines(text, path=path, faults=faults), path=path, faults=faults)
    if "images" not in table:
        raise DataError(f"{path} is JSON, but not in a known caption format. {_FORMATS}")
    lists: dict[str, type] = {name: list for name in ("images", "annotations") if name in table}
    if wrong := _faults_of(table, lists, where=str(path)):
        raise DataError(_list_faults(wrong))
    if "annotations" in table:
        return list(_parse_coco(table, path=path, faults=faults))
    return list(_parse_karpathy(table["images"], path=path, faults=faults))


def _parse_coco(table: dict[str, Any], *, path: Path, faults: list[str]) -> Iterator[_Entry]:
    captions: dict[int, list[str]] = {
        image["id"]: []
        for image in table["images"]
        if isinstance(image, dict) and isinstance(image.get("id"), int)
    }
    orphans: dict[int, list[str]] = defaultdict(list)
    images = _sound(
        table["images"], {"id": int, "file_name": str}, of="images", path=path, faults=faults
    )
    listed = [image for _, image in images]
    keys = {"id": int, "image_id": int, "caption": str}
    for _, annotation in _sound(
        table["annotations"], keys, of="annotations", path=path, faults=faults
    ):
        image_id = annotation["image_id"]  # merged files repeat annotation ids, never image ids
        if image_id in captions:
            captions[image_id].append(annotation["caption"])
        else:
            orphans[image_id].append(f"annotation {annotation['id']}")
    faults += [
        f"{path}: image {image_id} of {', '.join(own)} is not listed; add the image, or remove its "
        "annotations."
        for image_id, own in orphans.items()
    ]
    for image in listed:
        yield _Entry(
            image=image["file_name"],
            where=f"image {image['id']}",
            image_id=image["id"],
            captions=captions[image["id"]],
        )


def _parse_karpathy(images: list[Any], *, path: Path, faults: list[str]) -> Iterator[_Entry]:
    keys = {"filename": str, "split": str, "sentences": list}
    optional = {"filepath": str, "cocoid": int, "imgid": int}
    for where, image in _sound(images, keys, optional, of="images", path=path, faults=faults):
        wrong = [
            fault
            for sentence in image["sentences"]
            for fault in _faults_of(sentence, {"raw": str}, where=f"{path}, {where}, sentences")
        ]
        if wrong:
            faults += wrong
            continue
        folder = image.get("filepath")
        yield _Entry(
            image=f"{folder}/{image['filename']}" if folder else image["filename"],
            where=where,
            image_id=image.get("cocoid", image.get("imgid")),
            split="train" if image["split"] == "restval" else image["split"],
            captions=[sentence["raw"] for sentence in image["sentences"]],
        )


def _parse_csv(text: str, *, path: Path, faults: list[str]) -> Iterator[_Entry]:
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
            faults.append(
                f"{path}, line {rows.line_num}: the header has {len(header)} columns, this row "
                f"{columns}. Quote captions that contain commas."
            )
            continue
        yield _Entry(
            image=row["image"],
            where=f"line {rows.line_num}",
            split=row.get("split") or None,
            captions=[row["caption"]],
        )


def _parse_lines(text: str, *, path: Path, faults: list[str]) -> Iterator[_Entry]:
    optional = {"split": str, "image_id": int, "has_id": bool}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            faults.append(f"{where}: not a JSON object ({error.msg}); write one object per line.")
            continue
        several = isinstance(row, dict) and "captions" in row
        keys = {"image": str, **({"captions": list} if several else {"caption": str})}
        wrong = _faults_of(row, keys, optional, where=where)
        for caption in row["captions"] if several and not wrong else ():
            wrong += _faults_of({"captions": caption}, {"captions": str}, where=where)
        if wrong:
            faults += wrong
            continue
        yield _Entry(
            image=row["image"],
            where=f"line {number}",
            image_id=row.get("image_id"),
            has_id=row.get("has_id", True),
            split=row.get("split"),
            captions=row["captions"] if several else [row["caption"]],
        )


def _sound(
    entries: list[Any],
    keys: Mapping[str, type],
    optional: Mapping[str, type] | None = None,
    *,
    of: str,
    path: Path,
    faults: list[str],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each entry that is an object with these keys, and its place; list faults of others."""
    for place, entry in enumerate(entries):
        where = f"entry {place} of {of}"
        wrong = _faults_of(entry, keys, optional, where=f"{path}, {where}")
        if wrong:
            faults += wrong
        else:
            yield where, entry


def _faults_of(
    entry: Any,
    keys: Mapping[str, type],
    optional: Mapping[str, type] | None = None,
    *,
    where: str,
) -> list[str]:
    """Return why an entry is not an object with these keys, and values of these types."""
    if not isinstance(entry, dict):
        return [f"{where}: {entry!r} is not an object with {', '.join(keys)}."]
    faults = []
    if missing := [key for key in keys if key not in entry]:
        faults.append(
            f"{where}: {', '.join(missing)} missing; it has {', '.join(entry)}. Complete it, or "
            "remove it."
        )
    for key, kind in {**(optional or {}), **keys}.items():
        if key in entry and not isinstance(entry[key], kind):
            faults.append(f"{where}: {key} is {entry[key]!r}; it must be {_KINDS[kind]}.")
    return faults


def _merge(entries: Iterable[_Entry], *, path: Path, faults: list[str]) -> list[_Entry]:
    """Merge the rows of each image."""
    merged: dict[str, _Entry] = {}
    for entry in entries:
        first = merged.setdefault(entry.image, entry)
        if first is entry:
            continue
        if (first.split, first.image_id) != (entry.split, entry.image_id):
            faults.append(
                f"{path}, {entry.where}: image {entry.image!r} has another split or image_id than "
                f"in {first.where}; use the same in all its rows."
            )
        first.captions += entry.captions
    return list(merged.values())


def _check(entries: list[_Entry], *, path: Path, faults: list[str]) -> list[Record]:
    """Turn entries into records; list images without captions, name or id of their own."""
    if not entries and not faults:
        raise DataError(f"Caption file {path} contains no images. {_FORMATS}")
    by_given: dict[bool, list[_Entry]] = {True: [], False: []}
    for entry in entries:
        by_given[entry.image_id is not None].append(entry)
    if all(by_given.values()):
        faults.append(
            f"{path}: {len(by_given[True])} of {len(entries)} images have an id; give one to all "
            "or to none."
        )
        given, fewer = min(by_given.items(), key=lambda found: len(found[1]))
        faults += [
            f"{path}, {entry.where}: image {entry.image!r} has {'an' if given else 'no'} id."
            for entry in fewer
        ]
    default_split = _split_by_name(path)
    by_id: dict[int, _Entry] = {}
    by_name: dict[str, _Entry] = {}
    records = []
    for number, entry in enumerate(entries):
        captions = tuple(caption for caption in entry.captions if caption.strip())
        if not captions:
            faults.append(
                f"{path}, {entry.where}: image {entry.image!r} has no captions; "
                "add one, or remove the image from the file."
            )
        image_id = entry.image_id
        if image_id is not None and (owner := by_id.setdefault(image_id, entry)) is not entry:
            faults.append(
                f"{path}: {owner.image!r} ({owner.where}) and {entry.image!r} ({entry.where}) "
                f"share the id {image_id}; give each image its own."
            )
        elif (owner := by_name.setdefault(entry.image, entry)) is not entry:
            faults.append(
                f"{path}: {entry.image!r} is listed twice ({owner.where} and {entry.where}); move "
                "all its captions to one of them."
            )
        records.append(
            Record(
                image=entry.image,
                image_id=number if image_id is None else image_id,
                captions=captions,
                split=entry.split or default_split,
                has_id=entry.has_id and image_id is not None,
            )
        )
    return records


def _list_faults(faults: Sequence[str]) -> str:
    """List the first faults, one per line, and count the others."""
    more = [f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return "\n".join([*faults[:_SHOWN], *more])


def _split_by_name(path: Path) -> str:
    named = re.search(r"(?<![a-z])(train|val|test)(ing|id|idation)?(?![a-z])", path.name.lower())
    return named[1] if named else "train"

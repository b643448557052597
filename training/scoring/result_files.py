"""Caption files and report files.

Captions are a JSON list of {"image_id", "caption"} (COCO's results format) or the JSON lines of
`captioner folder`; a report is one JSON object.
"""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captioner.errors import DataError
from captioner.interchange import restored

LINES = ".jsonl"
"""Suffix of JSON lines."""
_FORMAT = 'Results are a JSON list such as [{"image_id": 42, "caption": "a dog on a beach"}].'


def load_results(path: Path) -> dict[int, str]:
    """Read captions in COCO's results format, by image id.

    Raises:
        DataError: the file cannot be read, is empty or malformed, or names an image twice.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Results {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # broken JSON, or not UTF-8
        raise DataError(f"Results {path} is not valid JSON ({error}). {_FORMAT}") from error
    if not isinstance(rows, list) or not rows:
        found = "is an empty list" if rows == [] else f"is a JSON {type(rows).__name__}"
        raise DataError(f"Results {path} {found}. {_FORMAT}")
    captions: dict[int, str] = {}
    for place, row in enumerate(rows):
        where = f"Results {path}, entry {place}"
        if not isinstance(row, dict) or not {"image_id", "caption"} <= row.keys():
            raise DataError(f"{where}: {row!r:.80} lacks image_id or caption. {_FORMAT}")
        image, caption = row["image_id"], row["caption"]
        if type(image) is not int or not isinstance(caption, str):
            raise DataError(
                f"{where}: image_id must be an integer and caption a string, "
                f"not {image!r:.80} and {caption!r:.80}."
            )
        if image in captions:
            raise DataError(f"{where}: image {image} occurs twice; keep one caption per image.")
        captions[image] = caption
    return captions


def load_lines(path: Path, ids: Mapping[str, int]) -> dict[int, str]:
    """Read the JSON lines of `captioner folder` or `captioner caption --json`, by image id.

    Args:
        path: JSON lines with "image" and "caption"; lines without a caption, such as those of
            failed photos, are skipped.
        ids: image ids by path or by file name without folders; file and annotations may differ in
            their Unicode normalisation (NFC or NFD).

    Raises:
        DataError: the file cannot be read or is malformed, or an image is unknown or occurs twice.
    """
    composed = _compose(ids)
    captions: dict[int, str] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        where = f"Results {path}, line {number}"
        try:
            row = restored(json.loads(line))
            image, caption = row["image"].replace("\\", "/"), row.get("caption")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f'{where}: expected a line such as {{"image": "a.jpg", "caption": "a dog"}}, not '
                f"{line[:80]!r}."
            ) from error
        if caption is None:
            continue
        named = (image, image.rpartition("/")[2])
        image_id = next((ids[name] for name in named if name in ids), None)
        if image_id is None:
            nfc = (unicodedata.normalize("NFC", name) for name in named)
            image_id = next((composed[name] for name in nfc if name in composed), None)
        if image_id is None:
            raise DataError(
                f"{where}: the annotations have no image called {image}, or more than one; "
                "results and annotations must be of the same photos."
            )
        if image_id in captions:
            raise DataError(f"{where}: {image} occurs twice; keep one caption per image.")
        captions[image_id] = caption
    if not captions:
        raise DataError(f"Results {path} has no captions.")
    return captions


def _compose(ids: Mapping[str, int]) -> dict[str, int]:
    """Return the ids by NFC-normalised name, without ambiguous names."""
    owners: dict[str, set[int]] = defaultdict(set)
    for name, image in ids.items():
        owners[unicodedata.normalize("NFC", name)].add(image)
    return {name: min(images) for name, images in owners.items() if len(images) == 1}


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"Results {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"Results {path} is not UTF-8 ({error}).") from error


def write_results(path: Path, captions: Mapping[int, str]) -> None:
    """Write captions in COCO's results format, which `training.score` reads.

    Raises:
        DataError: the file cannot be written.
    """
    rows = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
    save_text(path, json.dumps(rows, indent=0, ensure_ascii=False) + "\n", what="Results")


def save_text(path: Path, text: str, *, what: str) -> None:
    """Write a text file, creating its folder.

    Args:
        path: file to write.
        text: content of the file.
        what: what to call the file in an error.

    Raises:
        DataError: the file cannot be written.
    """
    write_bytes(path, text.encode(), what=what)


def write_bytes(path: Path, content: bytes, *, what: str) -> None:
    """Write a binary file, like `save_text`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DataError(f"{what} {path} cannot be written: {error.strerror}.") from error


def save_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report to a file.

    Raises:
        DataError: the file cannot be written.
    """
    save_text(path, json.dumps(report, indent=2) + "\n", what="Report")

"""COCO instances (Lin et al. 2014, arXiv:1405.0312) as boxes of phrases in captions.

Instances have categories instead of phrases, so categories are matched with words of captions.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from captioner.errors import DataError, MissingExtraError
from data.boxes import Box, BoxedCaption, BoxedImage, Phrase, read_json
from data.coco import Record
from data.objects import ObjectWords


class Instances(NamedTuple):
    """Contents of an instances file."""

    boxes: dict[str, dict[str, list[Box]]]
    """Boxes by file name and category; an image without instances has an empty entry."""
    kinds: dict[str, str]
    """Category -> supercategory."""

    def of(self, image: str) -> dict[str, list[Box]] | None:
        """Return the boxes of an image by path or file name; None if the file lacks the image."""
        return self.boxes.get(image, self.boxes.get(PurePosixPath(image).name))


def read_instances(path: Path) -> Instances:
    """Read a COCO instances file, crowds included.

    Raises:
        DataError: the file cannot be read or is malformed.
        MissingExtraError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO  # noqa: PLC0415  # an optional extra
    except ImportError as error:
        raise MissingExtraError(
            "COCO instances need pycocotools: pip install 'captioner[train]'"
        ) from error
    coco = COCO()
    coco.dataset = read_json(path)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        categories = {c["id"]: (c["name"], c["supercategory"]) for c in coco.dataset["categories"]}
        boxes: dict[str, dict[str, list[Box]]] = {}
        for image in coco.dataset["images"]:
            here = boxes[image["file_name"]] = defaultdict(list)
            for found in coco.imgToAnns[image["id"]]:
                here[categories[found["category_id"]][0]].append(_box(found, image))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Boxes {path} are not COCO instances; give a file such as instances_val2017.json."
        ) from error
    return Instances(boxes, dict(categories.values()))


def load_instances(path: Path, records: Sequence[Record]) -> list[BoxedImage]:
    """Load COCO instances, and match their categories with words of captions.

    A category matches its name, plural and synonyms. Its boxes are all of that category in the
    photo, since a caption does not say which one it means.

    Args:
        path: the instances file.
        records: captions; images without boxes are left out.

    Raises:
        DataError: the file cannot be read, is malformed, or covers none of these images.
        MissingExtraError: pycocotools is not installed.
    """
    instances = read_instances(path)
    words = ObjectWords(instances.kinds)
    images = []
    for record in records:
        here = instances.of(record.image)
        if not here:
            continue
        captions = []
        for text in record.captions:
            phrases = [
                Phrase(
                    first=first,
                    words=count,
                    kinds=(instances.kinds[name],),
                    boxes=tuple(here[name]),
                )
                for first, count, name in words.find(text)
                if name in here
            ]
            captions.append(BoxedCaption(text=text, phrases=tuple(phrases)))
        images.append(BoxedImage(image=record.image, captions=tuple(captions)))
    if not images:
        raise DataError(f"Boxes {path} cover none of the {len(records)} captioned images.")
    return images


def _box(annotation: dict[str, Any], image: dict[str, Any]) -> Box:
    left, top, width, height = annotation["bbox"]
    across, down = image["width"], image["height"]
    return left / across, top / down, (left + width) / across, (top + height) / down

"""COCO instances (Lin et al. 2014, arXiv:1405.0312) as boxes of what captions speak of.

Instances know categories and not phrases, so categories are matched with the words of a caption.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from captioner.errors import DataError, MissingExtraError
from data.boxes import Box, BoxedCaption, BoxedImage, Phrase, read_json
from data.coco import Record

# Words that people use for COCO's categories, beside their names.
_OTHER_WORDS = {
    "person": "man men woman women boy boys girl girls child children kid kids baby people lady "
    "guy player skier surfer snowboarder skateboarder rider",
    "bicycle": "bike bikes",
    "motorcycle": "motorbike motorbikes",
    "airplane": "plane planes jet aeroplane",
    "boat": "ship sailboat",
    "couch": "sofa",
    "tv": "television",
    "cell phone": "phone phones cellphone",
    "dining table": "table tables",
    "potted plant": "plant plants",
    "sports ball": "ball balls",
    "refrigerator": "fridge",
    "donut": "doughnut doughnuts",
    "dog": "puppy",
    "cat": "kitten",
}


def load_instances(path: Path, records: Sequence[Record]) -> list[BoxedImage]:
    """Read COCO instances, and find their categories among the words of captions.

    A category is found by its name, its plural, and what else people call it; its boxes are all of
    that category in the photo, crowds included, for a caption does not say which.

    Args:
        path: the instances file.
        records: captions; those of images without boxes are left out.

    Raises:
        DataError: the file is unreadable, of another form, or of none of these images.
        MissingExtraError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO  # noqa: PLC0415  # an extra, met where it is needed
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
        boxes: dict[str, dict[int, list[Box]]] = defaultdict(lambda: defaultdict(list))
        for image in coco.dataset["images"]:
            for found in coco.imgToAnns[image["id"]]:
                boxes[image["file_name"]][found["category_id"]].append(_box(found, image))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Boxes {path} are not COCO instances ({error!r}); give a file such as "
            "instances_val2017.json."
        ) from error
    spoken = {words: number for number, (name, _) in categories.items() for words in _forms(name)}
    images = []
    for record in records:
        here = boxes.get(record.image) or boxes.get(PurePosixPath(record.image).name)
        if here is None:
            continue
        captions = []
        for text in record.captions:
            phrases = [
                Phrase(
                    first=first,
                    words=count,
                    kinds=(categories[number][1],),
                    boxes=tuple(here[number]),
                )
                for first, count, number in _find(text, spoken)
                if number in here
            ]
            captions.append(BoxedCaption(text=text, phrases=tuple(phrases)))
        images.append(BoxedImage(image=record.image, captions=tuple(captions)))
    if not images:
        raise DataError(f"Boxes {path} are of none of the {len(records)} images with captions.")
    return images


def _box(annotation: dict[str, Any], image: dict[str, Any]) -> Box:
    left, top, width, height = annotation["bbox"]
    across, down = image["width"], image["height"]
    return left / across, top / down, (left + width) / across, (top + height) / down


def _forms(name: str) -> list[tuple[str, ...]]:
    """Return a category's name, its plurals, and its other words, each as a tuple of words."""
    plurals = [f"{name}s", f"{name}es", f"{name[:-1]}ies", f"{name[:-2]}ves"]  # knife, knives
    return [tuple(form.split()) for form in [name, *plurals, *_OTHER_WORDS.get(name, "").split()]]


def _find(text: str, spoken: dict[tuple[str, ...], int]) -> list[tuple[int, int, int]]:
    """Return first word, words and category of all that a caption names, the longest names first.

    "Hot dog" names no dog.
    """
    words = [word.strip(".,;:!?\"'()").lower() for word in text.split()]
    longest = max(map(len, spoken))
    found = []
    first = 0
    while first < len(words):
        for count in range(longest, 0, -1):
            number = spoken.get(tuple(words[first : first + count]))
            if number is not None and first + count <= len(words):
                found.append((first, count, number))
                first += count - 1
                break
        first += 1
    return found

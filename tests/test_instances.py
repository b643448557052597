import json

import pytest

from captioner.errors import DataError
from data.boxes import BoxedCaption, BoxedImage, Phrase
from data.coco import Record
from data.instances import load_instances

pytest.importorskip("pycocotools")

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 58, "name": "hot dog", "supercategory": "food"},
    {"id": 49, "name": "knife", "supercategory": "kitchen"},
]
DOG, MAN, CROWD = (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 1.0), (0.0, 0.75, 1.0, 1.0)


def instance(number, category, bbox, crowd=0):
    return {
        "id": number,
        "image_id": 7,
        "category_id": category,
        "bbox": bbox,
        "iscrowd": crowd,
    }


@pytest.fixture
def path(tmp_path):
    table = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 200, "height": 100}],
        "annotations": [
            instance(1, 18, [0, 0, 100, 50]),
            instance(2, 1, [100, 0, 100, 100]),
            instance(3, 1, [0, 75, 200, 25], crowd=1),
        ],
        "categories": CATEGORIES,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(table))
    return path


def record(image, *captions):
    return Record(image=image, image_id=7, captions=captions, split="val")


def found(first, words, kind, *boxes):
    return Phrase(first=first, words=words, kinds=(kind,), boxes=boxes)


def test_categories_are_found_among_the_words_by_name_plural_and_what_people_say(path):
    captions = ("Two dogs watch, and a Woman cuts.", "a person, a dog!", "a street at night")
    images = load_instances(path, [record("photos/7.jpg", *captions), record("8.jpg", "a dog")])
    people = (MAN, CROWD)
    assert images == [
        BoxedImage(
            image="photos/7.jpg",
            captions=(
                BoxedCaption(
                    text=captions[0],
                    phrases=(found(1, 1, "animal", DOG), found(5, 1, "person", *people)),
                ),
                BoxedCaption(
                    text=captions[1],
                    phrases=(found(1, 1, "person", *people), found(3, 1, "animal", DOG)),
                ),
                BoxedCaption(text=captions[2], phrases=()),
            ),
        )
    ]


def test_a_hot_dog_is_not_a_dog_and_a_phrase_needs_boxes(path):
    (image,) = load_instances(path, [record("7.jpg", "a dog eats hot dogs with knives")])
    assert image.captions[0].phrases == (found(1, 1, "animal", DOG),)


def test_files_that_do_not_fit_are_named(path, tmp_path):
    with pytest.raises(DataError) as caught:
        load_instances(path, [record("8.jpg", "a dog"), record("9.jpg", "a cat")])
    assert str(caught.value) == f"Boxes {path} cover none of the 2 captioned images."
    captions = tmp_path / "captions.json"
    captions.write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError) as caught:
        load_instances(captions, [record("8.jpg", "a dog")])
    assert str(caught.value) == (
        f"Boxes {captions} are not COCO instances; give a file such as instances_val2017.json."
    )

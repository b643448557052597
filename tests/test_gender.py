"""Genders that captions name are compared with those that people name."""

import json
from collections import Counter
from pathlib import Path

import pytest

from data.coco import Record, load_records
from training.gender import count_genders, find_gender, main, name_gender


def record(image, *captions):
    return Record(image_id=image, image=f"{image}.jpg", captions=captions, split="test")


@pytest.mark.parametrize(
    ("caption", "gender"),
    [
        ("A man rides a bike.", "men"),
        ("Two GIRLS on a beach", "women"),
        ("A woman and a boy", "both"),
        ("A person with a mannequin", None),
    ],
)
def test_words_of_a_caption_name_a_gender(caption, gender):
    assert name_gender(caption) == gender


@pytest.mark.parametrize(
    ("references", "gender"),
    [
        (["a man", "a boy", "a person"], "men"),
        (["a man", "a person", "somebody"], None),  # one alone may be mistaken
        (["a man", "a man", "a woman"], None),
        (["a dog", "a dog"], None),
    ],
)
def test_a_photo_has_the_gender_that_two_people_see_and_nobody_else_contradicts(references, gender):
    assert find_gender(references) == gender


def test_answers_are_counted_by_kind_of_photo():
    records = [
        record(1, "a woman in the snow", "a girl on skis in the snow"),
        record(2, "a woman sits", "a woman sleeps"),
        record(3, "a man stands", "a man waits"),
        record(4, "a man stands", "a woman waits"),
    ]
    captions = {1: "A man is skiing", 2: "A person sleeps", 3: "A man stands", 4: "A man"}
    assert count_genders(records, captions) == {
        ("all photos", "women"): Counter(other=1, neither=1),
        ("snow", "women"): Counter(other=1),
        ("all photos", "men"): Counter(same=1),
    }


def test_the_command_prints_a_table(tmp_path, capsys):
    annotations, results = tmp_path / "a.jsonl", tmp_path / "r.json"
    annotations.write_text(
        json.dumps({"image": "1.jpg", "captions": ["a lady reads", "a woman reads"]}) + "\n"
    )
    (only,) = load_records(annotations)
    results.write_text(json.dumps([{"image_id": only.image_id, "caption": "A man reads"}]))
    assert main([str(annotations), str(results)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| kind of photo | people see | photos | same | other | neither |",
        "| --- | --- | --- | --- | --- | --- |",
        "| all photos | women | 1 | 0 | 100 | 0 |",
    ]
    assert main([str(annotations), str(Path("nowhere.json"))]) == 1
    assert "nowhere.json" in capsys.readouterr().err

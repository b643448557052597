import json

import pytest

from captioner.errors import DataError
from data.nouns import load_nouns
from data.objects import Mention
from tests.entities import entry, pets, sentence


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "entities.json"
    path.write_text(json.dumps(pets()))
    return path


def test_words_that_mostly_end_phrases_are_nouns_with_their_singular(path):
    nouns = load_nouns(path)
    assert nouns.find("A red puppy, two dogs and the camera; him!") == [
        Mention(2, 1, "puppy"),
        Mention(4, 1, "dog"),
        Mention(8, 1, "him"),
    ]
    assert [nouns.singular(word) for word in ("dogs", "sea", "grass")] == ["dog", "sea", "grass"]


def test_nouns_that_name_one_thing_in_three_photos_are_the_same(path):
    nouns = load_nouns(path)
    assert nouns.same == {
        "dog": {"puppy"},
        "puppy": {"dog"},
        "man": {"him"},
        "him": {"man"},
        "sea": set(),
    }


def test_nouns_are_not_the_same_for_naming_one_thing_now_and_then(tmp_path):
    both = sentence("a dog a cat", ("a dog", "1", "animals"), ("a cat", "1", "animals"))
    alone = sentence("a dog a cat", ("a dog", "1", "animals"), ("a cat", "2", "animals"))
    table = {f"{n}.jpg": entry("train", both if n < 3 else alone) for n in range(40)}
    path = tmp_path / "entities.json"
    path.write_text(json.dumps(table))
    assert load_nouns(path).same == {"dog": frozenset(), "cat": frozenset()}
    path.write_text(json.dumps(dict(list(table.items())[:20])))
    assert load_nouns(path).same == {"dog": {"cat"}, "cat": {"dog"}}


def test_files_that_teach_no_nouns_are_refused(path):
    with pytest.raises(DataError, match=r"have too few phrases in split 'test' to learn nouns"):
        load_nouns(path, split="test")
    path.write_text('{"1.jpg": {"split": "train", "sentences": [{"text": "a dog"}]}}')
    with pytest.raises(DataError, match=r"are not Flickr30k Entities; data/boxes\.py"):
        load_nouns(path)

import pytest

from data.objects import OTHER_WORDS, Mention, ObjectWords

NAMES = [
    *["person", "bicycle", "car", "bus", "train", "dog", "elephant", "orange", "hot dog", "bed"],
    *["teddy bear", "bear", "knife", "cake", "chair", "bench", "skis", "sports ball"],
]


def named(text):
    return [mention.name for mention in ObjectWords(NAMES).find(text)]


def test_objects_are_found_by_name_plural_and_what_people_say_with_their_places():
    text = "Two Women, a puppy and knives: the man's bike."
    assert ObjectWords(NAMES).find(text) == [
        Mention(1, 1, "person"),
        Mention(3, 1, "dog"),
        Mention(5, 1, "knife"),
        Mention(7, 1, "person"),
        Mention(8, 1, "bicycle"),
    ]


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("a hot dog", ["hot dog"]),
        ("hotdogs on a bench", ["hot dog", "bench"]),
        ("a stuffed bear and a bear", ["teddy bear", "bear"]),
        ("a train on the train tracks", ["train"]),
        ("a bus driver", ["person"]),
        ("benches by a flower bed", ["bench"]),
        ("a ski lift", []),
        ("a ball player with a ball", ["person", "sports ball"]),
    ],
)
def test_longer_names_come_first(text, objects):
    assert named(text) == objects


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("an orange", ["orange"]),
        ("oranges", ["orange"]),
        ("an orange and a cake", ["orange", "cake"]),
        ("an orange bus", ["bus"]),
        ("a man in orange", ["person"]),
        ("orange and white cakes", ["cake"]),
    ],
)
def test_a_colour_is_not_a_fruit(text, objects):
    assert named(text) == objects


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("a baby elephant", ["elephant"]),
        ("an adult elephant", ["elephant"]),
        ("an elephant and its baby", ["elephant"]),
        ("a baby in a car", ["person", "car"]),
        ("a woman and a dog", ["person", "dog"]),
    ],
)
def test_the_young_of_animals_are_no_people(text, objects):
    assert named(text) == objects


def test_no_word_stands_for_two_objects():
    words = [word for line in OTHER_WORDS.values() for word in line.split(", ") if word]
    assert sorted({word for word in words if words.count(word) > 1}) == []


def test_only_the_categories_asked_for_are_found():
    assert ObjectWords(["dog"]).find("a dog on a bed") == [Mention(1, 1, "dog")]

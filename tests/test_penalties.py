import json

import pytest
import torch

from captioner.words.tokenizer import Tokenizer
from data.nouns import load_nouns
from data.objects import OTHER_WORDS, ObjectWords
from tests.entities import pets
from training.objectives.penalties import count_hallucinations, score_on_other_photos
from training.objectives.reward import Reward

REFERENCES = [
    ("a puppy in a car", "two dogs in a van"),
    ("a man by the sea", "somebody swims"),
    ("a red bus", "a bus stops"),
]
SAMPLES = [
    ("a dog and a cat in a car", "a puppy"),
    ("a woman with a dog by the sea", "somebody"),
    ("a car behind a bus", "two dogs two dogs"),
]
TOKENIZER = Tokenizer.train_words([*sum(REFERENCES, ()), *sum(SAMPLES, ())], min_count=1)
OBJECTS = ObjectWords(OTHER_WORDS)


def ids(captions):
    """(B, K, T), END last, then padding."""
    rows = [[[*TOKENIZER.encode(text), TOKENIZER.end_id] for text in own] for own in captions]
    longest = max(len(row) for own in rows for row in own)
    pad = [TOKENIZER.pad_id]
    return torch.tensor([[row + pad * (longest - len(row)) for row in own] for own in rows])


def count(*names):
    return count_hallucinations(ids(SAMPLES), REFERENCES, tokenizer=TOKENIZER, names=names).tolist()


def test_objects_that_no_reference_names_are_counted_by_whatever_word():
    # A woman is a person, as a man is; two mentions of a thing are two.
    assert count(OBJECTS) == [[1, 0], [1, 0], [1, 2]]


def test_nouns_count_beside_objects_but_a_word_counts_once(tmp_path):
    path = tmp_path / "entities.json"
    path.write_text(json.dumps(pets()))
    nouns = load_nouns(path)  # dog and puppy, man and him, sea
    assert count(nouns) == [[0, 0], [1, 0], [0, 2]]
    assert count(OBJECTS, nouns) == count(OBJECTS)
    assert count() == [[0, 0]] * 3


def test_captions_are_compared_with_the_references_of_all_other_photos_of_the_batch():
    written = [[TOKENIZER.encode(text) for text in own] for own in REFERENCES]
    reward = Reward(written, TOKENIZER)
    words, references = ids(SAMPLES), ids(REFERENCES)
    scores = score_on_other_photos(reward, words, references)
    for photo in range(3):
        others = [other for other in range(3) if other != photo]
        expected = [
            reward(words[photo : photo + 1], references[other : other + 1]) for other in others
        ]
        torch.testing.assert_close(scores[photo], torch.cat(expected).mean(dim=0))
    assert scores[2, 0] > 0  # "a car" is what the first photo's captions say
    assert score_on_other_photos(reward, words[:1], references[:1]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("size", [1, 2, 12])
def test_a_batch_of_any_size_is_compared(size):
    reward = Reward([[TOKENIZER.encode("a bus")]], TOKENIZER)
    words = ids([("a bus", "a dog")] * size)
    same = score_on_other_photos(reward, words, ids([("a bus",)] * size))
    assert same.shape == (size, 2)
    if size > 1:
        torch.testing.assert_close(same, reward(words, ids([("a bus",)] * size)))

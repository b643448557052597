import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.tokenizer import Tokenizer
from training.metrics.cider import cider_d, document_frequencies
from training.reward import CiderReward

CAPTIONS = [
    ["a dog runs on grass", "a brown dog in the grass"],
    ["a man on a bike", "someone rides a bike"],
    ["two children play with a ball", "a ball a ball a ball"],
]
TOKENIZER = Tokenizer.train_words([c for own in CAPTIONS for c in own], min_count=1)


def ids(captions: list[list[str]], *, ends: bool = True) -> torch.Tensor:
    """(B, K, T), padded."""
    rows = [[TOKENIZER.encode(c) + [TOKENIZER.end_id] * ends for c in own] for own in captions]
    longest = max(len(row) for own in rows for row in own)
    pad = [TOKENIZER.pad_id]
    return torch.tensor([[row + pad * (longest - len(row)) for row in own] for own in rows])


def plain(drawn: list[list[str]], captions: list[list[str]] = CAPTIONS) -> list[list[float]]:
    """The same from the plain measure, words in place of ids."""
    references = [[[*c.split(), "END"] for c in own] for own in captions]
    frequencies = document_frequencies([[[*c.split(), "END"] for c in own] for own in CAPTIONS])
    columns = [
        cider_d(references, [[*own[k].split(), "END"] for own in drawn], frequencies=frequencies)[1]
        for k in range(len(drawn[0]))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def test_the_reward_is_cider_d_with_the_end_mark_as_a_word():
    drawn = [
        ["a dog in the grass", "a dog"],
        ["a bike", "two children"],
        ["a ball a ball", "two children play with a ball"],
    ]
    rewards = CiderReward(CAPTIONS, TOKENIZER)(ids(drawn), ids(CAPTIONS))
    torch.testing.assert_close(rewards, torch.tensor(plain(drawn)), atol=1e-6, rtol=1e-6)


words = st.sampled_from(["a", "dog", "runs", "on", "grass", "bike", "ball", "the", "two"])
sentences = st.lists(words, max_size=9).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(sentences, min_size=3, max_size=3), min_size=3, max_size=3))
def test_any_captions_are_rewarded_as_the_plain_measure_scores_them(drawn):
    rewards = CiderReward(CAPTIONS, TOKENIZER)(ids(drawn), ids(CAPTIONS))
    torch.testing.assert_close(rewards, torch.tensor(plain(drawn)), atol=1e-6, rtol=1e-6)


def test_a_caption_that_does_not_end_is_worth_less():
    whole = ids([["two children play with a ball"]])
    cut = ids([["two children play with a ball"]], ends=False)
    reward = CiderReward(CAPTIONS, TOKENIZER)
    references = ids([CAPTIONS[2][:1]])
    assert reward(whole, references).item() == pytest.approx(10)
    assert reward(cut, references).item() < 9.5


def test_an_image_with_fewer_captions_than_its_neighbours_is_not_punished():
    drawn = ids([["a man on a bike"]])
    reward = CiderReward(CAPTIONS, TOKENIZER)
    alone = ids([CAPTIONS[1]])
    padded = torch.cat([alone, torch.full_like(alone, TOKENIZER.pad_id)], dim=1)
    torch.testing.assert_close(reward(drawn, padded), reward(drawn, alone))


def test_a_caption_of_nothing_is_worth_nothing():
    nothing = torch.full((1, 2, 4), TOKENIZER.pad_id)
    assert CiderReward(CAPTIONS, TOKENIZER)(nothing, ids(CAPTIONS[:1])).tolist() == [[0.0, 0.0]]

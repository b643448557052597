import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.words.tokenizer import Tokenizer
from training.metrics.bleu import bleu
from training.metrics.cider import cider_d, document_frequencies
from training.objectives.reward import Reward

CAPTIONS = [
    ["a dog runs on grass", "a brown dog in the grass"],
    ["a man on a bike", "someone rides a bike"],
    ["two children play with a ball", "a ball a ball a ball"],
]
TOKENIZER = Tokenizer.train_words([c for own in CAPTIONS for c in own], min_count=1)
ENCODED = [[TOKENIZER.encode(caption) for caption in own] for own in CAPTIONS]
REWARD = Reward(ENCODED, TOKENIZER)


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
    rewards = REWARD(ids(drawn), ids(CAPTIONS))
    torch.testing.assert_close(rewards, torch.tensor(plain(drawn)), atol=1e-6, rtol=1e-6)


words = st.sampled_from(["a", "dog", "runs", "on", "grass", "bike", "ball", "the", "two"])
sentences = st.lists(words, max_size=9).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(sentences, min_size=3, max_size=3), min_size=3, max_size=3))
def test_any_captions_are_rewarded_as_the_plain_measure_scores_them(drawn):
    rewards = REWARD(ids(drawn), ids(CAPTIONS))
    torch.testing.assert_close(rewards, torch.tensor(plain(drawn)), atol=1e-6, rtol=1e-6)


def test_a_caption_that_does_not_end_is_worth_less():
    whole = ids([["two children play with a ball"]])
    cut = ids([["two children play with a ball"]], ends=False)
    references = ids([CAPTIONS[2][:1]])
    assert REWARD(whole, references).item() == pytest.approx(10)
    assert REWARD(cut, references).item() < 9.5


def test_an_image_with_fewer_captions_than_its_neighbours_is_not_punished():
    drawn = ids([["a man on a bike"]])
    alone = ids([CAPTIONS[1]])
    padded = torch.cat([alone, torch.full_like(alone, TOKENIZER.pad_id)], dim=1)
    torch.testing.assert_close(REWARD(drawn, padded), REWARD(drawn, alone))


def test_a_caption_of_nothing_is_worth_nothing():
    nothing = torch.full((1, 2, 4), TOKENIZER.pad_id)
    assert REWARD(nothing, ids(CAPTIONS[:1])).tolist() == [[0.0, 0.0]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(sentences, min_size=3, max_size=3), min_size=3, max_size=3))
def test_bleu_joins_in_as_the_plain_measure_has_it(drawn):
    plain_bleu = [
        bleu([[[*c.split(), "END"] for c in own]] * 3, [[*c.split(), "END"] for c in texts])[1]
        for own, texts in zip(CAPTIONS, drawn, strict=True)
    ]
    expected = torch.tensor([[scores[3] for scores in own] for own in plain_bleu])
    mixed = Reward(ENCODED, TOKENIZER, bleu=2.0)(ids(drawn), ids(CAPTIONS))
    alone = REWARD(ids(drawn), ids(CAPTIONS))
    torch.testing.assert_close(mixed - alone, 2 * expected, atol=1e-5, rtol=1e-5)


def test_images_counted_in_portions_are_counted_as_one_crowd(monkeypatch):
    monkeypatch.setattr("training.objectives.reward._IMAGES", 2)
    portions = Reward(ENCODED, TOKENIZER)
    assert portions.signature == REWARD.signature
    drawn = ids([["a dog on a bike"], ["a ball"], ["children play"]])
    assert torch.equal(portions(drawn, ids(CAPTIONS)), REWARD(drawn, ids(CAPTIONS)))


def test_the_signature_says_what_rewards_depend_on():
    assert REWARD.signature.startswith("CIDEr-D|n:4|sigma:6|end:counted|df:3 training images, ")
    others = [Reward(ENCODED, TOKENIZER, bleu=0.5), Reward(ENCODED[:2], TOKENIZER)]
    assert "CIDEr-D+0.5*BLEU-4|" in others[0].signature
    assert len({REWARD.signature, *(other.signature for other in others)}) == 3

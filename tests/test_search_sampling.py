"""Captions that are drawn."""

import math
from collections import Counter

import pytest
import torch

from captioner.config import SearchConfig
from captioner.search.walk import sampler
from tests.test_search import GARDEN_CAPTIONS, both_decoders, features, find, tiny
from tests.toys import GARDEN, A, TableDecoder


def test_sampling_says_each_caption_as_often_as_it_is_likely():
    draws = 300
    decoder = TableDecoder(GARDEN)
    said = Counter(
        tuple(find(decoder, method="sample", seed=seed)[0].words[0]) for seed in range(draws)
    )
    assert set(said) == set(GARDEN_CAPTIONS)
    distance = sum((said[w] - draws * p) ** 2 / (draws * p) for w, p in GARDEN_CAPTIONS.items())
    assert distance < 13.3  # chi-square of 4 degrees of freedom stays below in 99 of 100 runs


def drawn(*probabilities: float, draws: int = 1000, **settings) -> list[float]:
    """Return how often each word is drawn, as fractions."""
    draw = sampler(SearchConfig(method="sample", **settings))
    said = Counter(draw(torch.tensor([probabilities]).log()).item() for _ in range(draws))
    return [said[word] / draws for word in range(len(probabilities))]


def test_temperature_raises_probabilities_to_a_power():
    expected = [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]
    assert drawn(0.6, 0.3, 0.1, temperature=0.5) == pytest.approx(expected, abs=0.045)
    expected = [p**0.5 / (0.6**0.5 + 0.3**0.5 + 0.1**0.5) for p in (0.6, 0.3, 0.1)]
    assert drawn(0.6, 0.3, 0.1, temperature=2.0) == pytest.approx(expected, abs=0.045)


def test_top_k_keeps_the_likeliest_words_in_proportion():
    expected = [0, 0.3 / 0.8, 0.5 / 0.8]
    assert drawn(0.2, 0.3, 0.5, top_k=2) == pytest.approx(expected, abs=0.045)
    assert drawn(0.2, 0.3, 0.5, top_k=99) == pytest.approx([0.2, 0.3, 0.5], abs=0.045)


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.4, [0, 0, 1]),
        (0.55, [0, 0.3 / 0.8, 0.5 / 0.8]),
        (0.79, [0, 0.3 / 0.8, 0.5 / 0.8]),
        (0.81, [0.2, 0.3, 0.5]),
        (1.0, [0.2, 0.3, 0.5]),
    ],
)
def test_top_p_keeps_the_fewest_likeliest_words_that_reach_it(top_p, expected):
    assert drawn(0.2, 0.3, 0.5, top_p=top_p) == pytest.approx(expected, abs=0.045)


def test_temperature_comes_before_top_k_and_top_k_before_top_p():
    assert drawn(0.2, 0.3, 0.5, top_k=2, top_p=0.6, draws=200) == [0, 0, 1]  # 0.5 / 0.8 is enough
    assert drawn(0.2, 0.3, 0.5, top_p=0.6, draws=200)[1] > 0  # 0.5 alone is not
    # At temperature 1/2 the likeliest word has 0.25 / 0.38.
    assert drawn(0.2, 0.3, 0.5, temperature=0.5, top_p=0.6, draws=200) == [0, 0, 1]


def test_reported_probabilities_know_nothing_of_temperature_and_top_k():
    [found] = find(TableDecoder(GARDEN), method="sample", temperature=0.01, top_k=1)
    assert found.words == [[A]]
    assert [math.exp(x) for x in found.log_probabilities[0]] == pytest.approx([0.6, 0.4])


@both_decoders
@pytest.mark.parametrize("settings", [{"temperature": 1e-300}, {"top_k": 1}, {"top_p": 1e-9}])
def test_sampling_without_freedom_is_greedy_search(settings, kind):
    decoder, seen = tiny(kind), features(5)
    sampled = find(decoder, seen, method="sample", max_words=8, seed=7, **settings)
    assert sampled == find(decoder, seen, method="greedy", max_words=8)


def test_a_seed_gives_the_same_caption_whatever_the_batch_around_it():
    decoder, seen = tiny("lstm"), features(9)
    together = find(decoder, seen, method="sample", seed=11, max_words=8)
    torch.manual_seed(99)  # nobody else's draws matter
    shuffled = find(decoder, seen.flip(0), method="sample", seed=11, max_words=8)
    other = find(decoder, seen, method="sample", seed=12, max_words=8)
    assert [c.words for c in together] == [c.words for c in reversed(shuffled)]
    assert [c.words for c in together] != [c.words for c in other]

"""Captions that are drawn."""

import hashlib
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from captioner.config import SearchConfig
from captioner.search import draw, make_noise
from tests.searching import find, in_namespace
from tests.test_search import GARDEN_CAPTIONS, both_decoders, features, tiny
from tests.toys import GARDEN, A, B, C, TableDecoder

pytestmark = pytest.mark.usefixtures("namespace")

SAMPLE = SearchConfig(method="sample")


def test_sampling_says_each_caption_as_often_as_it_is_likely():
    draws = 300
    decoder = TableDecoder(GARDEN)
    said = Counter(
        tuple(find(decoder, method="sample", seed=seed)[0].tokens[0]) for seed in range(draws)
    )
    assert set(said) == set(GARDEN_CAPTIONS)
    distance = sum((said[w] - draws * p) ** 2 / (draws * p) for w, p in GARDEN_CAPTIONS.items())
    assert distance < 13.3  # chi-square of 4 degrees of freedom stays below in 99 of 100 runs


def drawn(*probabilities: float, draws: int = 1000, **settings) -> list[float]:
    """Return how often each word is drawn, as fractions."""
    log_p = in_namespace(torch.tensor(probabilities).log().repeat(draws, 1))
    noise = in_namespace(torch.rand(draws, generator=torch.Generator().manual_seed(0)))
    said = Counter(draw(log_p, noise, **settings).tolist())
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
    assert found.tokens == [[A]]
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
    assert [c.tokens for c in together] == [c.tokens for c in reversed(shuffled)]
    assert [c.tokens for c in together] != [c.tokens for c in other]


def chi_square(counts, expected) -> float:
    return float(sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True)))


def test_equal_photos_are_captioned_alike_and_different_ones_as_if_by_dice():
    table = {(): dict.fromkeys((A, B, C), 1 / 3), **{(w,): {A: 0.5, B: 0.5} for w in (A, B, C)}}
    photos = 900
    decoder = TableDecoder(*[table] * photos)
    found = [own.tokens[0] for own in find(decoder, method="sample", max_words=2, seed=3)]
    pairs = Counter(map(tuple, found))
    expected = [photos / 6] * 6  # 5 degrees of freedom; stays below 20.5 in 999 of 1000 runs
    assert chi_square([pairs[a, b] for a in (A, B, C) for b in (A, B)], expected) < 20.5
    again = find(decoder, decoder.images()[[7, 5, 7]], method="sample", max_words=2, seed=3)
    assert [own.tokens[0] for own in again] == [found[7], found[5], found[7]]


def test_noise_is_uniform_and_independent_of_seed_photo_caption_and_token():
    photos = in_namespace(torch.arange(60.0)[:, None])
    noise = make_noise(photos, config=replace(SAMPLE, max_words=9), seeds=(0, 1, -1, 2**63 - 1))
    assert (noise.shape, noise.dtype) == ((60, 4, 10), np.float32)
    assert 0 <= noise.min() < noise.max() < 1
    tenths = np.bincount((10 * noise.ravel()).astype(int), minlength=10)
    assert chi_square(tenths, [240] * 10) < 27.9  # 9 degrees of freedom, 999 of 1000
    for axis in range(3):  # neighbours along it have nothing in common
        first, second = (
            np.take(noise, range(start, noise.shape[axis] + start - 1), axis).ravel()
            for start in (0, 1)
        )
        assert abs(np.corrcoef(first, second)[0, 1]) < 3.3 / len(first) ** 0.5


def test_noise_is_shake_256_of_photo_and_seed():
    # A change here changes every drawn caption: 16 hexadecimal digits of SHAKE-256 each.
    noise = make_noise(np.zeros((1, 2), np.float32), config=replace(SAMPLE, max_words=2, seed=5))
    key = hashlib.sha256(bytes(8)).digest() + (5).to_bytes(8, "little")
    digits = hashlib.shake_256(key).hexdigest(24)
    numbers = [bytes.fromhex(digits[i : i + 16])[:4:-1].hex() for i in (0, 16, 32)]
    assert noise.tolist() == [[[int(number, 16) / 2**24 for number in numbers]]]


def test_searches_that_draw_nothing_need_no_noise():
    for method in ("beam", "greedy"):
        assert make_noise(features(2), config=SearchConfig(method=method)) is None


def test_several_captions_of_an_image_come_as_drawn_alone_and_in_the_order_of_their_seeds():
    decoder, seen = tiny("transformer", end_bias=1.0), features(4)
    settings = {"method": "sample", "max_words": 6}
    seeds = (5, 9, 5, 2)
    noise = make_noise(seen, config=SearchConfig(**settings), seeds=seeds)
    found = find(decoder, seen, noise=noise, **settings)
    for k, seed in enumerate(seeds):
        alone = find(decoder, seen, seed=seed, **settings)
        assert [own.tokens[k] for own in found] == [own.tokens[0] for own in alone]
        assert [own.finished[k] for own in found] == [own.finished[0] for own in alone]
        for own, other in zip(found, alone, strict=True):
            assert own.log_probabilities[k] == pytest.approx(other.log_probabilities[0], abs=1e-5)
    assert len({len(tokens) for own in found for tokens in own.tokens}) > 2


def test_words_without_probability_are_never_drawn_whatever_the_noise():
    log_p = torch.tensor([[-math.inf, 0.5, -math.inf, 0.5, -math.inf]]).log_softmax(dim=-1)
    noise = torch.tensor([0.0, 2**-24, 0.5, 1 - 2**-24])
    tokens = draw(in_namespace(log_p.repeat(4, 1)), in_namespace(noise))
    assert tokens.tolist() == [1, 1, 3, 3]

"""Captions shown while they grow."""

import math

import pytest
import torch

from captioner.config import SearchConfig
from captioner.search import search_steps
from tests.searching import constraints, find, watch
from tests.test_search import LONG, all_methods, features, own, tiny
from tests.toys import GARDEN, A, B, TableDecoder

pytestmark = pytest.mark.usefixtures("namespace")


def test_greedy_search_shows_the_caption_one_word_longer_each_time():
    *growing, found = watch(TableDecoder(LONG), method="greedy", max_words=3)
    assert [step.tokens for step in growing] == [[[A]], [[A, A]], [[A, A, A]]]
    assert [step.finished for step in growing] == [[False]] * 3
    assert growing[1].log_probability == pytest.approx([math.log(0.9)])
    assert found == find(TableDecoder(LONG), method="greedy", max_words=3)[0]


def test_beam_search_shows_what_is_in_play_the_likeliest_first():
    first, *_, found = watch(TableDecoder(GARDEN), beam=2, max_words=2)
    assert first.tokens == [[A], [B]]
    assert first.log_probability == pytest.approx([math.log(0.6), math.log(0.4)])
    assert found.tokens[0] == [B]  # the likeliest caption did not begin with the likeliest word


@all_methods
def test_watching_changes_nothing_that_is_found(method):
    decoder, image = tiny("transformer"), features(1)
    *growing, found = watch(decoder, image, **own(method, max_words=6, seed=1))
    assert found == find(decoder, image, **own(method, max_words=6, seed=1))[0]
    assert [len(step.tokens[0]) for step in growing] == list(range(1, len(growing) + 1))
    assert not torch.is_inference_mode_enabled()


def test_between_two_words_the_watcher_finds_every_mode_as_it_was():
    decoder = tiny("lstm").train()
    steps = search_steps(decoder, features(1), config=SearchConfig(), constraints=constraints())
    for _ in steps:
        assert not torch.is_inference_mode_enabled()
        assert decoder.training

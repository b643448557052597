import math

import numpy as np
import pytest

from captioner.overlay import DIFFUSE, SAME, diagnose, difference, entropy
from tests.captions import even, one_hot, word

SAME_PLACE = "Attention is the same for every word, so the overlays do not tell words apart."
EVERYWHERE = "Attention is nearly uniform for every word, so the overlays say little."


def evenly_on(regions, grid=(7, 7)):
    """Even attention on the first regions, none on the others."""
    attention = np.zeros(grid[0] * grid[1], np.float32)
    attention[:regions] = 1 / regions
    return attention.reshape(grid)


def test_entropy_runs_from_one_region_to_all():
    assert entropy(one_hot((7, 7), 2, 3)) == 0
    assert entropy(even((7, 7))) == pytest.approx(1)
    assert entropy(even((3, 5))) == pytest.approx(1)
    assert entropy(evenly_on(7)) == pytest.approx(0.5)
    assert entropy(np.array([[0.75, 0.25]], np.float32)) == pytest.approx(
        -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    )
    assert entropy(np.ones((1, 1), np.float32)) == 1


def test_entropy_does_not_care_what_the_weights_sum_to():
    assert entropy(3 * evenly_on(7)) == pytest.approx(0.5)


def test_the_threshold_is_where_its_description_says():
    assert entropy(evenly_on(43)) < DIFFUSE < entropy(evenly_on(44))
    assert entropy(evenly_on(167, (14, 14))) < DIFFUSE < entropy(evenly_on(168, (14, 14)))


def test_the_difference_is_the_share_of_attention_that_lies_elsewhere():
    here, there = one_hot((2, 2), 0, 0), one_hot((2, 2), 1, 1)
    assert difference([word("a", here), word("b", there)]) == 1
    assert difference([word("a", here), word("b", here)]) == 0
    assert difference([word("a", here), word("b", 0.7 * here + 0.3 * there)]) == pytest.approx(0.3)
    three = [word("a", here), word("b", here), word("c", there)]
    assert difference(three) == pytest.approx(2 / 3)
    assert difference(three[:1]) == 1
    assert difference([]) == 1


def test_attention_that_goes_from_place_to_place_needs_no_warning():
    words = [word("dog", one_hot((7, 7), 1, 1)), word("ball", one_hot((7, 7), 5, 5))]
    assert diagnose(words) == []
    assert diagnose(words[:1]) == []
    assert diagnose([]) == []


def test_words_that_were_looked_for_everywhere_are_named():
    words = [word("a", even()), word("dog", one_hot((7, 7), 1, 1)), word("of", even())]
    assert diagnose(words) == ['Attention is nearly uniform for "a", "of".']


def test_a_model_that_always_looks_everywhere_is_found_out():
    assert diagnose([word("a", even()), word("dog", even())]) == [EVERYWHERE]


def test_attention_on_the_same_place_for_every_word_is_diagnosed():
    centre = 0.9 * one_hot((7, 7), 3, 3) + 0.1 * even()
    words = [word("a", centre), word("dog", 0.96 * centre + 0.04 * even()), word("runs", centre)]
    assert 0 < difference(words) < SAME
    assert diagnose(words) == [SAME_PLACE]

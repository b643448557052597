import numpy as np
import pytest

from captioner.overlay import find_most_telling
from tests.captions import even, one_hot, word


def test_the_most_telling_word_is_a_content_word_with_heavy_attention_that_the_model_is_sure_of():
    half = np.zeros((5, 5), np.float32)
    half[0, :2] = 0.5
    words = [
        word("The", one_hot((5, 5), 0, 0), 0.99),
        word("dog", half, 0.9),
        word("ball", one_hot((5, 5), 0, 0), 0.3),
        word("sky", even((5, 5)), 0.95),
    ]
    assert find_most_telling(words) == 1


@pytest.mark.parametrize(("texts", "expected"), [([], None), (["On", "THE"], 1)])
def test_function_words_count_where_there_are_no_others(texts, expected):
    words = [word(t, one_hot((2, 2), 0, 0), 0.1 * (n + 1)) for n, t in enumerate(texts)]
    assert find_most_telling(words) == expected

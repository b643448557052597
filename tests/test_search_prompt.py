"""Prompts: words given before the first, which are no part of captions, words and maps."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from captioner.config import AttentionConfig
from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from captioner.result.rollout import rollout
from tests.conftest import TOYS
from tests.searching import constraints, find, watch
from tests.test_pipeline import assert_same
from tests.toys import END, A, B, C, TableDecoder

ENDINGS = {(B,): {A: 0.6, C: 0.4}, (B, A): {END: 1.0}, (B, C): {END: 1.0}, (): {A: 1.0}}
AFTER_B = constraints(prompt=(B,))

in_each_namespace = pytest.mark.usefixtures("namespace")


@in_each_namespace
@pytest.mark.parametrize("method", ["beam", "greedy", "sample"])
def test_a_search_continues_the_prompt_and_returns_the_rest(method):
    (found,) = find(TableDecoder(ENDINGS), constraints=AFTER_B, method=method, max_words=2)
    assert found.tokens[0] in ([A], [C])
    assert found.tokens[0] == [A] or method == "sample"
    assert len(found.log_probabilities[0]) == 2  # of the word and END, not of what was given
    if method == "beam":
        assert found.tokens == [[A], [C]]
        assert found.log_probability == pytest.approx(np.log([0.6, 0.4]))


@in_each_namespace
def test_what_grows_is_shown_without_the_prompt():
    first, *_, last = watch(TableDecoder(ENDINGS), constraints=AFTER_B, beam=2, max_words=2)
    assert first.tokens == [[A], [C]]
    assert last.tokens == [[A], [C]]


@in_each_namespace
def test_rows_lead_to_the_readings_of_the_prompt_first():
    tables = [ENDINGS, ENDINGS | {(B,): {C: 1.0}}]
    found = find(TableDecoder(*tables), constraints=AFTER_B, beam=2, max_words=2)
    assert [own.rows[0][:2] for own in found] == [[0, 0], [1, 1]]  # START, then B
    assert [len(own.rows[0]) for own in found] == [3, 3]


@pytest.mark.parametrize("changes", [{}, {"method": "greedy"}, {"method": "sample", "seed": 4}])
def test_a_caption_begins_behind_the_prompt_and_so_do_its_words(toy, photos, changes):
    captioner = TorchCaptioner(*toy)
    for photo in photos[:3]:
        caption = captioner.caption(photo, prompt="a man", **changes)
        weights, gates, rolled = whole(captioner, photo, "a man", caption)
        assert caption.search.prompt == "a man"
        assert len(caption.words) == len(weights)
        for word, expected, gate in zip(caption.words, weights, gates, strict=True):
            assert_allclose(word.heads[-1].mean(axis=0).ravel(), expected, atol=1e-5)
            assert word.gate == (None if gate is None else pytest.approx(gate, abs=1e-5))
        if rolled is not None:
            view = caption.with_view(AttentionConfig(method="rollout"))
            for word, expected in zip(view.words, rolled, strict=True):
                assert_allclose(word.attention.ravel(), expected, atol=1e-5)
        *_, streamed = captioner.stream(photo, prompt="a man", **changes)
        assert_same(streamed, caption)


def whole(captioner, photo, prompt, caption):
    """Weights (P), gate and rollout (P) of every word, on reading prompt and caption at once."""
    tokenizer = captioner.header.tokenizer
    given = [tokenizer.start_id, *tokenizer.encode(prompt)]
    ids = tokenizer.encode(caption.text)
    pixels = torch.from_numpy(captioner.prepare(photo).pixels)[None]
    with torch.no_grad():
        reading = captioner.model(pixels, torch.tensor([[given + ids]]), with_attention=True)
    attention = reading.attention[0, 0]
    rolled = None
    if reading.between_words is not None:
        rolled = rollout(attention.mean(dim=1), reading.between_words[0, 0].mean(dim=1))
    places = [[len(given) - 1 + t for t in word.tokens] for word in tokenizer.words(ids)]
    gate = reading.gate
    return (
        [attention[-1].mean(dim=0)[own].mean(dim=0).numpy() for own in places],
        [None if gate is None else float(gate[0, 0, own].mean()) for own in places],
        rolled if rolled is None else [rolled[own].mean(dim=0).numpy() for own in places],
    )


def test_other_candidates_are_read_behind_the_prompt_too(tokenizer, photos):
    captioner = TorchCaptioner(*TOYS["transformer"](tokenizer))
    caption = captioner.caption(photos[1], prompt="a man", beam=3)
    others = captioner.read_candidates(photos[1], caption)
    assert others
    for other in others:
        weights, _, _ = whole(captioner, photos[1], "a man", other)
        for word, expected in zip(other.words, weights, strict=True):
            assert_allclose(word.attention.ravel(), expected, atol=1e-5)


def test_a_prompt_takes_of_the_longest_caption(tokenizer):
    _, header = TOYS["transformer"](tokenizer)
    assert header.longest == 15
    assert header.search_with(prompt="a man", max_words=13).max_words == 13
    with pytest.raises(ConfigError) as caught:
        header.search_with(prompt="a man", max_words=14)
    assert str(caught.value) == (
        "search.max_words is 14; toy-transformer writes 15 at most, 2 of the prompt included."
    )

"""Sentences of your own, read or gone on with as if the model had written them."""

import math

import pytest

from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS


@pytest.fixture
def model(kind, tokenizer) -> TorchCaptioner:
    return TorchCaptioner(*TOYS[kind](tokenizer))


def test_the_models_own_caption_is_read_as_it_was_written(model, photos):
    caption = model.caption(photos[1], method="greedy")
    read = model.read_sentence(photos[1], caption.text)
    assert (read.text, read.candidates) == (caption.text, ())
    assert read.log_probability < math.fsum(math.log(w.probability) for w in read.words)  # and END
    for word, written in zip(read.words, caption.words, strict=True):
        assert word.text == written.text
        assert word.probability == pytest.approx(written.probability, abs=1e-5)
        assert word.attention == pytest.approx(written.attention, abs=1e-6)
        assert word.heads.shape == written.heads.shape


def test_rivals_are_the_likeliest_words_of_each_place(model, photos):
    caption = model.caption(photos[1], method="greedy", max_words=4)
    read = model.read_sentence(photos[1], caption.text, rivals=3)
    for word in read.words:
        assert len(word.rivals) == 3
        shares = [rival.probability for rival in word.rivals]
        assert shares == sorted(shares, reverse=True)
        assert math.isfinite(sum(shares))
    first = read.words[0]
    if "'" not in first.text:
        assert first.rivals[0] == (first.text, pytest.approx(first.probability))
    assert model.read_sentence(photos[1], "A dog", rivals=0).words[0].rivals == ()


def test_every_rival_is_the_probability_of_the_sentence_with_it(model, photos):
    read = model.read_sentence(photos[0], "a dog", rivals=21)
    rivals = dict(read.words[1].rivals)
    for other in ("beach", "cat", "grass"):
        word = model.read_sentence(photos[0], f"a {other}").words[1]
        assert rivals[other] == pytest.approx(word.probability, rel=1e-4)
    assert "" in rivals  # the caption could have ended
    assert math.fsum(rivals.values()) == pytest.approx(1, abs=1e-4)


def test_a_sentence_is_gone_on_with_greedily(model, photos):
    greedy = model.caption(photos[2], method="greedy", no_repeat=0)
    assert model.complete(photos[2], "").text == greedy.text
    begun = model.complete(photos[2], "Two girls")
    assert begun.text.startswith("Two girls")
    whole = model.read_sentence(photos[2], begun.text)
    assert [word.probability for word in begun.words] == pytest.approx(
        [word.probability for word in whole.words], abs=1e-6
    )


def test_nothing_is_added_to_as_many_words_as_a_search_writes(model, photos):
    most = model.header.search.max_words
    begun = "a dog " * (most // 2)
    assert len(model.complete(photos[2], begun).words) == most
    assert model.complete(photos[2], f"{begun} on").text.endswith(" dog on")


@pytest.mark.parametrize("method", ["read_sentence", "complete"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a unicorn and a zebra", "words that {} does not know: unicorn, and, zebra; write"),
        ("a dog " * 40, "has 80 tokens; {} reads 1"),
    ],
)
def test_what_cannot_be_read_is_named(model, photos, method, text, problem):
    if model.header.longest is None and "80" in problem:
        pytest.skip("the recurrent decoder has no longest sentence")
    with pytest.raises(ConfigError, match=problem.format(model.header.name)):
        getattr(model, method)(photos[0], text)


def test_an_empty_sentence_is_none(model, photos):
    with pytest.raises(ConfigError, match=r"^the sentence is empty; write some words\.$"):
        model.read_sentence(photos[0], "...")

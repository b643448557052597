import pytest

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.words.constraints import Constraints, constraints_of
from captioner.words.tokenizer import Tokenizer

WORDS = Tokenizer.train_words(["a dog on a hot stone", "a hot dog with a cat"], min_count=1)
PIECES = Tokenizer.train_bpe(["a dog on a hot stone", "a hot dog with a cat"] * 3, vocabulary=270)


NONE = Constraints(
    prefix=(WORDS.start_id,), end_id=WORDS.end_id, never_written=tuple(WORDS.never_written)
)


def ids(text: str) -> tuple[int, ...]:
    return tuple(WORDS.encode(text))


def limits(**settings):
    return constraints_of(SearchConfig(**settings), WORDS)


def test_without_settings_there_are_no_of():
    assert limits() == NONE


def test_words_and_runs_of_words_become_their_ids():
    found = limits(forbid=("dog", "Hot stone"), require=("cat", "hot dog"), no_end=("a", "with"))
    endings = [(*ids(word), WORDS.end_id) for word in ("a", "with")]
    assert found.forbidden == (ids("dog"), ids("hot stone"), *endings)
    assert found.required == (ids("cat"), ids("hot dog"))


def test_a_prompt_comes_behind_start_whatever_spaces_surround_it():
    assert limits(prompt="a hot ").prefix == (WORDS.start_id, *ids("a hot"))
    found = constraints_of(SearchConfig(prompt="a hot "), PIECES)
    assert found.prefix == (PIECES.start_id, *PIECES.encode("a hot"))


def test_a_prompt_with_a_word_that_is_not_known_is_refused():
    with pytest.raises(ConfigError) as caught:
        limits(prompt="a zebra")
    assert str(caught.value) == (
        "search.prompt is 'a zebra', which has a word that this model does not know; "
        "use other words, or leave it out."
    )


def test_a_forbidden_word_that_is_not_known_needs_no_constraint():
    assert limits(forbid=("zebra", "hot zebra", ""), no_end=("zebra",)) == NONE


def test_a_required_word_that_is_not_known_is_refused_with_words_like_it():
    with pytest.raises(
        ConfigError, match=r"'stones' is not in the vocabulary .* did you mean stone\?"
    ):
        limits(require=("stones",))
    with pytest.raises(ConfigError, match=r"'' is not in the vocabulary .* choose another word\."):
        limits(require=("",))


def test_a_word_in_pieces_is_a_run_of_them():
    found = constraints_of(SearchConfig(require=("stone",), max_words=9), PIECES)
    assert len(found.required[0]) > 1
    assert PIECES.decode(found.required[0]) == "Stone"


def test_too_many_required_words_are_refused():
    assert len(limits(require=("a", "dog", "on", "hot")).required) == 4
    with pytest.raises(ConfigError, match=r"search\.require is .* leave some out"):
        limits(require=("a", "dog", "on", "hot", "stone"))
    with pytest.raises(ConfigError, match=r"does not fit into search\.max_words = 2; raise it"):
        limits(require=("a hot dog",), max_words=2)

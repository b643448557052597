import pytest

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.rules import NO_RULES, rules_of
from captioner.tokenizer import Tokenizer

WORDS = Tokenizer.train_words(["a dog on a hot stone", "a hot dog with a cat"], min_count=1)
PIECES = Tokenizer.train_bpe(["a dog on a hot stone", "a hot dog with a cat"] * 3, vocabulary=270)


def ids(text: str) -> tuple[int, ...]:
    return tuple(WORDS.encode(text))


def rules(**settings):
    return rules_of(SearchConfig(**settings), WORDS)


def test_without_settings_there_are_no_rules():
    assert rules() == NO_RULES


def test_words_and_runs_of_words_become_their_ids():
    found = rules(forbid=("dog", "Hot stone"), require=("cat", "hot dog"), no_end=("a", "with"))
    assert found.forbidden == (ids("dog"), ids("hot stone"))
    assert found.required == (ids("cat"), ids("hot dog"))
    assert found.no_end == (*ids("a"), *ids("with"))


def test_a_forbidden_word_that_is_not_known_needs_no_rule():
    assert rules(forbid=("zebra", "hot zebra", ""), no_end=("zebra",)) == NO_RULES


def test_a_required_word_that_is_not_known_is_refused_with_words_like_it():
    with pytest.raises(ConfigError, match=r"'stones' is no word .* did you mean stone\?"):
        rules(require=("stones",))
    with pytest.raises(ConfigError, match=r"'' is no word .* choose another word\."):
        rules(require=("",))


def test_a_word_in_pieces_is_a_run_of_them():
    found = rules_of(SearchConfig(require=("stone",), max_words=9), PIECES)
    assert len(found.required[0]) > 1
    assert PIECES.decode(found.required[0]) == "Stone"


def test_more_than_can_be_looked_for_is_refused():
    assert len(rules(require=("a", "dog", "on", "hot")).required) == 4
    with pytest.raises(ConfigError, match=r"search\.require is .* leave some out"):
        rules(require=("a", "dog", "on", "hot", "stone"))
    with pytest.raises(ConfigError, match=r"does not fit into search\.max_words = 2; raise it"):
        rules(require=("a hot dog",), max_words=2)

"""Rules in a search: what is found is what trying every caption finds, those that break a rule left
out."""

import itertools
import math
import random

import pytest
import torch

from captioner.config import SearchConfig, TransformerConfig
from captioner.errors import ConfigError
from captioner.model import build_decoder
from captioner.rules import Rules
from captioner.search import search, search_steps
from captioner.search.obedience import obey
from tests.toys import END, SPECIALS, START, A, B, C, TableDecoder

LONGEST = 4
RULES = {
    "one forbidden": Rules(forbidden=((A,),)),
    "a run forbidden": Rules(forbidden=((A, B), (C,))),
    "no word twice": Rules(no_repeat=1),
    "no pair twice": Rules(no_repeat=2),
    "no bad end": Rules(no_end=(A, B)),
    "one required": Rules(required=((C,),)),
    "two required": Rules(required=((C,), (A,))),
    "a run required": Rules(required=((B, B, A),)),
    "all at once": Rules(forbidden=((B, C),), no_repeat=2, no_end=(B,), required=((C,), (A, B))),
}
each_rule = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)


def find(decoder, features=None, *, rules, **settings):
    return search(
        decoder,
        decoder.images() if features is None else features,
        config=SearchConfig(**{"max_words": LONGEST} | settings),
        start_id=START,
        end_id=END,
        forbidden=SPECIALS,
        rules=rules,
    )


def random_table(seed: int) -> dict:
    """Probabilities of END, A, B and C after every caption of up to `LONGEST` words."""
    chance = random.Random(seed)
    table = {}
    for words in every_caption():
        weights = [chance.random() ** 2 for _ in range(4)]
        table[words] = {w: p / sum(weights) for w, p in zip((END, A, B, C), weights, strict=True)}
    return table


def every_caption():
    for length in range(LONGEST + 1):
        yield from itertools.product((A, B, C), repeat=length)


def runs(words: tuple, length: int) -> list:
    return [words[i : i + length] for i in range(len(words) - length + 1)]


def allowed(words: tuple, rules: Rules) -> bool:
    """Whether these words may be said; whether a caption may end with them is another matter."""
    if any(phrase in runs(words, len(phrase)) for phrase in rules.forbidden):
        return False
    said = runs(words, rules.no_repeat) if rules.no_repeat else []
    return len(said) == len(set(said))


def try_every_caption(table: dict, rules: Rules) -> list:
    """Return (score, words) of all captions that follow the rules, best first."""
    found = []
    for words in every_caption():
        if not allowed(words, rules):
            continue
        if not all(phrase in runs(words, len(phrase)) for phrase in rules.required):
            continue
        total = sum(math.log(table[words[:t]][word]) for t, word in enumerate(words))
        ends = not (words and words[-1] in rules.no_end)
        if len(words) == LONGEST:  # finished where END comes next, and cut off elsewhere
            after = {
                w: p for w, p in table[words].items() if w == END or allowed((*words, w), rules)
            }
            ends = ends and after[END] == max(after.values())
        elif not ends:
            continue
        found.append((total + (math.log(table[words][END]) if ends else 0), words))
    return sorted(found, reverse=True)


@each_rule
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_enough_beam_equals_trying_every_caption_that_is_allowed(seed, rules):
    table = random_table(seed)
    [found] = find(TableDecoder(table), rules=rules, beam=len(table))
    expected = try_every_caption(table, rules)
    assert [tuple(words) for words in found.words] == [words for _, words in expected]
    assert found.score == pytest.approx([score for score, _ in expected], abs=1e-5)


@each_rule
@pytest.mark.parametrize("beam", [1, 2])
def test_even_a_narrow_beam_keeps_every_rule(beam, rules):
    tables = [random_table(seed) for seed in range(10, 20)]
    for found, table in zip(
        find(TableDecoder(*tables), rules=rules, beam=beam), tables, strict=True
    ):
        possible = {words for _, words in try_every_caption(table, rules)}
        assert {tuple(words) for words in found.words} <= possible
        assert 1 <= len(found.words) <= beam


@pytest.mark.parametrize("method", ["greedy", "sample"])
@pytest.mark.parametrize("rules", [rules for rules in RULES.values() if not rules.required])
def test_other_searches_keep_the_rules_too(rules, method):
    tables = [random_table(seed) for seed in range(10, 20)]
    for found, table in zip(
        find(TableDecoder(*tables), rules=rules, method=method), tables, strict=True
    ):
        assert tuple(found.words[0]) in {words for _, words in try_every_caption(table, rules)}


@each_rule
def test_words_are_ruled_out_together_as_one_by_one(rules):
    for length in range(LONGEST + 1):
        said = torch.tensor(list(itertools.product((A, B, C), repeat=length)), dtype=torch.long)
        free = torch.zeros(len(said), 1, 7)
        ruled_out = obey(rules, free, said.view(len(said), 1, length), end_id=END).isinf()
        for words, out in zip(said.tolist(), ruled_out[:, 0], strict=True):
            assert set(out.nonzero()[:, 0].tolist()) == rules.broken_by(words, end_id=END)


def test_a_rule_takes_the_word_and_not_its_probability():
    decoder = TableDecoder({(): {A: 0.9, B: 0.1}, (B,): {END: 1.0}})
    [found] = find(decoder, rules=Rules(forbidden=((A,),)), beam=1)
    assert found.words == [[B]]
    assert [math.exp(x) for x in found.log_probabilities[0]] == pytest.approx([0.1, 1.0])


@each_rule
def test_captions_found_together_under_rules_are_those_found_one_by_one(rules):
    torch.manual_seed(1)
    config = TransformerConfig(width=16, layers=2, heads=2, feedforward_width=32, tie=False)
    decoder = build_decoder(config, words=12, feature_dim=6).eval()
    seen = 3 * torch.randn(6, 5, 6)
    together = find(decoder, seen, rules=rules, beam=2, max_words=7)
    for i, found in enumerate(together):
        [alone] = find(decoder, seen[i : i + 1], rules=rules, beam=2, max_words=7)
        assert found.words == alone.words
        assert found.score == pytest.approx(alone.score, abs=1e-5)


def test_the_watcher_sees_the_same_caption_come_about():
    decoder = TableDecoder(random_table(3))
    rules = RULES["two required"]
    *growing, found = search_steps(
        decoder,
        decoder.images(),
        config=SearchConfig(beam=2, max_words=LONGEST),
        start_id=START,
        end_id=END,
        forbidden=SPECIALS,
        rules=rules,
    )
    assert [found] == find(decoder, rules=rules, beam=2)
    for step in growing:
        assert step.log_probability == sorted(step.log_probability, reverse=True)


def test_rules_that_leave_no_caption_are_an_error():
    decoder = TableDecoder(random_table(0))
    with pytest.raises(ConfigError, match=r"no caption says all that search\.require asks for"):
        find(decoder, rules=Rules(required=((A,),), forbidden=((A,),)), beam=2)

"""Constraints: what is found is what trying every caption finds, but for those that break one."""

import itertools
import math
import random

import pytest
import torch

from captioner.decoders import TransformerConfig
from captioner.errors import ConfigError
from captioner.model import build_decoder
from captioner.search.filters import filters_of
from captioner.words.constraints import Constraints
from tests.searching import constraints, find, in_namespace, watch
from tests.toys import END, A, B, C, TableDecoder

pytestmark = pytest.mark.usefixtures("namespace")

LONGEST = 4
CONSTRAINTS = {
    "one forbidden": constraints(forbidden=((A,),)),
    "a run forbidden": constraints(forbidden=((A, B), (C,))),
    "no word twice": constraints(no_repeat=1),
    "no pair twice": constraints(no_repeat=2),
    "no bad end": constraints(forbidden=((A, END), (B, END))),
    "one required": constraints(required=((C,),)),
    "two required": constraints(required=((C,), (A,))),
    "a run required": constraints(required=((B, B, A),)),
    "all at once": constraints(forbidden=((B, C), (B, END)), no_repeat=2, required=((C,), (A, B))),
}
each_constraint = pytest.mark.parametrize("limits", CONSTRAINTS.values(), ids=CONSTRAINTS)


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


def allowed(words: tuple, limits: Constraints) -> bool:
    """Whether these words may be said; whether a caption may end with them is another matter."""
    if any(phrase in runs(words, len(phrase)) for phrase in limits.forbidden):
        return False
    said = runs(words, limits.no_repeat) if limits.no_repeat else []
    return len(said) == len(set(said))


def try_every_caption(table: dict, limits: Constraints) -> list:
    """Return (score, words) of all captions that follow the limits, best first."""
    found = []
    for words in every_caption():
        if not allowed(words, limits):
            continue
        if not all(phrase in runs(words, len(phrase)) for phrase in limits.required):
            continue
        total = sum(math.log(table[words[:t]][word]) for t, word in enumerate(words))
        ends = not (words and (words[-1], END) in limits.forbidden)
        if len(words) == LONGEST:  # finished where END comes next, and cut off elsewhere
            after = {
                w: p for w, p in table[words].items() if w == END or allowed((*words, w), limits)
            }
            ends = ends and after[END] == max(after.values())
        elif not ends:
            continue
        found.append((total + (math.log(table[words][END]) if ends else 0), words))
    return sorted(found, reverse=True)


@each_constraint
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_enough_beam_equals_trying_every_caption_that_is_allowed(seed, limits):
    table = random_table(seed)
    [found] = find(TableDecoder(table), constraints=limits, max_words=LONGEST, beam=len(table))
    expected = try_every_caption(table, limits)
    assert [tuple(words) for words in found.tokens] == [words for _, words in expected]
    assert found.score == pytest.approx([score for score, _ in expected], abs=1e-5)


@each_constraint
@pytest.mark.parametrize("beam", [1, 2])
def test_even_a_narrow_beam_keeps_every_rule(beam, limits):
    tables = [random_table(seed) for seed in range(10, 20)]
    for found, table in zip(
        find(TableDecoder(*tables), constraints=limits, max_words=LONGEST, beam=beam),
        tables,
        strict=True,
    ):
        possible = {words for _, words in try_every_caption(table, limits)}
        assert {tuple(words) for words in found.tokens} <= possible
        assert 1 <= len(found.tokens) <= beam


@pytest.mark.parametrize("method", ["greedy", "sample"])
@pytest.mark.parametrize(
    "limits", [limits for limits in CONSTRAINTS.values() if not limits.required]
)
def test_other_searches_keep_the_constraints_too(limits, method):
    tables = [random_table(seed) for seed in range(10, 20)]
    for found, table in zip(
        find(TableDecoder(*tables), constraints=limits, max_words=LONGEST, method=method),
        tables,
        strict=True,
    ):
        assert tuple(found.tokens[0]) in {words for _, words in try_every_caption(table, limits)}


@each_constraint
def test_filters_block_what_the_words_so_far_rule_out_in_each_of_a_batch(limits):
    for length in range(LONGEST + 1):
        said = list(itertools.product((A, B, C), repeat=length))
        tokens = in_namespace(torch.tensor(said, dtype=torch.long).view(len(said), 1, length))
        log_p = in_namespace(torch.zeros(len(said), 1, 7))
        for block in filters_of(limits):
            log_p = block(log_p, tokens)
        for words, row in zip(said, log_p[:, 0].tolist(), strict=True):
            blocked = {word for word in (A, B, C) if not allowed((*words, word), limits)}
            if words and (words[-1], END) in limits.forbidden:
                blocked.add(END)
            if allowed(words, limits):
                assert {word for word, value in enumerate(row) if value == -math.inf} == blocked


def test_a_rule_takes_the_word_and_not_its_probability():
    decoder = TableDecoder({(): {A: 0.9, B: 0.1}, (B,): {END: 1.0}})
    [found] = find(decoder, constraints=constraints(forbidden=((A,),)), max_words=LONGEST, beam=1)
    assert found.tokens == [[B]]
    assert [math.exp(x) for x in found.log_probabilities[0]] == pytest.approx([0.1, 1.0])


@each_constraint
def test_captions_found_together_under_constraints_are_those_found_one_by_one(limits):
    torch.manual_seed(1)
    config = TransformerConfig(width=16, layers=2, heads=2, feedforward_width=32, tie=False)
    decoder = build_decoder(config, words=12, feature_dim=6).eval()
    seen = 3 * torch.randn(6, 5, 6)
    together = find(decoder, seen, constraints=limits, beam=2, max_words=7)
    for i, found in enumerate(together):
        [alone] = find(decoder, seen[i : i + 1], constraints=limits, beam=2, max_words=7)
        assert found.tokens == alone.tokens
        assert found.score == pytest.approx(alone.score, abs=1e-5)


def test_the_watcher_sees_the_same_caption_come_about():
    how = {"constraints": CONSTRAINTS["two required"], "beam": 2, "max_words": LONGEST}
    decoder = TableDecoder(random_table(3))
    *growing, found = watch(decoder, **how)
    assert [found] == find(decoder, **how)
    for step in growing:
        assert step.log_probability == sorted(step.log_probability, reverse=True)


def test_constraints_that_leave_no_caption_are_an_error():
    decoder = TableDecoder(random_table(0))
    with pytest.raises(ConfigError, match=r"no caption contains all of search\.require"):
        find(decoder, constraints=constraints(required=((A,),), forbidden=((A,),)), beam=2)

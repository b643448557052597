"""Diverse beam search: groups penalised for each other's words, held to a plain one."""

import math
from collections import Counter

import pytest
import torch

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from tests.searching import constraints, find, watch
from tests.test_search import (
    as_list,
    assert_same,
    features,
    plain_beam,
    random_table,
    stop,
    tiny,
)
from tests.toys import END, PAD, START, UNKNOWN, A, B, TableDecoder

pytestmark = pytest.mark.usefixtures("namespace")


def plain_diverse(table, *, beam, groups, diversity, max_words, penalty):
    """Each group in turn, never stopping early; of equal captions of several, one is kept."""
    size = beam // groups
    live = [[(0.0, ())] for _ in range(groups)]
    kept = [[] for _ in range(groups)]
    for _ in range(max_words):
        taken = Counter()
        for g in range(groups):
            grown = [
                (total + math.log(p), (*words, w))
                for total, words in live[g]
                for w, p in table[words].items()
            ]
            grown.sort(key=lambda found: -(found[0] - diversity * taken[found[1][-1]]))
            kept[g] += [
                (s / len(w) ** penalty, w[:-1], True) for s, w in grown[:size] if w[-1] == END
            ]
            live[g] = [found for found in grown if found[1][-1] != END][:size]
            taken.update(words[-1] for _, words in live[g])
    for g in range(groups):
        kept[g] += [stop(words, total, table, penalty) for total, words in live[g]]
        kept[g] = sorted(kept[g], reverse=True)[:size]
    return sorted({found for group in kept for found in group}, reverse=True)


@pytest.mark.parametrize("diversity", [0.0, 0.4, 3.0])
@pytest.mark.parametrize(("beam", "groups"), [(4, 4), (4, 2), (6, 2), (3, 3), (4, 1)])
def test_groups_find_what_the_plain_search_finds(beam, groups, diversity):
    tables = [random_table(seed, max_words=4) for seed in range(8)]
    found = find(
        TableDecoder(*tables),
        beam=beam, groups=groups, max_words=4, length_penalty=0.7,
        **({"diversity": diversity} if groups > 1 else {}),
    )  # fmt: skip
    for own, table in zip(found, tables, strict=True):
        expected = plain_diverse(
            table, beam=beam, groups=groups, diversity=diversity, max_words=4, penalty=0.7
        )
        assert_same(as_list(own), expected)
        if groups == 1:
            assert_same(as_list(own), plain_beam(table, beam=beam, max_words=4, penalty=0.7))


def test_a_later_group_avoids_the_words_of_the_one_before_it():
    table = {(): {A: 0.8, B: 0.2}, (A,): {END: 1.0}, (B,): {END: 1.0}}
    assert find(TableDecoder(table), beam=2, groups=2, diversity=1.0)[0].tokens == [[A]]
    [found] = find(TableDecoder(table), beam=2, groups=2, diversity=1.5)  # log 4 is 1.39
    assert found.tokens == [[A], [B]]
    assert found.log_probability == pytest.approx([math.log(0.8), math.log(0.2)])


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_neither_the_batch_nor_those_that_leave_it_change_a_caption(kind):
    decoder = tiny(kind, end_bias=1.0)
    how = {"beam": 6, "groups": 3, "diversity": 1.0, "max_words": 8}
    together = find(decoder, features(5), **how)
    assert len({len(words) for own in together for words in own.tokens}) > 2
    for number, own in enumerate(together):
        [alone] = find(decoder, features(5)[number : number + 1], **how)
        assert alone.tokens == own.tokens
        assert alone.score == pytest.approx(own.score, abs=1e-4)
    words = torch.tensor([[[START, *together[0].tokens[0]]]])
    logits = decoder(features(5)[:1], words).logits[0, 0]
    logits[:, [PAD, START, UNKNOWN]] = -math.inf
    told = logits.log_softmax(dim=-1)[range(len(logits)), [*together[0].tokens[0], END]].tolist()
    own = together[0].log_probabilities[0]  # without END where the caption was cut
    assert own == pytest.approx(told[: len(own)], abs=1e-4)


def test_groups_obey_constraints_and_show_what_grows():
    decoder = tiny("lstm", end_bias=1.0)
    limits = constraints(forbidden=((7,), (8, END)), no_repeat=1)
    how = {"beam": 4, "groups": 2, "max_words": 8}
    [found] = find(decoder, features(1), constraints=limits, **how)
    assert found.tokens
    assert any(found.finished)
    for words, finished in zip(found.tokens, found.finished, strict=True):
        assert 7 not in words
        assert len(set(words)) == len(words)
        assert not finished or words[-1] != 8
    *growing, last = watch(decoder, features(1), **how)
    assert len(growing) > 2
    assert last.tokens == find(decoder, features(1), **how)[0].tokens


def test_groups_make_candidates_differ(toy, photos):
    model = TorchCaptioner(*toy)
    caption = model.caption(photos[0], beam=4, groups=4, diversity=2.0)
    firsts = [text.split()[0] for text in (caption.text, *(c.text for c in caption.candidates))]
    assert len(set(firsts)) > 1


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"beam": 3, "groups": 2},
            "search.beam is 3 and search.groups is 2; groups must divide beam.",
        ),
        ({"groups": 0}, "search.groups is 0; it must be 1 or more."),
        ({"diversity": -1.0}, "search.diversity is -1.0; it must be 0 or more, and finite."),
        (
            {"groups": 3, "require": ("dog",)},
            "search.require is ['dog'], which divides the beam itself; leave out "
            "search.groups = 3.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, problem):
    with pytest.raises(ConfigError) as caught:
        SearchConfig(**settings)
    assert str(caught.value) == problem

"""Candidates ranked by what they agree on."""

import math

import pytest

from captioner.config import SearchConfig
from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from captioner.result.candidates import Candidates
from captioner.search import agreement
from captioner.search.agreement import rank_by_agreement

A, THE, CAT, DOG = 4, 5, 41, 42


def candidates(*found):
    """Finished candidates, each of tokens and a score, best first."""
    scores = [score for _, score in found]
    return Candidates(
        tokens=[tokens for tokens, _ in found],
        log_probabilities=[[score] for score in scores],
        log_probability=scores,
        score=scores,
        finished=[True] * len(found),
        rows=[[n] for n in range(len(found))],
    )


LONELY = candidates(([A, CAT], -1.0), ([A, DOG], -1.1), ([THE, DOG], -1.1))


def winner(weight, found=LONELY):
    return rank_by_agreement(found, weight=weight).tokens[0]


def test_words_that_other_candidates_lack_count_against_a_candidate():
    assert [winner(weight) for weight in (0.0, 0.2, 0.5)] == [[A, CAT], [A, CAT], [A, DOG]]
    support = [math.exp(score) for score in LONELY.score]
    dog = sum(support[1:]) / sum(support)
    turn = 0.1 / (dog - (1 - dog))  # where the scores, 0.1 apart, are made up for
    assert [winner(turn - 0.01), winner(turn + 0.01)] == [[A, CAT], [A, DOG]]


def test_the_commonest_words_are_not_weighed(monkeypatch):
    monkeypatch.setattr(agreement, "COMMON", DOG + 1)
    assert winner(5.0) == [A, CAT]


def test_everything_of_a_candidate_goes_with_it_and_scores_stay_in_order():
    ranked = rank_by_agreement(LONELY, weight=0.5)
    assert ranked.tokens == [[A, DOG], [THE, DOG], [A, CAT]]
    assert (ranked.rows, ranked.log_probability) == ([[1], [2], [0]], [-1.1, -1.1, -1.0])
    assert ranked.score == sorted(ranked.score, reverse=True)


def test_the_search_ranks_its_candidates_so(checkpoints, photos, monkeypatch):
    monkeypatch.setattr(agreement, "COMMON", 0)
    captioner = TorchCaptioner.load(checkpoints["transformer"], device="cpu")
    changed = []
    for photo in photos:
        plain = captioner.caption(photo, beam=6)
        agreed = captioner.caption(photo, beam=6, agreement=9.0)
        texts = [[own.text, *(other.text for other in own.candidates)] for own in (plain, agreed)]
        assert sorted(texts[0]) == sorted(texts[1])
        assert agreed.search.agreement == 9.0
        (*_, last) = captioner.stream(photo, beam=6, agreement=9.0)
        assert last.text == agreed.text
        changed.append(texts[0] != texts[1])
    assert any(changed)


def test_an_invalid_weight_or_one_without_effect_is_refused(checkpoints, photos):
    with pytest.raises(ConfigError, match=r"search\.agreement is -1; it must be 0 or more"):
        SearchConfig(agreement=-1)
    captioner = TorchCaptioner.load(checkpoints["transformer"], device="cpu")
    with pytest.raises(ConfigError, match=r"search\.agreement is 0\.3, which"):
        captioner.caption(photos[0], method="greedy", agreement=0.3)

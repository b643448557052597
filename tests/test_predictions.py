"""Predictions of table models equal those computed by hand, for any batches."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from captioner.config import SearchConfig
from tests.searching import find
from tests.toys import END, GARDEN, PAD, SPECIALS, START, UNKNOWN, A, B, C, TableDecoder
from training.scoring.predictions import TEMPERATURES, TeacherForced, predict, predict_references

TOKENIZER = SimpleNamespace(
    pad_id=PAD,
    start_id=START,
    end_id=END,
    never_written=SPECIALS,
    prefix=(START,),
    behind=lambda prompt: TOKENIZER,
    decode=lambda ids: " ".join("?????abc"[i + 1] for i in ids),
)


def read(*captions: list[int], table=GARDEN) -> dict:
    longest = max(map(len, captions))
    words = torch.tensor([[[START, *c] + [PAD] * (longest - len(c)) for c in captions]])
    decoder, reading = TableDecoder(table), TeacherForced()
    model = SimpleNamespace(decoder=decoder)
    predict_references(model, TOKENIZER, decoder.images(), words, reading)
    return reading.report()


def test_the_likeliest_next_word_is_compared_with_what_people_said():
    # A (0.6) is guessed right, then END (0.4) wrong for B, then END (1.0) right;
    # A (0.6) is guessed wrong for B, then END (0.9) right.
    found = read([A, B, END], [B, END])
    assert found["words"] == 5
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["confidence"] == pytest.approx((0.6 + 0.4 + 1.0 + 0.6 + 0.9) / 5)
    likelihood = 0.6 * 0.3 * 1.0 * 0.4 * 0.9
    assert found["perplexity"] == pytest.approx(likelihood ** (-1 / 5), rel=1e-5)
    assert found["unknown"] == 0.0


def test_a_word_the_model_does_not_know_counts_as_wrong():
    found = read([UNKNOWN, END])
    assert (found["words"], found["unknown"]) == (2, 0.5)
    assert found["accuracy"] == 0.5  # END, which the table expects after words it does not know
    assert found["perplexity"] == pytest.approx(1.0)


def test_padding_is_not_read():
    together, alone = read([A, B, END], [B, END]), [read([A, B, END]), read([B, END])]
    assert together["words"] == sum(one["words"] for one in alone)


def test_the_prompt_is_read_and_not_predicted():
    words = torch.tensor([[[START, A, B, END]]])
    decoder, reading = TableDecoder(GARDEN), TeacherForced()
    behind = SimpleNamespace(**{**vars(TOKENIZER), "prefix": (START, A)})
    model = SimpleNamespace(decoder=decoder)
    predict_references(model, behind, decoder.images(), words, reading)
    assert reading.report()["words"] == 2
    assert reading.report()["perplexity"] == pytest.approx((0.3 * 1.0) ** (-1 / 2), rel=1e-5)


def test_an_underconfident_model_gets_a_temperature_below_1():
    # It gives A two thirds of what there is, and is right four times of five: T = ln 2 / ln 4.
    table = {(): {A: 2 / 3, B: 1 / 3}}
    found = read(*[[A, END]] * 4, [B, END], table=table)
    assert found["temperature"] == pytest.approx(math.log(2) / math.log(4), abs=0.05)
    fair = {(): {A: 4 / 5, B: 1 / 5}}
    assert read(*[[A, END]] * 4, [B, END], table=fair)["temperature"] == pytest.approx(1.0)
    assert min(TEMPERATURES) < 0.5 + 1e-9


class TableModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = TableDecoder(GARDEN, {(): {C: 1.0}})
        self.weight = nn.Parameter(torch.zeros(1))


def batches(*groups: list[int]):
    words = torch.tensor([[[START, A, END]]])
    for ids in groups:
        yield SimpleNamespace(
            inputs=torch.tensor(ids, dtype=torch.float32)[:, None, None],
            words=words.expand(len(ids), 1, 3),
            image_ids=ids,
        )


def test_samples_are_those_of_the_search_with_their_seeds():
    config, seeds = SearchConfig(method="greedy", max_words=4), (8, 1, 8, 3, 5, 13)
    drawing = SearchConfig(method="sample", max_words=4)
    seen = predict(TableModel(), TOKENIZER, batches([0, 1]), config, drawing=drawing, seeds=seeds)
    assert seen.captions == {0: "a", 1: "c"}
    assert seen.samples[1] == ["c"] * 6  # the only caption there is
    assert len(set(seen.samples[0])) > 1
    alone = [
        find(TableDecoder(GARDEN), method="sample", max_words=4, seed=seed)[0].tokens[0]
        for seed in seeds
    ]
    assert seen.samples[0] == [TOKENIZER.decode(tokens) for tokens in alone]


def test_batches_change_nothing_that_is_seen():
    config = SearchConfig(beam=2, max_words=4)
    draws = {"drawing": SearchConfig(method="sample", max_words=4), "seeds": (0, 1)}
    one = predict(TableModel(), TOKENIZER, batches([0, 1]), config, **draws)
    two = predict(TableModel(), TOKENIZER, batches([0], [1]), config, **draws)
    assert (one.captions, one.samples) == (two.captions, two.samples)
    first, second = one.teacher_forced.report(), two.teacher_forced.report()
    assert first.pop("bins") == second.pop("bins")
    assert first == pytest.approx(second)
    assert np.concatenate(one.teacher_forced.correct).dtype == bool

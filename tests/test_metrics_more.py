"""Measures beside coco-caption's: diversity, novelty, wording, calibration, intervals."""

import math
import random

import numpy as np
import pytest

from tests.test_metrics import generate_sets, split
from training.metrics import score_images
from training.metrics.bleu import BleuScore, bleu, count_matches
from training.metrics.bootstrap import mean_intervals
from training.metrics.calibration import calibrate
from training.metrics.cider import Vector, document_frequencies
from training.metrics.diversity import distinct_ratio, diversity, mutual_bleu, self_cider
from training.metrics.novelty import novelty
from training.metrics.variety import count_lengths, count_variety, repetition_rate

SETS = generate_sets(60, seed=5)
REFERENCES = [refs for refs, _ in SETS]
CANDIDATES = [words for _, words in SETS]
FREQUENCIES = document_frequencies(REFERENCES)


def test_div_counts_distinct_runs_for_each_word():
    captions = [split("a dog runs"), split("a dog sits")]
    assert distinct_ratio(captions, 1) == 4 / 6  # a dog runs sits
    assert distinct_ratio(captions, 2) == 3 / 6  # "a dog", "dog runs", "dog sits"
    assert distinct_ratio([[], []], 1) == 0.0


def test_mutual_bleu_is_coco_captions_bleu_of_each_caption_against_the_others():
    from pycocoevalcap.bleu.bleu import Bleu

    theirs = []
    for place in range(5):
        others = {
            i: [" ".join(w) for k, w in enumerate(refs) if k != place]
            for i, refs in enumerate(REFERENCES)
        }
        own = {i: [" ".join(refs[place])] for i, refs in enumerate(REFERENCES)}
        theirs.append(Bleu(4).compute_score(others, own, verbose=0)[0][3])
    assert mutual_bleu(REFERENCES) == pytest.approx(sum(theirs) / 5, abs=1e-12)


def test_self_cider_is_the_share_of_the_largest_singular_value_of_the_weighted_ngrams():
    # The paper derives its kernel from latent semantic analysis: here is the matrix itself.
    for captions in REFERENCES[:20]:
        vectors = [Vector(words, FREQUENCIES) for words in captions]
        ngrams = sorted({ngram for vector in vectors for ngram in vector.values})
        matrix = np.array(
            [[v.values.get(g, 0) / (v.norms[len(g) - 1] or 1) / 2 for v in vectors] for g in ngrams]
        )
        singular = np.linalg.svd(matrix, compute_uv=False)
        expected = -math.log(singular[0] / singular.sum(), len(captions))
        assert self_cider(captions, FREQUENCIES) == pytest.approx(expected, abs=1e-6)


def test_self_cider_runs_from_nothing_new_to_nothing_in_common():
    frequencies = document_frequencies([[split("a dog runs on grass")], [split("two red cars")]])
    same = split("a dog runs on grass")
    assert self_cider([same] * 3, frequencies) == pytest.approx(0, abs=1e-6)
    others = [same, split("two red cars wait here"), split("an old man reads books")]
    assert self_cider(others, frequencies) == pytest.approx(1)
    assert self_cider([[], []], frequencies) == 0.0


def test_diversity_is_a_mean_over_images():
    found = diversity(REFERENCES, FREQUENCIES)
    assert list(found) == ["div_1", "div_2", "self_CIDEr", "mBleu_4"]
    assert found["div_1"] == pytest.approx(np.mean([distinct_ratio(r, 1) for r in REFERENCES]))
    assert found["self_CIDEr"] == pytest.approx(
        np.mean([self_cider(r, FREQUENCIES) for r in REFERENCES])
    )


@pytest.mark.parametrize("samples", [[], [[["a"]]], [[["a"], ["b"]], [["a"]]]])
def test_diversity_needs_as_many_captions_for_every_image(samples):
    with pytest.raises(ValueError, match="at least two"):
        diversity(samples, FREQUENCIES)


def test_novelty_counts_what_was_not_read():
    read = [split("a dog runs"), split("a cat runs")]
    found = novelty([split("a dog runs"), split("a cat sits"), split("dog runs a")], read)
    assert found == {
        "novel_captions": 2 / 3,
        "novel_1grams": 1 / 9,  # sits
        "novel_2grams": 2 / 6,  # "cat sits", "runs a"
        "novel_3grams": 2 / 3,
        "novel_4grams": 0.0,  # there is none
    }


def test_lengths_are_counted_from_nothing_to_the_longest():
    assert count_lengths([split("a dog"), [], split("a b c"), split("a cat")]) == [1, 0, 2, 1]
    assert count_lengths([]) == []


def test_repetition_is_a_word_twice_in_a_row_or_three_words_again():
    sentences = {
        "a dog runs on the beach": False,
        "a dog with a dog": False,
        "a man in in a hat": True,
        "a dog on a dog on a bed": True,
        "": False,
    }
    assert {s: bool(repetition_rate([split(s)])) for s in sentences} == sentences
    assert repetition_rate([split(s) for s in sentences]) == 2 / 5
    assert count_variety([["a", "dog"], ["a", "dog"], ["a"]]) == {
        "distinct_captions": 2,
        "vocabulary": 2,
    }


def test_calibration_compares_how_sure_with_how_right():
    # Guo et al. 2017, equations 1 to 3, by hand: two bins, |0.5 - 0.35| and |2/3 - 0.8|.
    confidence = np.array([0.3, 0.4, 0.7, 0.8, 0.9])
    correct = np.array([True, False, True, False, True])
    found = calibrate(confidence, correct, bins=2)
    assert found["ece"] == pytest.approx((2 * 0.15 + 3 * (0.8 - 2 / 3)) / 5)
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["confidence"] == pytest.approx(0.62)
    assert [b["words"] for b in found["bins"]] == [2, 3]
    assert found["bins"][1] == {
        "above": 0.5,
        "to": 1.0,
        "words": 3,
        "accuracy": pytest.approx(2 / 3),
        "confidence": pytest.approx(0.8),
    }


def test_calibration_puts_the_ends_of_bins_where_they_belong():
    found = calibrate(np.array([0.2, 0.2 + 1e-9, 1.0]), np.array([True] * 3), bins=5)
    assert [(b["above"], b["to"], b["words"]) for b in found["bins"]] == [
        (0.0, 0.2, 1),
        (0.2, 0.4, 1),
        (0.8, 1.0, 1),
    ]


def test_a_model_that_is_right_as_often_as_it_is_sure_is_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.01, 1, size=100_000)
    correct = rng.uniform(size=100_000) < confidence
    assert calibrate(confidence, correct)["ece"] < 0.01
    assert calibrate(confidence**2, correct)["ece"] > 0.1


def test_calibration_without_data_is_an_error():
    with pytest.raises(ValueError, match="the same length"):
        calibrate(np.zeros(0), np.zeros(0, dtype=bool))


def test_intervals_of_means_of_many_images_are_those_of_the_normal_distribution():
    x = np.random.default_rng(7).normal(size=2000)
    found = mean_intervals({"x": x.tolist()}, resamples=4000, seed=1)["x"]
    spread = x.std() / math.sqrt(2000)
    assert found["low"] == pytest.approx(x.mean() - 1.96 * spread, abs=0.1 * spread)
    assert found["high"] == pytest.approx(x.mean() + 1.96 * spread, abs=0.1 * spread)


def test_bleu_of_a_resample_is_bleu_of_the_drawn_images():
    images, resamples = 8, 3
    tallies = [count_matches(r, c) for r, c in SETS[:images]]
    random_numbers = np.random.default_rng(4)
    drawn = [random_numbers.integers(images, size=images) for _ in range(resamples)]
    scores = [bleu([REFERENCES[i] for i in d], [CANDIDATES[i] for i in d])[0] for d in drawn]
    found = BleuScore().intervals(tallies, resamples=resamples, seed=4)
    for n in range(4):
        low, high = np.quantile([s[n] for s in scores], [0.025, 0.975])
        assert found[f"Bleu_{n + 1}"] == pytest.approx({"low": low, "high": high})


def test_an_interval_holds_its_score_and_repeats_with_its_seed():
    images = score_images(REFERENCES, CANDIDATES)
    first = images.intervals(resamples=200, seed=3)
    assert first == images.intervals(resamples=200, seed=3)
    assert first != images.intervals(resamples=200, seed=4)
    for name, value in images.scores().items():
        assert first[name]["low"] < value < first[name]["high"], name


def test_intervals_hold_the_truth_as_often_as_they_say():
    draw = random.Random(0)
    held = 0
    for trial in range(200):
        x = [draw.gauss(0.3, 1) for _ in range(60)]
        found = mean_intervals({"x": x}, resamples=300, seed=trial)["x"]
        held += found["low"] <= 0.3 <= found["high"]
    assert 180 <= held <= 199

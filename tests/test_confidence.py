import json
import math
from dataclasses import replace

import numpy as np
import pytest

from captioner import Caption
from captioner.checkpoint.confidence import ConfidenceConfig, LogisticConfig
from captioner.checkpoint.header import format_header, join_headers, parse_header
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.errors import CheckpointError, ConfigError
from captioner.pytorch import TorchCaptioner
from captioner.result.confidence import (
    Judgement,
    caption_statistics,
    judge,
    logistic,
    token_statistics,
    word_probability,
)
from tests.believing import KNOWN
from tests.conftest import TOYS
from tests.photos import noise
from training.confidence.__main__ import main
from training.confidence.fitting import fit_photo
from training.confidence.logistic import fit_logistic
from training.nonphotos.drawing import KINDS


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def captioner(tokenizer):
    model, header = TOYS["transformer"](tokenizer)
    weights = np.linspace(-1, 1, model.encoder.feature_dim)
    photo = LogisticConfig(weights=tuple(weights.tolist()), bias=0.1)
    return TorchCaptioner(model, replace(header, confidence=replace(KNOWN, photo=photo)))


# Arithmetic


def test_statistics_of_a_caption_are_mean_least_and_length_of_its_log_probabilities():
    assert caption_statistics([-1.0, -4.0, -1.0, -2.0]) == [-2.0, -4.0, math.log(4)]


def test_a_words_probability_is_the_product_of_its_calibrated_tokens():
    found = word_probability([math.log(0.6), math.log(0.3)], KNOWN)
    expected = [sigmoid(0.5 * math.log(p / (1 - p)) - 1) for p in (0.6, 0.3)]
    assert found == pytest.approx(math.prod(expected))
    assert word_probability([math.log(0.6), math.log(0.5)], None) == pytest.approx(0.3)
    assert 0 < word_probability([0.0, -1000.0], KNOWN) < 1


def test_a_caption_is_judged_by_its_statistics_and_the_image_by_its_summary():
    logs, summary = [-1.0, -2.0, -3.0], np.array([0.1, 0.2, 0.4])
    confidence = sigmoid(-2.0 + 0.5 * -3.0 + 0.25 * math.log(3) + 1)
    photo = sigmoid(0.2 - 0.2 + 0.2 + 0.25)
    found = judge(logs, summary, KNOWN)
    assert found == (pytest.approx(confidence), "low", pytest.approx(photo), True)
    assert judge(logs, summary, replace(KNOWN, threshold=0.7)).is_photo is False
    assert judge(logs, None, KNOWN) == (found.confidence, "low", None, None)
    assert judge(logs, summary, None) == Judgement(None, None, None, None)


@pytest.mark.parametrize(
    ("limits", "level"), [((0.1, 0.2), "high"), ((0.1, 0.9), "medium"), ((0.8, 0.9), "low")]
)
def test_levels_begin_at_their_limits(limits, level):
    config = replace(KNOWN, medium=limits[0], high=limits[1])
    assert judge([-0.5, -0.5], None, config).level == level


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"doubtful": 1.5}, "confidence.doubtful is 1.5; it must be in [0, 1]."),
        ({"threshold": -0.1}, "confidence.threshold is -0.1; it must be in [0, 1]."),
        ({"medium": 0.7}, "confidence.high is 0.6, below confidence.medium, 0.7."),
    ],
)
def test_settings_out_of_range_are_refused(changes, problem):
    with pytest.raises(ConfigError) as caught:
        replace(KNOWN, **changes)
    assert str(caught.value) == problem


# In the header


def test_settings_travel_in_the_header(captioner):
    header = captioner.header
    again = parse_header(format_header(header), where="m.safetensors")
    assert again.confidence == header.confidence
    table = json.loads(format_header(replace(header, confidence=None)))
    assert "confidence" not in table
    assert parse_header(json.dumps(table), where="m.safetensors").confidence is None
    table["confidence"] = {"doubtful": 0.5}
    with pytest.raises(CheckpointError, match=r"confidence: 'token' is missing"):
        parse_header(json.dumps(table), where="m.safetensors")


def test_an_ensemble_does_not_know_what_its_members_do(captioner):
    assert join_headers([captioner.header, captioner.header]).confidence is None


# In captions


def test_captions_say_how_far_they_can_be_believed(captioner):
    photo = captioner.prepare(noise(80, 90))
    caption = captioner.caption(photo)
    summary = captioner.encode([photo]).mean(dim=1)[0].numpy().astype(np.float64)
    config = captioner.header.confidence
    judged = caption.judgement
    assert judged.photo_probability == pytest.approx(float(logistic(summary, config.photo)))
    assert judged.is_photo == (judged.photo_probability >= config.threshold)
    plain = TorchCaptioner(captioner.model, replace(captioner.header, confidence=None))
    before = plain.caption(photo)
    assert (before.text, before.judgement) == (caption.text, Judgement())
    assert before.log_probability == caption.log_probability
    for word, other in zip(caption.words, before.words, strict=True):
        if " " not in word.text and "'" not in word.text:
            statistics = token_statistics(np.array([other.probability]))
            expected = float(logistic(statistics, config.token)[0])
            assert word.probability == pytest.approx(expected, rel=1e-4)
        assert word.doubtful == (word.probability < config.doubtful)
        assert not other.doubtful
    assert captioner.caption_batch([photo], words=False)[0].judgement == judged


def test_streams_and_candidates_are_judged_too(captioner):
    photo = captioner.prepare(noise(80, 90))
    caption = captioner.caption(photo, beam=3)
    last = list(captioner.stream(photo, beam=3))[-1]
    assert last.judgement.level == caption.judgement.level
    assert last.judgement.confidence == pytest.approx(caption.judgement.confidence)
    others = captioner.read_candidates(photo, caption)
    assert len(others) == 2
    for other, found in zip(others, caption.candidates, strict=True):
        assert other.judgement.photo_probability == caption.judgement.photo_probability
        assert other.judgement.confidence != caption.judgement.confidence
        assert other.log_probability == found.log_probability


def test_judgements_are_read_back_from_json(captioner):
    caption = captioner.caption(noise(80, 90))
    table = json.loads(json.dumps(caption.to_dict()))
    again = Caption.from_dict(table)
    assert again.judgement == caption.judgement
    assert [word.doubtful for word in again.words] == [word.doubtful for word in caption.words]
    for name in Judgement._fields:
        del table[name]
    assert Caption.from_dict(table).judgement == Judgement()


# Fitting


def test_logistic_regression_finds_the_weights_that_made_the_targets():
    random = np.random.default_rng(0)
    values = random.normal([3, -2], [1, 5], (4000, 2))
    true = LogisticConfig(weights=(1.5, -0.2), bias=-4.0)
    found = fit_logistic(values, logistic(values, true), ridge=1e-9)
    assert found.weights == pytest.approx(true.weights, rel=1e-3)
    assert found.bias == pytest.approx(true.bias, rel=1e-3)
    drawn = (random.random(4000) < logistic(values, true)).astype(float)
    assert fit_logistic(values, drawn, ridge=1e-9).weights == pytest.approx((1.5, -0.2), rel=0.15)


def test_rows_count_as_often_as_they_are_said_to():
    values, targets = np.array([[0.0], [1.0], [1.0], [2.0]]), np.array([0.0, 0.0, 1.0, 1.0])
    twice = np.array([1.0, 2.0, 1.0, 1.0])
    one = fit_logistic(values, targets, ridge=0.1, times=twice)
    repeated = fit_logistic(values[[0, 1, 1, 2, 3]], targets[[0, 1, 1, 2, 3]], ridge=0.1)
    p = [float(logistic(values[1:2], own)[0]) for own in (one, repeated)]
    assert p[0] == pytest.approx(p[1], abs=0.02)
    assert p[0] < float(logistic(values[1:2], fit_logistic(values, targets, ridge=0.1))[0])


def test_one_photo_in_a_hundred_may_be_called_none():
    random = np.random.default_rng(0)
    photos, others = random.normal(1, 1, (3000, 4)), random.normal(-1, 1, (300, 4))
    photo, threshold = fit_photo(photos, {"page": others[:150], "noise": others[150:]})
    assert (logistic(random.normal(1, 1, (3000, 4)), photo) < threshold).mean() < 0.02
    assert (logistic(random.normal(-1, 1, (3000, 4)), photo) < threshold).mean() > 0.9


# The command


@pytest.fixture
def data(tmp_path):
    (tmp_path / "photos").mkdir()
    lines = []
    for number in range(6):
        noise(24, 36, seed=number).save(tmp_path / "photos" / f"{number}.png")
        captions = ["a dog on the beach", f"the man's dog {number} {number}"]
        lines.append(json.dumps({"image": f"{number}.png", "captions": captions}))
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    (tmp_path / "captions_val.jsonl").write_text("\n".join(lines))
    return ["--annotations", str(tmp_path / "captions_val.jsonl"), "--images"]


def test_settings_are_fitted_written_and_measured(data, checkpoint, tmp_path, capsys):
    photos, fitted = str(tmp_path / "photos"), tmp_path / "fitted.safetensors"
    asked = [*data, photos, "--count", "3"]
    assert main([str(checkpoint), *asked]) == 1
    assert "has no confidence settings; fit them with --output." in (capsys.readouterr().err)
    assert main([str(checkpoint), *asked, "--photos", photos, "--output", str(fitted)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["kinds_not_learned_from"]) == set(KINDS)
    assert report["called_no_photo"]["captioned"]["images"] == 6
    assert report["called_no_photo"][photos]["images"] == 6
    assert report["words"]["words"] == 6 * (6 + 7)
    assert report["words"]["ece"] <= report["words"]["decoder"]["ece"] + 0.02
    model, header = load_checkpoint(fitted)
    assert isinstance(header.confidence, ConfidenceConfig)
    assert len(header.confidence.photo.weights) == model.encoder.feature_dim
    caption = TorchCaptioner(model, header).caption(f"{photos}/0.png")
    assert caption.judgement.level in ("low", "medium", "high")
    assert main([str(fitted), *asked]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert "fitted" not in measured
    assert measured["words"]["accuracy"] == pytest.approx(report["words"]["accuracy"], abs=0.05)
    assert measured["captions"]["levels"].keys() == {"low", "medium", "high"}
    assert {own["images"] for own in measured["non_photos_found"].values()} == {3}


def test_evaluation_measures_calibrated_probabilities(tokenizer, tmp_path):
    from training.evaluate import EvaluationOptions, evaluate

    model, header = TOYS["lstm"](tokenizer)
    token = LogisticConfig(weights=(0.0, 0.0), bias=math.log(0.25 / 0.75))
    header = replace(header, confidence=replace(KNOWN, token=token))
    save_checkpoint(tmp_path / "m.safetensors", model, header, half=False)
    noise(24, 36).save(tmp_path / "0.png")
    (tmp_path / "captions_val.jsonl").write_text('{"image": "0.png", "caption": "a dog"}')
    _, report = evaluate(
        tmp_path / "m.safetensors",
        annotations=tmp_path / "captions_val.jsonl",
        images=[str(tmp_path)],
        options=EvaluationOptions(resamples=0),
    )
    assert report["calibration"]["confidence"] == pytest.approx(0.25)

import csv
import json
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from captioner.checkpoint.confidence import LogisticConfig
from captioner.checkpoint.weights import save_checkpoint
from captioner.cli import main
from captioner.folder.outputs.template import ConfidenceFilter
from captioner.pytorch import TorchCaptioner
from captioner.result.confidence import Judgement
from tests.believing import KNOWN
from tests.conftest import TOYS


def test_silence_is_kept_of_doubtful_captions_and_of_what_is_no_photo():
    sure, unsure = Judgement(0.8, "high", 0.1, False), Judgement(0.2, "low", 0.9, True)
    assert not ConfidenceFilter()
    assert [ConfidenceFilter(min_confidence=0.5).withholds(own) for own in (sure, unsure)] == [
        False,
        True,
    ]
    assert [ConfidenceFilter(photos_only=True).withholds(own) for own in (sure, unsure)] == [
        True,
        False,
    ]
    assert not ConfidenceFilter(min_confidence=1.0, photos_only=True).withholds(Judgement())


@pytest.fixture
def believed(tokenizer, folder, tmp_path):
    """A checkpoint by which half of the photos are none, and what it says of each."""
    model, header = TOYS["transformer"](tokenizer)
    weights = np.linspace(-1, 1, model.encoder.feature_dim)
    photo = LogisticConfig(weights=tuple(weights.tolist()), bias=0.0)
    header = replace(header, confidence=replace(KNOWN, photo=photo))
    judged = judge_all(model, header, folder)
    limit = median(own.photo_probability for own in judged.values())
    header = replace(header, confidence=replace(header.confidence, threshold=limit))
    path = tmp_path / "believed.safetensors"
    save_checkpoint(path, model, header, half=False)
    return path, judge_all(model, header, folder)


def judge_all(model, header, folder):
    captioner = TorchCaptioner(model, header)
    photos = {str(path.relative_to(folder)): path for path in folder.rglob("*.*")}
    return {name: captioner.caption(path).judgement for name, path in photos.items()}


@pytest.fixture
def run(believed, folder, capfd):
    def run(*arguments):
        known = ("--checkpoint", str(believed[0]), "--precision", "float32")
        status = main(["folder", str(folder), *map(str, arguments), *known])
        assert status == 0, capfd.readouterr().err
        lines = (folder / "captions.jsonl").read_text().splitlines()
        return {line["image"]: line for line in map(json.loads, lines)}

    return run


def test_records_say_how_far_captions_can_be_believed(run, believed, folder):
    records = run("--output", folder / "captions.jsonl", "--output", folder / "captions.csv")
    with (folder / "captions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {own.is_photo for own in believed[1].values()} == {True, False}
    for name, judged in believed[1].items():
        record, row = records[name], rows[name]
        assert record["confidence"] == pytest.approx(judged.confidence, abs=1e-3)
        assert record["photo_probability"] == pytest.approx(judged.photo_probability, abs=1e-3)
        assert (record["is_photo"], record["level"]) == (judged.is_photo, judged.level)
        assert row["confidence"] == str(record["confidence"])
        assert row["is_photo"] == str(record["is_photo"])


def test_a_gallery_marks_what_is_to_be_doubted(run, believed, folder):
    run("--words", "--gallery", folder / "gallery")
    page = (folder / "gallery/index.html").read_text(encoding="utf-8")
    judged = believed[1].values()
    assert page.count("low confidence") == sum(own.level == "low" for own in judged)
    assert page.count("not a photo?") == sum(not own.is_photo for own in judged) > 0
    assert page.count('title="doubtful"') > 0


def test_what_is_no_photo_gets_no_caption_and_no_sidecar_now_and_later(run, believed, folder):
    asked = ("--skip-non-photos", "--sidecar", "txt")
    for _ in range(2):
        records = run(*asked)
        for name, judged in believed[1].items():
            assert bool(records[name]["caption"]) == judged.is_photo
            assert (folder / name).with_suffix(".txt").exists() == judged.is_photo


def test_captions_of_little_confidence_are_not_written(run, believed):
    limit = median(own.confidence for own in believed[1].values())
    records = run("--min-confidence", limit)
    written = {name for name, record in records.items() if record["caption"]}
    assert written == {name for name, own in believed[1].items() if own.confidence >= limit}
    assert all(record["status"] == "captioned" for record in records.values())


def test_other_limits_are_another_run(run, believed, folder, capfd):
    run("--skip-non-photos")
    assert main(["folder", str(folder), "--checkpoint", str(believed[0])]) == 2
    assert "withhold" in capfd.readouterr().err


def test_a_checkpoint_without_confidence_is_refused(command, folder):
    status, _, err = command(folder, "--skip-non-photos")
    assert status == 2
    assert err == [
        "captioner: toy-lstm has no calibrated confidence; omit --min-confidence and "
        "--skip-non-photos, or choose a checkpoint that has."
    ]
    status, _, err = command(folder, "--min-confidence", "1.5")
    assert status == 2
    assert err[-1].endswith("argument --min-confidence: 1.5 is not from 0 to 1")


def test_the_command_marks_captions_of_what_is_no_photo(believed, folder, capfd):
    for name, judged in believed[1].items():
        assert main(["caption", str(folder / name), "--checkpoint", str(believed[0])]) == 0
        assert capfd.readouterr().out.endswith(" (not a photo?)\n") != judged.is_photo

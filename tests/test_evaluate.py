import hashlib
import json
import math
import re
from pathlib import Path

import pytest
import torch
from shapes import write_shapes

from captioner.checkpoint.weights import load_checkpoint
from captioner.config import SearchConfig, to_table
from data.batching import build_loader
from data.coco import load_records
from data.dataset import CaptionDataset
from data.features import cache_features
from data.image_source import ImageSource
from training import score
from training.evaluate import _measure_candidates, main
from training.scoring.measures import describe_captions
from training.scoring.predictions import caption_batches, join_likelihoods
from training.train import main as train

SMOKE = Path(__file__).parent / "smoke.toml"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder with eight photos, their captions, and a captioner that has begun to tell them."""
    folder = tmp_path_factory.mktemp("run")
    write_shapes(folder)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    split = [row | {"split": "train" if i < 5 else "test"} for i, row in enumerate(rows)]
    (folder / "split.jsonl").write_text("\n".join(map(json.dumps, split)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sources = ", ".join(["{annotations='captions.jsonl', images=['photos']}"] * 4)
        stage = "{name='all', epochs=6, batch_size=8, learning_rate=4e-3, label_smoothing=0}"
        assert train([str(SMOKE), f"--set=data.train=[{sources}]", f"--set=stages=[{stage}]"]) == 0
    return folder


def evaluate(run: Path, *options: str) -> int:
    files = ["--checkpoint", run / "runs/smoke/best.safetensors", "--images", run / "photos"]
    return main([*map(str, files), "--annotations", str(run / "split.jsonl"), *options])


def test_the_report_holds_all_that_is_needed_to_repeat_it(run, tmp_path, capsys):
    results = tmp_path / "made" / "results.json"
    changes = ["--beam", "3", "--max-words", "9", "--length-penalty", "0.5"]
    assert evaluate(run, "--split", "test", "--results", str(results), *changes) == 0
    report = json.loads(capsys.readouterr().out)
    search = SearchConfig(beam=3, max_words=9, length_penalty=0.5)
    metrics = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert [*report.pop("scores")] == [*metrics, "distinct_captions", "vocabulary", "mean_words"]
    measured = {name: report.pop(name) for name in ("intervals", "wording", "calibration")}
    assert list(measured["intervals"]) == metrics
    commit = report.pop("commit")  # None outside of a checkout
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-changed)?", commit)
    checkpoint = (run / "runs/smoke/best.safetensors").read_bytes()
    assert report == {
        "images": 3,
        "split": "test",
        "annotations": "split.jsonl",
        "search": to_table(search),
        "tokenizer": "captioner-ptb",
        "checkpoint": "smoke",
        "sha256": hashlib.sha256(checkpoint).hexdigest(),
        "resamples": 1000,
        "seed": 0,
    }


def test_several_checkpoints_are_measured_as_one(run, capsys):
    checkpoint = run / "runs/smoke/best.safetensors"
    reports = []
    for more in ([], ["--checkpoint", str(checkpoint)]):
        assert evaluate(run, "--bootstrap", "0", *more) == 0
        reports.append(json.loads(capsys.readouterr().out))
    alone, together = reports
    assert together["checkpoint"] == "smoke + smoke"
    assert together["sha256"] == ", ".join([alone["sha256"]] * 2)
    assert together["scores"] == alone["scores"]
    assert together["calibration"]["ece"] == pytest.approx(alone["calibration"]["ece"], abs=1e-4)


def test_the_results_score_the_same_on_their_own(run, tmp_path, capsys):
    results = tmp_path / "results.json"
    assert evaluate(run, "--results", str(results)) == 0
    report = json.loads(capsys.readouterr().out)
    rows = json.loads(results.read_text())
    assert [row["image_id"] for row in rows] == list(range(8))  # in the order of the captions
    assert all(row.keys() == {"image_id", "caption"} for row in rows)
    assert score.main([str(run / "split.jsonl"), str(results)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["tokenizer"] == report["tokenizer"]
    assert again["scores"].items() <= report["scores"].items()
    assert (again["intervals"], again["wording"]) == (report["intervals"], report["wording"])
    assert report["scores"]["CIDEr"] > 1  # not a comparison of nothings


def test_batches_and_workers_change_nothing(run, tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    evaluate(run, "--results", str(one), "--batch-size", "1")
    evaluate(run, "--results", str(other), "--batch-size", "5", "--workers", "1")
    assert one.read_bytes() == other.read_bytes()


def test_cached_features_give_the_captions_of_the_pixels(run, tmp_path):
    model, header = load_checkpoint(run / "runs/smoke/best.safetensors")
    pixels = CaptionDataset(
        load_records(run / "captions.jsonl"),
        ImageSource(run / "photos"),
        preprocess=header.preprocess,
        tokenizer=header.tokenizer,
    )
    features = cache_features(model.encoder, pixels, tmp_path, batch_size=8, device="cpu")
    options = {"batch_size": 3, "shuffle": False, "pad_id": header.tokenizer.pad_id}
    found = [
        caption_batches(model, header.tokenizer, build_loader(data, **options), header.search)
        for data in (pixels, features)
    ]
    assert found[0][0] == found[1][0]
    assert len(set(found[0][0].values())) > 1
    first, second = (join_likelihoods([likelihood]) for _, likelihood in found)
    assert first == pytest.approx(second, rel=1e-3)
    assert first["perplexity"] == pytest.approx(math.exp(first["loss"]))


def test_captioning_leaves_no_trace_on_the_model(run):
    model, header = load_checkpoint(run / "runs/smoke/best.safetensors")
    before = {name: x.clone() for name, x in model.state_dict().items()}
    model.train()
    dataset = CaptionDataset(
        load_records(run / "captions.jsonl"),
        ImageSource(run / "photos"),
        preprocess=header.preprocess,
        tokenizer=header.tokenizer,
    )
    loader = build_loader(dataset, batch_size=8, shuffle=False, pad_id=0)
    caption_batches(model, header.tokenizer, loader, header.search)
    assert model.training
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_descriptions_count_captions_and_words():
    captions = {1: "A dog runs", 2: "a dog", 3: "A dog runs", 4: ""}
    assert describe_captions(captions) == {
        "distinct_captions": 3,
        "vocabulary": 3,
        "mean_words": 2.0,
    }


@pytest.mark.parametrize(
    ("captions", "vocabulary", "mean"),
    [
        (["一只狗在海滩上", "一只猫"], 8, 5.0),  # 7 and 3 characters, not 1 and 1 words
        (["a dog, running", "a dog."], 3, 2.5),  # a comma makes no other dog
        (["كلب يركض", "كلب"], 2, 1.5),
        (["หมาวิ่ง", "หมา"], 5, 4.0),  # vowel signs stay with their letters
    ],
)
def test_descriptions_count_words_of_writings_without_spaces(captions, vocabulary, mean):
    found = describe_captions(dict(enumerate(captions)))
    assert found == {"distinct_captions": 2, "vocabulary": vocabulary, "mean_words": mean}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--split", "val"], "split.jsonl has no split 'val'; it has train (5), test (3)."),
        (["--beam", "0"], "search.beam is 0; it must be 1 or more."),
        (["--max-words", "64"], "search.max_words is 64; smoke writes 63 at most."),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--checkpoint", "absent.safetensors"], "absent.safetensors: no such checkpoint file"),
        (["--images", "absent"], "Image folder or archive absent does not exist. Check the path."),
    ],
)
def test_a_users_mistake_is_answered_in_a_line(run, capsys, options, text):
    assert evaluate(run, *options) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert text in said.err


def test_results_that_cannot_be_written_are_named(run, capsys):
    assert evaluate(run, "--results", str(run / "photos")) == 1
    assert f"error: {run}/photos: cannot be written: Is a dir" in capsys.readouterr().err


def test_counts_are_checked_by_the_command(run, capsys):
    with pytest.raises(SystemExit):
        evaluate(run, "--batch-size", "0")
    assert "0 is too small; it must be 1 or more" in capsys.readouterr().err


def test_everything_is_measured_printed_and_written(run, tmp_path, capsys):
    asked = ["--samples", "3", "--temperature", "0.7", "--top-p", "0.95", "--seed", "5"]
    asked += ["--training-captions", str(run / "split.jsonl"), "--bootstrap", "50"]
    report_file = tmp_path / "made" / "report.json"
    assert evaluate(run, "--split", "test", *asked, "--json", str(report_file)) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert json.loads(report_file.read_text()) == report
    assert evaluate(run, "--split", "test", *asked) == 0
    assert json.loads(capsys.readouterr().out) == report  # the seed decides every draw
    samples = report["samples"]
    assert (samples["number"], samples["temperature"], samples["top_p"]) == (3, 0.7, 0.95)
    assert samples["best_CIDEr"] >= samples["mean_CIDEr"]
    assert set(report["novelty"]) >= {"novel_captions", "novel_1grams", "novel_4grams"}
    lines = said.err.splitlines()
    assert lines[0].endswith("smoke, 3 images of split test, split.jsonl")
    assert f"sha256 {report['sha256'][:12]}" in lines[1]
    table = "\n".join(lines)
    for title in ("BLEU-4", "best CIDEr (oracle)", "self-CIDEr", "calibration error", "perplexity"):
        assert f"  {title}" in table
    cider, ends = report["scores"]["CIDEr"], report["intervals"]["CIDEr"]
    row = next(line for line in lines if line.startswith("  CIDEr  "))
    assert row.split() == [
        "CIDEr",
        f"{100 * cider:.1f}",
        f"{100 * ends['low']:.1f}",
        "to",
        f"{100 * ends['high']:.1f}",
    ]


def test_candidates_of_the_beam_are_measured_too(run, capsys):
    asked = ["--split", "test", "--beam", "4", "--candidates", "--bootstrap", "0"]
    assert evaluate(run, *asked, "--groups", "2", "--diversity", "0.5") == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    found = report["candidates"]
    assert 2 <= found["number"] <= 4
    assert found["best_CIDEr"] >= max(found["mean_CIDEr"], report["scores"]["CIDEr"])
    assert f"{found['number']} candidates per photo, per cent" in said.err
    assert "2 groups, diversity 0.5" in said.err
    assert evaluate(run, "--beam", "1", "--candidates") == 1
    assert "--candidates needs beam search; give --beam 2 or more" in capsys.readouterr().err


def test_a_photo_with_fewer_candidates_has_its_best_counted_again():
    references = [[["a", "dog", "runs"]], [["two", "cats", "sleep"]]]
    few, many = [["a dog", "a cat"], ["two cats"]], [["a dog", "a cat"], ["two cats", "two cats"]]
    measured = [_measure_candidates(references, own, resamples=0, seed=0) for own in (few, many)]
    assert [one.pop("fewer") for one in measured] == [1, 0]
    assert measured[0] == measured[1]


def test_one_draw_is_refused(run, capsys):
    assert evaluate(run, "--samples", "1") == 1
    assert "samples is 1; give 0, or 2 or more" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_named(run, capsys):
    assert evaluate(run, "--json", str(run / "photos")) == 1
    assert f"error: {run}/photos: cannot be written: Is a dir" in capsys.readouterr().err

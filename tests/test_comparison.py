"""Several runs on one page: a row each, means over seeds, curves together."""

import csv
import math
import re
from pathlib import Path

import pytest
from runs import ToyRun
from shapes import write_shapes

from training.report.__main__ import main
from training.report.comparison import compare, write_comparison, write_table
from training.report.curves import write_curves
from training.train import main as train

SMOKE = Path(__file__).parent / "smoke.toml"


def entry(epoch, cider, **more):
    return {"stage": "a", "epoch": epoch, "CIDEr": cider, "Bleu_4": cider / 2, **more}


def test_a_run_counts_by_its_best_epoch_and_seeds_are_averaged():
    rows = compare(
        [
            ToyRun("one", [entry(1, 0.5), entry(2, 0.4)], {"seed": 1, "clip": 1}),
            ToyRun("two", [entry(1, 0.3), entry(2, 0.7, loss=2.0)], {"seed": 2, "clip": 1}),
            ToyRun("other", [entry(1, 0.9)], {"seed": 1, "clip": 2}),
            ToyRun("begun", [], {}),
        ]
    )
    assert [(row.name, row.epoch) for row in rows] == [
        ("one", "a 1"), ("two", "a 2"), ("other", "a 1"), ("one + two", ""),
    ]  # fmt: skip
    assert rows[0].means == {"CIDEr": 50, "Bleu_4": 25}
    mean = rows[3]
    assert (mean.runs, mean.means["CIDEr"]) == (2, pytest.approx(60))
    assert mean.deviations["CIDEr"] == pytest.approx(math.sqrt(2) * 10)
    assert "loss" not in mean.means  # which one of them has not


def test_charts_show_the_same_scale_as_tables():
    curves = {
        "val/CIDEr": [(4, 5.8361)], "train/reward": [(4, 0.5432)], "train/loss": [(4, 2.345)],
    }  # fmt: skip
    runs = [ToyRun("one", [entry(1, 5.8361)], {}, curves=curves), ToyRun("two", [], {})]
    for page in (write_comparison(runs, compare(runs)), write_curves(runs[0])):
        assert re.findall("<title>(.*?)</title>", page)[0] == "583.6 at 4"
        assert {"54.32 at 4", "2.345 at 4"} < set(re.findall("<title>(.*?)</title>", page))
    assert "<td class='n'>583.6</td>" in write_comparison(runs, compare(runs))
    without_events = ToyRun("one", [entry(1, 5.8361)], {})
    assert "583.6 at 1" in write_curves(without_events)


def test_the_table_is_read_by_others_and_runs_no_formula(tmp_path):
    rows = compare([ToyRun("=1+1", [entry(1, 0.5)], {"seed": 1})])
    (head, row) = csv.reader(write_table(rows).splitlines())
    assert head[:5] == ["run", "runs", "epoch", "CIDEr", "CIDEr_sd"]
    assert row[:5] == ["'=1+1", "1", "a 1", "50.0", ""]


def test_runs_of_a_sweep_are_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path)
    stages = "stages=[{name='all', epochs=2, batch_size=4}]"
    assert train([str(SMOKE), "--set", "seed=[1, 2]", "--set", stages]) == 0
    ends = capsys.readouterr().out.splitlines()
    assert [end.split(": ")[1] for end in ends] == [
        f"runs/smoke-seed-{seed}/best.safetensors" for seed in (1, 2)
    ]
    assert main(["runs/smoke-seed-1", "runs/smoke-seed-2"]) == 0
    assert capsys.readouterr().out == "comparison.html\n"
    page = Path("comparison.html").read_text()
    assert page.count("<svg") == 3  # CIDEr and loss of validation, loss of training
    assert page.count('class="line ') == 3 * 2
    assert "smoke-seed-1 + smoke-seed-2" in page
    rows = list(csv.DictReader(Path("comparison.csv").read_text().splitlines()))
    assert [row["runs"] for row in rows] == ["1", "1", "2"]


def test_more_runs_than_colours_are_refused(capsys):
    assert main([f"runs/{n}" for n in range(9)]) == 1
    assert capsys.readouterr().err == "error: 9 runs were given; at most 8 can be compared.\n"

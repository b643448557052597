"""Several runs on one page: a row each, means over seeds, curves together."""

import csv
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from runs import ToyRun
from shapes import write_shapes

from training.report.__main__ import main
from training.report.comparison import compare, draw_comparison, write_comparison, write_table
from training.report.curves import write_curves
from training.report.figures import join_drawings
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
    together = write_comparison(runs, compare(runs), draw_comparison(runs))
    for page in (together, write_curves(runs[0])):
        assert re.findall("<title>(.*?)</title>", page)[0] == "583.6 at 4"
        assert {"54.32 at 4", "2.345 at 4"} < set(re.findall("<title>(.*?)</title>", page))
    assert "<td class='n'>583.6</td>" in together
    without_curves = ToyRun("one", [entry(1, 5.8361)], {})
    assert "583.6 at 1" in write_curves(without_curves)


def test_the_table_for_a_paper_is_rounded_names_its_scale_and_runs_no_formula():
    first = entry(1, 5.8361179439895, ROUGE_L=0.31234, loss=2.34567, distinct_captions=7)
    rows = compare(
        [
            ToyRun("=1+1", [first], {"seed": 1}),
            ToyRun("two", [first | {"CIDEr": 5.6361179439895}], {"seed": 2}),
        ]
    )
    assert write_table(rows) == (
        "run,runs,best_epoch,CIDEr_x100,CIDEr_x100_sd,BLEU-4_x100,BLEU-4_x100_sd,ROUGE-L_x100,"
        "ROUGE-L_x100_sd,loss_nats,loss_nats_sd,distinct_captions,distinct_captions_sd\n"
        "'=1+1,1,a 1,583.61,,291.81,,31.23,,2.3457,,7.0,\n"
        "two,1,a 1,563.61,,291.81,,31.23,,2.3457,,7.0,\n"
        "'=1+1 + two,2,,573.61,14.14,291.81,0.00,31.23,0.00,2.3457,0.0000,7.0,0.0\n"
    )
    assert write_table(compare([ToyRun("a", [entry(1, 0.5)], {})])).endswith(
        "\na,1,a 1,50.00,,25.00,,,,,,,\n"
    )


def test_curves_for_a_paper_stand_on_their_own():
    curves = {"val/CIDEr": [(4, 0.5)], "train/loss": [(4, 2.0)]}
    runs = [ToyRun(name, [], {}, curves=curves) for name in ("one", "<two> & \x01")]
    drawing = join_drawings(draw_comparison(runs), names=[run.folder.name for run in runs])
    root = ElementTree.fromstring(drawing)
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{svg}svg"
    assert [child.text for child in root.findall(f"{svg}text")] == [
        "Validation CIDEr", "Training loss, nats per token", "one", "<two> &",
    ]  # fmt: skip
    assert "var(" not in drawing  # which drawing programs do not know
    assert ".line.b { stroke: #c2410c; } .dot.b, text.b { fill: #c2410c; }" in drawing
    (first, second) = root.findall(f"{svg}svg")
    assert (first.get("x"), second.get("x")) == ("0", "380")
    assert [dot.get("class") for dot in first.iter(f"{svg}circle")] == ["dot a", "dot b"]


@pytest.mark.parametrize("suffix", [".csv", ".svg"])
def test_a_page_is_not_replaced_by_its_table_or_curves(suffix, tmp_path, capsys):
    output = tmp_path / f"table{suffix}"
    assert main(["runs/a", "runs/b", "--output", str(output)]) == 1
    assert capsys.readouterr().err == (
        f"error: --output is {output}, but names the page; give it as {tmp_path}/table.html, and "
        "the table and the curves are written beside it as .csv and .svg.\n"
    )
    assert not output.exists()


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
    drawn = Path("comparison.svg").read_text()
    assert drawn.count('class="line ') == 3 * 2
    assert drawn.endswith("</svg>\n")
    rows = list(csv.DictReader(Path("comparison.csv").read_text().splitlines()))
    assert [row["runs"] for row in rows] == ["1", "1", "2"]


def test_more_runs_than_colours_are_refused(capsys):
    assert main([f"runs/{n}" for n in range(9)]) == 1
    assert capsys.readouterr().err == "error: 9 runs were given; at most 8 can be compared.\n"

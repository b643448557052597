"""Reports of runs: whole, half-done and hardly begun; with and without photos; safe to open."""

import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from runs import ToyRun
from shapes import write_shapes

from captioner.errors import DataError
from training.report.__main__ import main
from training.report.figures import draw_lengths, draw_lines, draw_reliability, ticks
from training.report.run_files import read_curves, read_run
from training.train import main as train

SMOKE = Path(__file__).parent / "smoke.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder in which a run of two stages was made."""
    folder = tmp_path_factory.mktemp("report")
    write_shapes(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        source = "{annotations='captions.jsonl', images=['photos']}"
        stages = ", ".join(f"{{name='{name}', epochs=2, batch_size=2}}" for name in ("a", "b"))
        sources = ", ".join([source] * 6)
        # A name that would do harm if it were not escaped; it names the folder, too.
        changes = [f"data.train=[{sources}]", f"stages=[{stages}]", "name='smoke <b>&'"]
        assert train([str(SMOKE), *(f"--set={change}" for change in changes)]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    """A copy of that run; the photos are found from here."""
    monkeypatch.chdir(trained)
    return Path(shutil.copytree(trained / "runs/smoke <b>&", tmp_path / "run"))


class Page(HTMLParser):
    """What a browser would make of it: tags, attributes, and text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data")]

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.text += data


def make(run: Path, *options: str) -> Page:
    assert main([str(run), *options]) == 0
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_page_of_a_finished_run_holds_everything_and_loads_nothing(run, capsys):
    page = make(run, "--photos", "2")
    assert capsys.readouterr().out == f"{run}/report.html\n"
    for heading in ("Curves", "Scores", "Photos", "Cost", "Settings"):
        assert heading in page.text
    assert "finished: 4 epochs" in page.text
    assert page.links
    assert all(link.startswith("data:image/") for link in page.links)
    assert "script" not in page.tags
    assert page.tags.count("fieldset") == 2
    # losses, CIDEr, BLEU-4, distinct captions, objective, rate, gradient; lengths, reliability
    assert page.tags.count("svg") == 10
    assert "smoke <b>&" in page.text  # escaped, and so it is text
    assert "b" not in page.tags
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert f"sha256 {evaluation['sha256'][:12]}" in page.text
    ends = evaluation["intervals"]["Bleu_1"]
    assert f"{100 * ends['low']:.1f} to {100 * ends['high']:.1f}" in page.text
    assert "cores" in page.text  # the machine


def test_drawings_are_whole(run):
    make(run, "--photos", "1")
    html = (run / "report.html").read_text(encoding="utf-8")
    for drawing in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing


def test_an_evaluation_is_kept_until_the_checkpoint_changes(run):
    make(run, "--photos", "0")
    first = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps(first | {"commit": "f" * 40}))
    assert "commit ffffffffff" in make(run, "--photos", "0").text
    (run / "evaluation.json").write_text(
        json.dumps(first | {"sha256": "0" * 64, "commit": "e" * 40})
    )
    assert "commit eeeeeeeeee" not in make(run, "--photos", "0").text


def grounding(**changes) -> dict:
    """A report as `training.grounding` writes it."""
    share = {"value": 0.625, "low": 0.5, "high": 0.75}
    judged = {
        "attention_correctness": dict.fromkeys(
            ("model", "uniform", "centre", "times_uniform"), share
        ),
        "pointing": {"model": share, "centre": share},
    }
    layer = {"method": "layer", "layer": None, "head": None}
    view = layer | {"layer": 1, "attention_correctness": 0.125, "pointing": 0.25}
    about = {"checkpoint": "smoke", "photos": 7, "split": "val", "boxes": "<boxes>", "view": layer}
    draws = {"seed": 0, "resamples": 20, "deletion": None}
    kinds = {"dogs <b>&": {"phrases": 3, **judged}}
    return {
        "phrases": 9,
        **judged,
        "by_kind": kinds,
        "by_view": [view],
        **about,
        **draws,
        **changes,
    }


@pytest.mark.parametrize("measured", [True, False])
def test_grounding_of_this_checkpoint_and_no_other_is_laid_out_as_tables(run, measured):
    digest = hashlib.sha256((run / "best.safetensors").read_bytes()).hexdigest()
    options = ("--photos", "0") if measured else ("--photos", "0", "--no-measure")
    path = run / "grounding.json"
    path.write_text(json.dumps(grounding(sha256=digest)))
    page = make(run, *options)
    assert "smoke, 7 photos of split val, <boxes>, attention of last layer, mean" in page.text
    html = (run / "report.html").read_text(encoding="utf-8")
    assert (
        "<tr><td>dogs &lt;b&gt;&amp;</td><td class='n'>3</td>"
        "<td class='n'>62.5% (50.0 to 75.0)</td>" in html
    )
    assert "<td>layer 1, mean of heads</td><td class='n'>12.5%</td>" in html
    path.write_text(json.dumps(grounding(sha256="0" * 64)))
    page = make(run, *options)
    assert "Does attention find" not in page.text
    assert "grounding.json is of another checkpoint; run training.grounding again." in page.text


def test_without_photos_a_sentence_says_so(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = make(run)
    assert "Photos are missing: Image folder or archive photos does not exist." in page.text
    assert "give --annotations and --images" in page.text
    assert (
        "Intervals, lengths and calibration are missing: Caption file captions.jsonl" in page.text
    )
    assert page.tags.count("fieldset") == 0
    assert "Every validation" in page.text


def test_photos_may_lie_elsewhere(run, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = ["--annotations", str(trained / "captions.jsonl"), "--images", str(trained / "photos")]
    assert make(run, *where, "--photos", "1", "--no-measure").tags.count("fieldset") == 1
    assert not (run / "evaluation.json").exists()


def test_a_run_that_has_hardly_begun_has_a_page(run):
    for checkpoint in run.glob("*.safetensors"):
        checkpoint.unlink()
    (run / "metrics.jsonl").unlink()
    lines = (run / "log.txt").read_text().splitlines(keepends=True)
    (run / "log.txt").write_text("".join(lines[:2]))
    page = make(run)
    assert "not finished: no validation yet" in page.text
    assert "No photos yet" in page.text
    assert "No points yet." in page.text


def test_a_line_being_written_and_values_that_are_no_numbers_are_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "time": 0.5, "train/loss": 2.5}\n'
        '{"step": 2, "time": 1.5, "train/loss": null}\n{"step": 3, "ti'
    )
    assert read_curves(tmp_path) == {"train/loss": [(1, 2.5)]}


def test_without_curves_the_checkpoints_history_is_drawn(run):
    (run / "metrics.jsonl").unlink()
    page = make(run, "--no-measure", "--photos", "0")
    assert page.tags.count("svg") == 4
    assert page.text.count("validations") == 4  # under the axes


def run_with(*lines: str, validated: list[tuple[str, int]], epochs=(3,), curves=None, **settings):
    """A run of stages a and b, of so many epochs, with validations in these epochs."""
    stages = [
        {"name": name, "epochs": number, **settings}
        for name, number in zip("ab", epochs, strict=False)
    ]
    history = [{"stage": stage, "epoch": epoch, "CIDEr": 0.5} for stage, epoch in validated]
    return ToyRun("r", history, {"stages": stages}, log=lines, curves=curves)


DONE = "finished after 5 steps, best validation CIDEr 50.0"


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (run_with(validated=[("a", 1), ("a", 2), ("a", 3)]), "finished: 3 epochs"),
        (
            run_with(validated=[("a", 1), ("a", 2)]),
            "not finished: last validation in epoch 2 of 3 of a, stage 1 of 1",
        ),
        (
            run_with(validated=[("a", 1), ("a", 1), ("a", 1)], validate_steps=2),
            "not finished: last validation in epoch 1 of 3 of a, stage 1 of 1",
        ),
        (
            run_with(validated=[("a", 1), ("a", 2), ("a", 3)], validate_steps=2),
            "not finished: last validation in epoch 3 of 3 of a, stage 1 of 1",
        ),
        (
            run_with(DONE, validated=[("a", 1), ("a", 2), ("a", 3), ("a", 3)], validate_steps=2),
            "finished: 3 epochs",
        ),
        (
            run_with("a: max_steps reached, stopped early", DONE, validated=[("a", 1)]),
            "finished: 1 of 3 epochs; a: max_steps reached, stopped early",
        ),
        (
            run_with(
                "a: no improvement for 1 epochs, stopped early",
                epochs=(3, 2),
                validated=[("a", 1), ("a", 2), ("b", 1)],
            ),
            "not finished: last validation in epoch 1 of 2 of b, stage 2 of 2",
        ),
    ],
)
def test_a_run_is_finished_when_its_last_stage_is_and_not_by_its_validations(record, state):
    assert record.state == state


def test_several_validations_in_an_epoch_end_no_stage():
    validated = [("a", 1), ("a", 1), ("a", 2), ("b", 1), ("b", 1)]
    curve = [(step, 0.5) for step in (2, 4, 5, 7, 8)]
    record = run_with(epochs=(2, 1), validated=validated, curves={"val/CIDEr": curve})
    assert record.stage_ends == [(5, 2)]


def test_stages_cost_and_machine_are_read_from_what_the_run_left(run):
    record = read_run(run)
    assert [(e.stage, e.number) for e in record.epochs] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert all(e.measure == "loss" and e.photos_per_second > 0 for e in record.epochs)
    ((step, _),) = record.stage_ends
    assert step == record.curves["val/CIDEr"][1][0]
    assert "torch" in record.machine
    assert [entry["CIDEr"] for entry in record.history] == pytest.approx(
        [value for _, value in record.curves["val/CIDEr"]], rel=1e-5
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "nowhere is not a folder; give that of a run"),
        ("photos", "photos holds neither a checkpoint nor log.txt"),
    ],
)
def test_what_is_no_run_is_named(trained, name, text, capsys):
    assert main([str(trained / name)]) == 1
    assert text in capsys.readouterr().err


def test_a_spoilt_evaluation_is_named(run):
    (run / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match=r"evaluation\.json is not valid JSON"):
        read_run(run)
    (run / "evaluation.json").write_text("[]")
    with pytest.raises(DataError, match=r"evaluation\.json holds no report"):
        read_run(run)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.31, 0.62, [0.4, 0.5, 0.6]),
        (0, 1300, [0, 500, 1000]),
        (-3, 8, [-2, 0, 2, 4, 6, 8]),
        (2e-5, 9e-5, [2e-5, 4e-5, 6e-5, 8e-5]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_lines_of_one_point_of_none_and_with_gaps_are_drawn():
    assert draw_lines({"x": []}, title="t", x_label="steps") == ""
    assert draw_lines({"x": [(1, float("nan"))]}, title="t", x_label="steps") == ""
    one = draw_lines({"x": [(5, 0.0)]}, title="<t>", x_label="a & b", best=True)
    assert ElementTree.fromstring(one).get("aria-label") == "<t>"
    long = draw_lines(
        {"x": [(n, n % 7) for n in range(5000)]}, title="t", x_label="steps", marks=[10]
    )
    (line,) = re.findall(r'polyline class="line a" points="([^"]*)"', long)
    assert len(line.split()) <= 400


def test_bars_and_dots_stand_where_their_numbers_are():
    bins = [{"words": 4, "accuracy": 0.5, "confidence": 0.25}]
    root = ElementTree.fromstring(draw_reliability(bins, title="r"))
    (dot,) = (e for e in root if e.tag == "circle")
    assert float(dot.get("cx")) == pytest.approx(46 + 0.25 * 302, abs=0.1)
    assert float(dot.get("cy")) == pytest.approx(180 - 0.5 * 168, abs=0.1)
    root = ElementTree.fromstring(draw_lengths([0, 1, 3], [2, 2], title="l"))
    heights = [float(e.get("height")) for e in root if e.tag == "rect"]
    assert heights[0] == 0
    assert heights[2] == pytest.approx(3 * heights[1], abs=0.2)

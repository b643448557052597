"""Comparison of runs: curves in one chart, and a table with means over seeds."""

import csv
import io
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captioner.interchange import guard
from captioner.overlay.figure import text
from training.report.blocks import chart
from training.report.figures import COLOURS, draw_lines
from training.report.run_files import RunFiles
from training.scoring.layout import NAMES, for_people

MEASURES = ("CIDEr", "Bleu_4", "ROUGE_L", "loss", "distinct_captions")
"""Columns: measures of the validation with the best CIDEr."""
_FILE_COLUMNS = {
    "CIDEr": ("CIDEr_x100", 2),
    "Bleu_4": ("BLEU-4_x100", 2),
    "ROUGE_L": ("ROUGE-L_x100", 2),
    "loss": ("loss_nats", 4),
    "distinct_captions": ("distinct_captions", 1),
}
"""Measure -> its name and decimals in CSV."""
_CHARTS = {
    "val/CIDEr": "Validation CIDEr",
    "val/loss": "Validation loss, nats per token",
    "train/loss": "Training loss, nats per token",
    "train/reward": "Reward of sampled captions",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run, or the mean of runs that differ only in their seed."""

    name: str
    runs: int
    epoch: str
    """Stage and number of the best epoch; empty for several runs."""
    means: dict[str, float]
    """Measures by name; scores times 100."""
    deviations: dict[str, float]
    """Sample standard deviations over runs; empty for one run."""


def compare(runs: Sequence[RunFiles]) -> list[Row]:
    """Return a row per run, then a row per group of runs that differ only in their seed."""
    rows: list[Row] = []
    groups: dict[str, list[Row]] = defaultdict(list)
    for run in runs:
        if not run.history:
            continue
        best = max(run.history, key=lambda entry: entry["CIDEr"])
        values = {name: for_people(name, best[name]) for name in MEASURES if name in best}
        epoch = f"{best['stage']} {best['epoch']}"
        rows.append(Row(name=run.folder.name, runs=1, epoch=epoch, means=values, deviations={}))
        same = {k: v for k, v in run.settings.items() if k not in ("seed", "name")}
        groups[json.dumps(same, sort_keys=True)].append(rows[-1])
    return [*rows, *(_over_seeds(members) for members in groups.values() if len(members) > 1)]


def _over_seeds(members: Sequence[Row]) -> Row:
    shared = [name for name in MEASURES if all(name in row.means for row in members)]
    columns = {name: [row.means[name] for row in members] for name in shared}
    return Row(
        name=" + ".join(row.name for row in members),
        runs=len(members),
        epoch="",
        means={name: statistics.mean(column) for name, column in columns.items()},
        deviations={name: statistics.stdev(column) for name, column in columns.items()},
    )


def write_table(rows: Sequence[Row]) -> str:
    """Format the rows as CSV, with a column per mean and per standard deviation."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{column}{s}" for column, _ in _FILE_COLUMNS.values() for s in ("", "_sd")]
    writer.writerow(["run", "runs", "best_epoch", *columns])
    for row in rows:
        cells: list[Any] = [guard(row.name), row.runs, row.epoch]
        for name, (_, digits) in _FILE_COLUMNS.items():
            values = (row.means.get(name), row.deviations.get(name))
            cells += ["" if value is None else f"{value:.{digits}f}" for value in values]
        writer.writerow(cells)
    return stream.getvalue()


def draw_comparison(runs: Sequence[RunFiles]) -> dict[str, str]:
    """Draw the curves of all runs together; return the charts that have points, by title."""
    drawings = {
        title: draw_lines(
            {str(run.folder): run.curve(curve) for run in runs},
            title=title,
            x_label="steps",
            dots=curve.startswith("val/"),
        )
        for curve, title in _CHARTS.items()
    }
    return {title: drawing for title, drawing in drawings.items() if drawing}


def write_comparison(
    runs: Sequence[RunFiles], rows: Sequence[Row], drawings: Mapping[str, str]
) -> str:
    """Build the sections of the page: curves and table."""
    names = [run.folder.name for run in runs]
    key = "".join(
        f"<span class='key {colour}'>{text(name)}</span> "
        for colour, name in zip(COLOURS, names, strict=False)
    )
    charts = [chart(title, drawing) for title, drawing in drawings.items()]
    titles = (NAMES.get(name, name.replace("_", " ")) for name in MEASURES)
    head = "".join(f"<th class='n'>{title}</th>" for title in titles)
    lines_of = "".join(
        f"<tr><td>{text(row.name)}</td><td>{text(row.epoch)}</td>"
        + "".join(f"<td class='n'>{_cell(row, name)}</td>" for name in MEASURES)
        + "</tr>\n"
        for row in rows
    )
    return (
        f"<p>{key}</p>\n<div class='charts'>\n{''.join(charts)}</div>\n"
        f"<div class='wide'><table>\n<tr><th>run</th><th>best epoch</th>{head}</tr>\n"
        f"{lines_of}</table></div>\n"
    )


def _cell(row: Row, name: str) -> str:
    if name not in row.means:
        return ""
    mean, digits = row.means[name], {"distinct_captions": 0, "loss": 3}.get(name, 1)
    spread = row.deviations.get(name)
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")

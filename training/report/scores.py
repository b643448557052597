"""Scores of a run's best checkpoint, and of every validation."""

from captioner.overlay.figure import text
from training.grounding.layout import Table, describe_deletion, describe_origin, tables
from training.report.blocks import chart
from training.report.figures import draw_lengths, draw_reliability
from training.report.run_files import RunFiles
from training.scoring.layout import about, in_percent, sections


def write_scores(record: RunFiles) -> str:
    """Build the section of scores: tables, lengths, reliability, grounding, history."""
    report = record.evaluation
    if report is None:
        return _grounding(record) + _history(record)
    groups = []
    for title, rows in sections(report):
        lines = "".join(
            f"<tr><td>{text(name)}</td><td class='n'>{text(value)}</td>"
            f"<td class='pale'>{text(rest)}</td></tr>\n"
            for name, value, rest in rows
        )
        groups.append(f"<div><h3>{text(title.capitalize())}</h3><table>\n{lines}</table></div>\n")
    wording, calibration = report["wording"], report.get("calibration")
    charts = [
        chart(
            "Caption length in words, per cent of captions",
            draw_lengths(wording["lengths"], wording["reference_lengths"], title="Lengths"),
            '<span class="key">captions</span>, <span class="key b">references</span>',
        )
    ]
    if calibration:
        charts.append(
            chart(
                "Reliability of next-word predictions, per cent",
                draw_reliability(calibration["bins"], title="Reliability diagram"),
                "Accuracy over confidence of the next-word predictions on the references. The "
                "dashed line is perfect calibration; larger dots stand for more words.",
            )
        )
    where = "".join(f"<p class='pale'>{text(line)}</p>\n" for line in about(report).splitlines())
    return (
        f'{where}<div class="charts">\n{"".join(groups)}{"".join(charts)}</div>\n'
        f"{_grounding(record)}{_history(record)}"
    )


def _grounding(record: RunFiles) -> str:
    """Build the grounding tables, if they were measured."""
    report = record.grounding
    if report is None:
        return ""
    note = (
        "Attention inside the boxes of named objects, beside uniform attention and a Gaussian at "
        "the centre, and how often its peak lies in a box (pointing game). With 95 % intervals."
    )
    by_kind, by_view = map(_table, tables(report))
    return (
        "<h3 class='next'>Does attention find the named objects?</h3>\n"
        f"<p class='pale'>{text(describe_origin(report))}</p>\n<p class='pale'>{note}</p>\n"
        f"{by_kind}<p>{text(describe_deletion(report).capitalize())}</p>\n"
        f"<details><summary>By layer and head</summary>{by_view}</details>\n"
    )


def _table(table: Table) -> str:
    head, *heads = table.heads
    titles = "".join(f"<th class='n'>{text(name)}</th>" for name in heads)
    rows = "".join(
        f"<tr><td>{text(name)}</td>"
        + "".join(f"<td class='n'>{text(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for name, *cells in table.rows
    )
    return (
        f"<div class='wide'><table>\n<tr><th>{text(head)}</th>{titles}</tr>\n{rows}</table></div>\n"
    )


def _history(record: RunFiles) -> str:
    """Build the table of validation scores."""
    if not record.history:
        return ""
    columns = ("CIDEr", "Bleu_4", "ROUGE_L")
    heads = "".join(f"<th class='n'>{name}</th>" for name in ("CIDEr", "BLEU-4", "ROUGE-L"))
    rows = "".join(
        f"<tr><td>{text(entry['stage'])}</td><td class='n'>{entry['epoch']}</td>"
        + "".join(f"<td class='n'>{in_percent(entry[name])}</td>" for name in columns)
        + f"<td class='n'>{entry['distinct_captions']:.0f}</td></tr>\n"
        for entry in record.history
    )
    shown = "" if record.evaluation else " open"
    return (
        f"<details{shown}><summary>Every validation</summary>"
        "<div class='wide'><table>\n"
        f"<tr><th>stage</th><th class='n'>epoch</th>{heads}<th class='n'>distinct</th></tr>\n"
        f"{rows}</table></div></details>\n"
    )

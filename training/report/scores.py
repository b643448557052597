"""What was measured of a run's best checkpoint, and after every epoch."""

from captioner.overlay.figure import text
from training.grounding.tables import write_tables
from training.report.figures import draw_lengths, draw_reliability
from training.report.parts import chart, text_lines
from training.report.record import Record
from training.tables import about, percent, sections


def write_scores(record: Record) -> str:
    """Write the section of scores: tables, lengths, reliability, grounding, history."""
    report = record.evaluation
    if report is None:
        return _history(record)
    tables = []
    for title, rows in sections(report):
        lines = "".join(
            f"<tr><td>{text(name)}</td><td class='n'>{text(value)}</td>"
            f"<td class='pale'>{text(rest)}</td></tr>\n"
            for name, value, rest in rows
        )
        tables.append(f"<div><h3>{text(title.capitalize())}</h3><table>\n{lines}</table></div>\n")
    wording, calibration = report["wording"], report.get("calibration")
    charts = [
        chart(
            "Words a caption, per cent of captions",
            draw_lengths(wording["lengths"], wording["reference_lengths"], title="Lengths"),
            '<span class="key">captions</span>, <span class="key b">references</span>',
        )
    ]
    if calibration:
        charts.append(
            chart(
                "Right as often as sure? Per cent",
                draw_reliability(calibration["bins"], title="Reliability of the next word"),
                "Guesses of the references' next word: how often right, over how sure. On the "
                "dashed line the model is calibrated; larger dots are more words.",
            )
        )
    where = "".join(f"<p class='pale'>{text(line)}</p>\n" for line in about(report).splitlines())
    grounding = ""
    if record.grounding:
        grounding = (
            "<h3>Does it look at what it says?</h3>\n"
            f"<pre>{text_lines(write_tables(record.grounding))}</pre>\n"
        )
    return (
        f'{where}<div class="charts">\n{"".join(tables)}{"".join(charts)}</div>\n'
        f"{grounding}{_history(record)}"
    )


def _history(record: Record) -> str:
    """Validation scores after every epoch, as training measured them."""
    if not record.history:
        return ""
    columns = ("CIDEr", "Bleu_4", "ROUGE_L")
    heads = "".join(f"<th class='n'>{name}</th>" for name in ("CIDEr", "BLEU-4", "ROUGE-L"))
    rows = "".join(
        f"<tr><td>{text(entry['stage'])}</td><td class='n'>{entry['epoch']}</td>"
        + "".join(f"<td class='n'>{percent(entry[name])}</td>" for name in columns)
        + f"<td class='n'>{entry['distinct_captions']:.0f}</td></tr>\n"
        for entry in record.history
    )
    shown = "" if record.evaluation else " open"
    return (
        f"<details{shown}><summary>Validation after every epoch</summary>"
        "<div class='wide'><table>\n"
        f"<tr><th>stage</th><th class='n'>epoch</th>{heads}<th class='n'>distinct</th></tr>\n"
        f"{rows}</table></div></details>\n"
    )

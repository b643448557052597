"""Cost of a run: time, photos per second, machine."""

from captioner.overlay.figure import text
from data.progress import duration
from training.report.blocks import definitions
from training.report.run_files import RunFiles


def write_cost(record: RunFiles) -> str:
    """Build the section of costs."""
    epochs = record.epochs
    if not epochs:
        return ""
    seconds = sum(epoch.seconds for epoch in epochs)
    rows = {
        "training": f"{duration(seconds)} in {len(epochs)} epochs, without validation",
        "machine": record.machine or "not recorded",
    }
    lines = "".join(
        f"<tr><td>{text(e.stage)}</td><td class='n'>{e.number}</td>"
        f"<td class='n'>{text(e.measure)} {e.value}</td>"
        f"<td class='n'>{e.photos_per_second:.1f}</td>"
        f"<td class='n'>{duration(e.seconds)}</td></tr>\n"
        for e in epochs
    )
    return (
        f"{definitions(rows)}<div class='wide'><table>\n<tr><th>stage</th><th class='n'>epoch</th>"
        "<th class='n'>measure</th><th class='n'>photos/s</th><th class='n'>time</th></tr>\n"
        f"{lines}</table></div>\n"
    )

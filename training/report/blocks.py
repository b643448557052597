"""Pieces of HTML for the sections of a report; all text is escaped."""

from collections.abc import Mapping

from captioner.overlay.figure import text


def definitions(rows: Mapping[str, str]) -> str:
    """Format a description list of names and values."""
    pairs = "".join(f"<dt class='pale'>{text(k)}</dt><dd>{text(v)}</dd>\n" for k, v in rows.items())
    return f"<dl>\n{pairs}</dl>\n"


def chart(title: str, drawing: str, note: str = "") -> str:
    """Put a heading above a chart, and an optional note, which is HTML, below."""
    if not drawing:
        return ""
    below = f'<figcaption class="pale">{note}</figcaption>' if note else ""
    return f'<figure class="chart"><h3>{title}</h3>{drawing}{below}</figure>\n'


def text_lines(raw: str) -> str:
    """Escape text of several lines, keeping the lines."""
    return "\n".join(map(text, raw.splitlines()))

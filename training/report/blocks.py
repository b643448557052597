"""Pieces of HTML that the sections of a report are made of; every text is made harmless."""

from collections.abc import Mapping

from captioner.overlay.figure import text


def definitions(rows: Mapping[str, str]) -> str:
    """Write names and what they stand for."""
    pairs = "".join(f"<dt class='pale'>{text(k)}</dt><dd>{text(v)}</dd>\n" for k, v in rows.items())
    return f"<dl>\n{pairs}</dl>\n"


def chart(title: str, drawing: str, note: str = "") -> str:
    """Put a heading above a drawing; `note` is HTML."""
    if not drawing:
        return ""
    below = f'<figcaption class="pale">{note}</figcaption>' if note else ""
    return f'<figure class="chart"><h3>{title}</h3>{drawing}{below}</figure>\n'


def text_lines(raw: str) -> str:
    """Make text of several lines harmless, and keep its lines."""
    return "\n".join(map(text, raw.splitlines()))

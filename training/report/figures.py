"""Charts as SVG: lines, bars, reliability diagrams. Colours and fonts are those of the page.

Every chart is 360 by 220 units and scales with its column. Its CSS classes are `axis`, `grid`,
`line`, `dot`, `bar`, `mark` and `pale`; the colours are `a`, `b` and so on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from captioner.overlay.figure import text
from training.report.run_files import Points
from training.scoring.layout import mean_length

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 40
_TITLE = 20  # height of a line of text in a file
COLOURS = {
    "a": "#1d5fd1", "b": "#c2410c", "c": "#0f8a5f", "d": "#a855c7", "e": "#b8860b", "f": "#d6336c",
    "g": "#0891a8", "h": "#7a7a7a",
}  # fmt: skip
"""CSS class -> colour, in the order of use; a page may choose others for a dark screen."""
_FILE_CSS = """\
text { font: 11px sans-serif; fill: #222; } text.pale { fill: #666; }
.grid { stroke: #d8d8d8; } .axis { stroke: #666; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
"""
_MANY = 400  # points per line; more cannot be told apart


@dataclass(frozen=True)
class _Frame:
    """Maps data coordinates to the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, x: float) -> float:
        low, high = self.x
        return _LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(self, y: float) -> float:
        low, high = self.y
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def draw_lines(
    lines: Mapping[str, Points],
    *,
    title: str,
    x_label: str,
    marks: Sequence[float] = (),
    dots: bool = False,
    best: bool = False,
) -> str:
    """Draw curves, at most as many as there are colours.

    Args:
        lines: points by name; only finite points are drawn.
        title: description for screen readers.
        x_label: label of the x axis.
        marks: positions of vertical lines.
        dots: draw every point, for sparse curves.
        best: ring the highest point of the first curve.
    """
    finite = {
        name: _thin([(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)])
        for name, line in lines.items()
    }
    points = [point for line in finite.values() for point in line]
    if not points:
        return ""
    frame = _Frame(
        _widen(min(x for x, _ in points), max(x for x, _ in points)),
        _widen(min(y for _, y in points), max(y for _, y in points), margin=0.06),
    )
    parts = [_axes(frame, x_label=x_label)]
    for x in marks:
        place = f"{frame.across(x):.1f}"
        parts.append(f'<line class="mark" x1="{place}" x2="{place}" y1="{_TOP}" y2="{_floor()}"/>')
    for colour, line in zip(COLOURS, finite.values(), strict=False):
        path = " ".join(f"{frame.across(x):.1f},{frame.down(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="line {colour}" points="{path}"/>')
        if dots or len(line) == 1:
            parts += [_dot(frame, x, y, colour) for x, y in line]
    if best:
        x, y = max(next(iter(finite.values())), key=lambda point: point[1])
        parts.append(
            f'<circle class="ring" cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" r="7"/>'
        )
    return _svg(parts, title=title)


def join_drawings(drawings: Mapping[str, str], *, names: Sequence[str]) -> str:
    """Join charts, by title, into one SVG file, two a row, above a key of the curves' names."""
    css = _FILE_CSS + "".join(
        f".line.{name} {{ stroke: {colour}; }} .dot.{name}, text.{name} {{ fill: {colour}; }}\n"
        for name, colour in COLOURS.items()
    )
    parts, down = [], _HEIGHT + 2 * _TITLE
    for place, (title, drawing) in enumerate(drawings.items()):
        x, y = place % 2 * (_WIDTH + _TITLE), place // 2 * down
        size = f'width="{_WIDTH}" height="{_HEIGHT}"'
        parts.append(f'<text x="{x + _LEFT}" y="{y + _TITLE - 6}">{escape(title)}</text>')
        parts.append(drawing.replace("<svg", f'<svg x="{x}" y="{y + _TITLE}" {size}', 1))
    top = -(-len(drawings) // 2) * down
    for place, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        y = top + (place + 1) * _TITLE
        parts.append(f'<text class="{colour}" x="{_LEFT}" y="{y}">{text(name)}</text>')
    width, height = 2 * _WIDTH + _TITLE, top + (len(names) + 1) * _TITLE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n<style>\n{css}</style>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{"".join(parts)}\n</svg>\n'
    )


def draw_reliability(bins: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Draw a reliability diagram: accuracy over confidence; the diagonal is perfect calibration."""
    frame = _Frame((0, 1), (0, 1))
    parts = [_axes(frame, x_label="confidence, per cent", percent=True)]
    parts.append(
        f'<line class="mark" x1="{frame.across(0)}" y1="{frame.down(0)}" '
        f'x2="{frame.across(1)}" y2="{frame.down(1)}"/>'
    )
    most = max(found["words"] for found in bins)
    for found in bins:
        confidence, accuracy = found["confidence"], found["accuracy"]
        label = (
            f"confidence {100 * confidence:.0f} %, accuracy {100 * accuracy:.0f} %, "
            f"{found['words']} words"
        )
        radius = 2.5 + 5 * math.sqrt(found["words"] / most)
        parts.append(_dot(frame, confidence, accuracy, "a", radius=radius, label=label))
    return _svg(parts, title=title)


def draw_lengths(lengths: Sequence[int], others: Sequence[int], *, title: str) -> str:
    """Draw the distribution of caption lengths, with that of the references as a line."""
    shares, theirs = _shares(lengths), _shares(others)
    longest = max(len(shares), len(theirs))
    frame = _Frame((-0.5, max(1, longest) - 0.5), (0, max([*shares, *theirs, 0.01]) * 1.06))
    parts = [_axes(frame, x_label="words", percent=True)]
    for n, share in enumerate(shares):
        left, right = frame.across(n - 0.4), frame.across(n + 0.4)
        top = frame.down(share)
        parts.append(
            f'<rect class="bar a" x="{left:.1f}" width="{right - left:.1f}" y="{top:.1f}" '
            f'height="{_floor() - top:.1f}"><title>{lengths[n]} of {n} words</title></rect>'
        )
    path = " ".join(
        f"{frame.across(n):.1f},{frame.down(share):.1f}" for n, share in enumerate(theirs)
    )
    parts.append(f'<polyline class="line b" points="{path}"/>')
    return _svg(parts, title=f"{title}: {mean_length(lengths):.1f} words on average")


def _axes(frame: _Frame, *, x_label: str, percent: bool = False) -> str:
    """Draw grid, ticks and labels."""
    write: Callable[[float], str] = (lambda v: f"{100 * v:g}") if percent else _number
    parts = []
    for y in ticks(*frame.y):
        place = f"{frame.down(y):.1f}"
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place}" y2="{place}"/>'
            f'<text x="{_LEFT - 6}" y="{place}" dy=".35em" text-anchor="end">{write(y)}</text>'
        )
    shares = percent and frame.x == (0, 1)
    parts += [
        f'<text x="{frame.across(x):.1f}" y="{_floor() + 15}" text-anchor="middle">'
        f"{write(x) if shares or not percent else _number(x)}</text>"
        for x in ticks(*frame.x)
    ]
    parts.append(
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_floor()}" y2="{_floor()}"/>'
        f'<text class="pale" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Return round, equally spaced numbers in a range, at most seven."""
    raw = (high - low) / 6
    power = 10 ** math.floor(math.log10(raw))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _number(value: float) -> str:
    value = float(f"{value:.4g}")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _widen(low: float, high: float, *, margin: float = 0.0) -> tuple[float, float]:
    """Add a margin around the data; a single value gets some room, too."""
    span = (high - low) or max(abs(high), 1.0) / 2
    middle = 0.0 if high > low else span / 2
    return low - margin * span - middle, high + margin * span + middle


def _thin(line: Points) -> Points:
    """Average neighbouring points of a long curve."""
    size = math.ceil(len(line) / _MANY)
    if size <= 1:
        return line
    groups = (line[start : start + size] for start in range(0, len(line), size))
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _dot(
    frame: _Frame, x: float, y: float, colour: str, *, radius: float = 3.5, label: str = ""
) -> str:
    label = label or f"{_number(y)} at {_number(x)}"
    return (
        f'<circle class="dot {colour}" cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" '
        f'r="{radius:.1f}"><title>{escape(label)}</title></circle>'
    )


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]


def _floor() -> int:
    return _HEIGHT - _BOTTOM


def _svg(parts: Sequence[str], *, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )

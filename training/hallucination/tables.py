"""A hallucination report as tables, in per cent."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.scoring.layout import between, in_percent

_MOST = 12
"""Objects listed per model, the most hallucinated ones."""


def write_tables(report: Mapping[str, Any]) -> str:
    """Format a report: rates, differences from the first model, signals, objects."""
    models = report["models"]
    rows: list[tuple[str, ...]] = [("", "captions", "CHAIRs", "CHAIRi", "names each", "CIDEr")]
    for own in [*models, report["people"]]:
        rates = own.get("intervals", {})
        cider = own.get("CIDEr")
        rows.append(
            (
                _title(own),
                str(own["captions"]),
                _value(own["per_sentence"], rates.get("per_sentence")),
                _value(own["per_object"], rates.get("per_object")),
                f"{own['names_per_caption']:.2f}",
                _value(cider["value"], cider.get("interval")) if cider else "",
            )
        )
    parts = [_columns(rows)]
    if others := [own for own in models if "more_than_first" in own]:
        rows = [("difference from the first", "CHAIRs", "CHAIRi")]
        for own in others:
            more = own["more_than_first"]
            ends = more.get("intervals", {})
            names = ("per_sentence", "per_object")
            rows.append((_title(own), *(_value(more[name], ends.get(name)) for name in names)))
        parts.append(_columns(rows))
    if known := [own for own in models if own.get("signals")]:
        signals = list(known[0]["signals"])
        rows = [("AUC for hallucinations", *signals)]
        for own in known:
            found = own["signals"]
            cells = (_value(found[one]["auc"], found[one].get("interval")) for one in signals)
            rows.append((_title(own), *cells))
        parts.append(_columns(rows))
    for own in models:
        most = [(name, *counts) for name, counts in own["by_name"].items() if counts[1]][:_MOST]
        named = ", ".join(f"{name} {invented} of {said}" for name, said, invented in most)
        parts.append(f"{_title(own)} hallucinates most: {named or 'nothing'}")
    return "\n\n".join(parts)


def _title(own: Mapping[str, Any]) -> str:
    search = own.get("search")
    if search is None:
        return str(own["name"])
    width = f" {search['beam']}" if search["method"] == "beam" else ""
    return f"{own['name']}, {search['method']}{width}"


def _value(value: float, ends: Mapping[str, float] | None) -> str:
    return f"{in_percent(value)} ({between(ends)})" if ends else in_percent(value)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )

"""A grounding report as tables."""

from typing import Any, NamedTuple


class Table(NamedTuple):
    """Header and rows of a table; the first column names the rows."""

    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


_BY_VIEW = {
    "attention_correctness": "in boxes",
    "pointing": "pointing",
    "above_centre": "above centre",
    "f1": "F1 of captions",
    "located": "located",
}
"""Measure of a view -> its name in tables."""


def write_tables(report: dict[str, Any]) -> str:
    """Format a report: results in per cent, with their confidence intervals."""
    parts = [*map(_columns, tables(report)), describe_generated(report), describe_deletion(report)]
    return "\n\n".join(filter(None, parts))


def tables(report: dict[str, Any]) -> tuple[Table, Table]:
    """Build the tables by kind of object and by attention view."""
    kinds: list[tuple[str, ...]] = []
    for name, row in {"all": report, **report["by_kind"]}.items():
        correct, pointed = row["attention_correctness"], row["pointing"]
        kinds.append(
            (
                name,
                str(row["phrases"]),
                _percent(correct["model"]),
                f"{correct['uniform']['value']:.1%}",
                f"{correct['centre']['value']:.1%}",
                _times(correct["times_uniform"]),
                _percent(pointed["model"]),
                f"{pointed['centre']['value']:.1%}",
            )
        )
    there = [name for name in _BY_VIEW if name in report["by_view"][0]]
    views: list[tuple[str, ...]] = [
        (_name(row), *(f"{row[name]:.1%}" if name in row else "" for name in there))
        for row in report["by_view"]
    ]
    heads = "phrases", "in boxes", "uniform", "centre", "times uniform", "pointing", "centre"
    measures = [_BY_VIEW[name] for name in there]
    return Table(("", *heads), kinds), Table(("attention of", *measures), views)


def describe_generated(report: dict[str, Any]) -> str:
    """Describe the grounding of generated captions; empty if it was not measured."""
    own = report.get("generated")
    if not own:
        return ""
    rates = {name: _percent(own[name]) for name in ("f1", "precision", "recall", "located")}
    return (
        f"generated captions, {own['nouns']} nouns, {own['things']} objects: F1 {rates['f1']}, "
        f"precision {rates['precision']}, recall {rates['recall']}; located, of nouns in the "
        f"references, {rates['located']}"
    )


def describe_deletion(report: dict[str, Any]) -> str:
    """Describe the result of the deletion test; empty if there was none."""
    deletion = report["deletion"]
    if not deletion:
        return ""
    return (
        f"deletion test, {deletion['words']} words with probability "
        f"{_percent(deletion['probability'])}: hiding the most attended tenth lowers it by "
        f"{_percent(deletion['fall_attended'])}, hiding a random tenth by "
        f"{_percent(deletion['fall_random'])}; difference {_percent(deletion['more'])}"
    )


def describe_origin(report: dict[str, Any]) -> str:
    """Describe what was measured and how."""
    split, commit = report.get("split"), report.get("commit")
    parts = (
        str(report.get("checkpoint", "")),
        f"{report['photos']} photos" + (f" of split {split}" if split else ""),
        str(report.get("boxes", "")),
        f"attention of {_name(report['view'])}",
        f"seed {report['seed']}",
        f"{report['resamples']} resamples",
        f"commit {commit[:10]}" if commit else "",
        f"sha256 {report['sha256'][:12]}" if "sha256" in report else "",
    )
    return ", ".join(filter(None, parts))


def _columns(table: Table) -> str:
    """Align the columns: the first to the left, the others to the right."""
    lines = [table.heads, *table.rows]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        f"{name:{first}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, others, strict=True))
        for name, *cells in lines
    )


def _percent(result: dict[str, float]) -> str:
    return f"{result['value']:.1%} ({100 * result['low']:.1f} to {100 * result['high']:.1f})"


def _times(result: dict[str, float]) -> str:
    return f"{result['value']:.2f} ({result['low']:.2f} to {result['high']:.2f})"


def _name(view: dict[str, Any]) -> str:
    if view["method"] != "layer":
        return "mean of all layers" if view["method"] == "mean" else str(view["method"])
    layer = "last layer" if view["layer"] is None else f"layer {view['layer']}"
    head = "mean of heads" if view["head"] is None else f"head {view['head']}"
    return f"{layer}, {head}"

"""A report laid out for reading."""

from typing import Any


def write_tables(report: dict[str, Any]) -> str:
    """Lay a report out for reading: results in per cent, with the ends of their intervals."""
    lines = [
        f"{'':14}{'phrases':>8}  {'in boxes':>21}{'uniform':>9}{'centre':>8}{'times uniform':>21}"
        f"{'pointing':>23}{'centre':>8}"
    ]
    rows = {"all": report, **report["by_kind"]}
    for name, row in rows.items():
        correct, pointed = row["attention_correctness"], row["pointing"]
        lines.append(
            f"{name:14}{row['phrases']:>8}  {_percent(correct['model']):>21}"
            f"{correct['uniform']['value']:>9.1%}{correct['centre']['value']:>8.1%}"
            f"{_times(correct['times_uniform']):>21}{_percent(pointed['model']):>23}"
            f"{pointed['centre']['value']:>8.1%}"
        )
    lines += ["", f"{'attention of':24}{'in boxes':>9}{'pointing':>10}"]
    for row in report["by_view"]:
        lines.append(f"{_name(row):24}{row['attention_correctness']:>9.1%}{row['pointing']:>10.1%}")
    if deletion := report["deletion"]:
        lines += [
            "",
            f"deletion test, {deletion['words']} words, of probability "
            f"{_percent(deletion['probability'])}: without the most attended tenth it falls by "
            f"{_percent(deletion['fall_attended'])}, without a random tenth by "
            f"{_percent(deletion['fall_random'])}, a difference of {_percent(deletion['more'])}",
        ]
    return "\n".join(lines)


def _percent(result: dict[str, float]) -> str:
    return f"{result['value']:.1%} ({100 * result['low']:.1f} to {100 * result['high']:.1f})"


def _times(result: dict[str, float]) -> str:
    return f"{result['value']:.2f} ({result['low']:.2f} to {result['high']:.2f})"


def _name(row: dict[str, Any]) -> str:
    if row["method"] != "layer":
        return "mean of all layers" if row["method"] == "mean" else "rollout"
    head = "mean of heads" if row["head"] is None else f"head {row['head']}"
    return f"layer {row['layer']}, {head}"

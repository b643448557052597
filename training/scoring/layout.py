"""A report as a table: one measure per line, in per cent, with its confidence interval."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from captioner.checkpoint.metrics import METRICS
from training.metrics import SCORES

NAMES = {
    **METRICS,
    "CLIPScore": "CLIPScore",
    "RefCLIPScore": "RefCLIPScore",
    "best_CIDEr": "best CIDEr (oracle)",
    "mean_CIDEr": "mean CIDEr",
    "div_1": "div-1",
    "div_2": "div-2",
    "mBleu_4": "mBLEU-4",
    "self_CIDEr": "self-CIDEr",
    "novel_captions": "captions",
    "novel_1grams": "words",
    **{f"novel_{n}grams": f"{n}-grams" for n in range(2, 5)},
}
"""Measure -> its name in tables, in the order of the tables."""

Row = tuple[str, str, str]
"""A measure, its value and its confidence interval."""


def tabulate(report: Mapping[str, Any]) -> str:
    """Format a report as a table."""
    lines = [about(report), ""]
    for title, rows in sections(report):
        lines += [title, *(f"  {name:28}{value:>9}  {rest}".rstrip() for name, value, rest in rows)]
    return "\n".join(lines)


def about(report: Mapping[str, Any]) -> str:
    """Describe in two lines what was measured, and how to reproduce it."""
    split = report.get("split")
    what = [
        str(report.get("checkpoint") or report.get("results", "captions")),
        f"{report['images']} images" + (f" of split {split}" if split else ""),
        str(report.get("annotations", "")),
    ]
    how = [
        describe_search(report["search"]) if "search" in report else "",
        f"tokenizer {report['tokenizer']}",
        f"seed {report['seed']}" if "seed" in report else "",
        f"{report['resamples']} resamples" if report.get("resamples") else "",
        f"commit {report['commit'][:10]}{'-changed' * report['commit'].endswith('-changed')}"
        if report.get("commit")
        else "",
        f"sha256 {report['sha256'][:12]}" if "sha256" in report else "",
    ]
    return "\n".join(", ".join(filter(None, parts)) for parts in (what, how))


def describe_search(search: Mapping[str, Any]) -> str:
    """Describe the decoding settings, without those that the method does not use."""
    if search["method"] == "beam":
        text = f"beam {search['beam']}, length penalty {search['length_penalty']:g}"
        if search.get("groups", 1) > 1:
            text += f", {search['groups']} groups, diversity {search['diversity']:g}"
        text += f", agreement {search['agreement']:g}" if search.get("agreement") else ""
    elif search["method"] == "sample":
        text = f"sampled at temperature {search['temperature']:g}, top-p {search['top_p']:g}"
        text += f", top-k {search['top_k']}" if search["top_k"] else ""
        text += f", seed {search['seed']}"
    else:
        text = "greedy"
    text += f", no repeated {search['no_repeat']}-gram" if search.get("no_repeat") else ""
    return f"{text}, at most {search['max_words']} words"


def sections(report: Mapping[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the sections of a report: a title and its rows."""
    scores = report["scores"] | report.get("clip", {})
    intervals = report.get("intervals", {}) | report.get("clip", {}).get("intervals", {})
    yield "scores, per cent", rows_of(scores, intervals)
    if wording := report.get("wording"):
        yield "wording", _wording(wording)
    if novelty := report.get("novelty"):
        yield "novelty: not in the training captions, per cent", rows_of(novelty, {})
    if candidates := report.get("candidates"):
        rows = _several(candidates)
        if candidates["fewer"]:
            rows.append(("photos with fewer", str(candidates["fewer"]), "padded with the best"))
        yield f"{candidates['number']} candidates per photo, per cent", rows
    if samples := report.get("samples"):
        settings = f"temperature {samples['temperature']:g}, top-p {samples['top_p']:g}"
        title = f"{samples['number']} samples per photo ({settings}), per cent"
        yield title, _several(samples)
    if calibration := report.get("calibration"):
        yield "next-word prediction on the references, per cent", _calibration(calibration)


def rows_of(values: Mapping[str, Any], intervals: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Format the named measures, times 100, with their intervals."""
    titles = NAMES | {n: title for own in SCORES.values() for n, title in own.titles.items()}
    return [
        (title, in_percent(values[name]), between(intervals.get(name)))
        for name, title in titles.items()
        if name in values
    ]


def in_percent(value: float) -> str:
    """Format a fraction times 100."""
    return f"{100 * value:.1f}"


def for_people(name: str, value: float) -> float:
    """Scale a measure for people: scores and rewards times 100, losses and counts as they are."""
    return 100 * value if _is_score(name) else value


def describe_measure(name: str, value: float) -> str:
    """Name a measure with its value for people, such as `CIDEr 62.4` or `loss 2.866`."""
    return f"{NAMES.get(name, name)} {in_percent(value) if _is_score(name) else f'{value:.3f}'}"


def _is_score(name: str) -> bool:
    return name in NAMES or name == "reward"  # which is the CIDEr-D of sampled captions


def between(interval: Mapping[str, float] | None) -> str:
    """Format an interval times 100."""
    return f"{in_percent(interval['low'])} to {in_percent(interval['high'])}" if interval else ""


def mean_length(lengths: Sequence[int]) -> float:
    """Return the mean length, from the number of sentences of each length."""
    return sum(n * count for n, count in enumerate(lengths)) / max(1, sum(lengths))


def _several(measures: Mapping[str, Any]) -> list[Row]:
    """Format the measures of several captions per photo."""
    return [
        *rows_of(measures, measures.get("intervals", {})),
        ("distinct captions", str(measures["distinct_captions"]), ""),
        ("vocabulary", str(measures["vocabulary"]), ""),
    ]


def _wording(wording: Mapping[str, Any]) -> list[Row]:
    own, others = wording["lengths"], wording["reference_lengths"]
    return [
        ("distinct captions", str(wording["distinct_captions"]), ""),
        ("vocabulary", str(wording["vocabulary"]), ""),
        ("words per caption", f"{mean_length(own):.1f}", f"references {mean_length(others):.1f}"),
        (
            "repetitive captions, %",
            in_percent(wording["repeating"]),
            f"references {in_percent(wording['reference_repeating'])}",
        ),
    ]


def _calibration(found: Mapping[str, Any]) -> list[Row]:
    rows = [
        ("accuracy", in_percent(found["accuracy"]), f"of {found['words']} words"),
        ("mean confidence", in_percent(found["confidence"]), ""),
        ("calibration error", in_percent(found["ece"]), ""),
        ("out of vocabulary", in_percent(found["unknown"]), ""),
    ]
    if found["perplexity"] is not None:
        rows += [
            ("perplexity", f"{found['perplexity']:.1f}", "in-vocabulary words"),
            ("best temperature", f"{found['temperature']:.2f}", ""),
        ]
    return rows

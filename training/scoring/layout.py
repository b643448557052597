"""A report laid out for reading: one measure a line, in per cent, with the ends of its interval."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.metrics import SCORES

NAMES = {
    **{f"Bleu_{n}": f"BLEU-{n}" for n in range(1, 5)},
    "METEOR": "METEOR",
    "ROUGE_L": "ROUGE-L",
    "CIDEr": "CIDEr",
    "SPICE": "SPICE",
    "CLIPScore": "CLIPScore",
    "RefCLIPScore": "RefCLIPScore",
    "best_CIDEr": "CIDEr of the best",
    "mean_CIDEr": "CIDEr of any",
    "div_1": "div-1",
    "div_2": "div-2",
    "mBleu_4": "mBLEU-4",
    "self_CIDEr": "self-CIDEr",
    "novel_captions": "captions",
    "novel_1grams": "words",
    **{f"novel_{n}grams": f"runs of {n} words" for n in range(2, 5)},
}
"""What measures are called where people read; in this order."""

Row = tuple[str, str, str]
"""A measure, its value, its interval."""


def tabulate(report: Mapping[str, Any]) -> str:
    """Lay a report out for reading."""
    lines = [about(report), ""]
    for title, rows in sections(report):
        lines += [title, *(f"  {name:28}{value:>9}  {rest}".rstrip() for name, value, rest in rows)]
    return "\n".join(lines)


def about(report: Mapping[str, Any]) -> str:
    """Say in a line or two what was measured, and how to measure it again."""
    split = report.get("split")
    what = [
        str(report.get("checkpoint") or report.get("results", "captions")),
        f"{report['images']} images" + (f" of split {split}" if split else ""),
        str(report.get("annotations", "")),
    ]
    how = [
        describe_search(report["search"]) if "search" in report else "",
        f"words by {report['tokenizer']}",
        f"seed {report['seed']}" if "seed" in report else "",
        f"{report['resamples']} resamples" if report.get("resamples") else "",
        f"commit {report['commit'][:10]}{'-changed' * report['commit'].endswith('-changed')}"
        if report.get("commit")
        else "",
        f"sha256 {report['sha256'][:12]}" if "sha256" in report else "",
    ]
    return "\n".join(", ".join(filter(None, parts)) for parts in (what, how))


def describe_search(search: Mapping[str, Any]) -> str:
    """Describe the decoding settings, leaving out what this method does not use."""
    if search["method"] == "beam":
        text = f"beam {search['beam']}, length penalty {search['length_penalty']:g}"
        if search.get("groups", 1) > 1:
            text += f", {search['groups']} groups, diversity {search['diversity']:g}"
        text += f", agreement {search['agreement']:g}" if search.get("agreement") else ""
    elif search["method"] == "sample":
        text = f"drawn at temperature {search['temperature']:g}, top-p {search['top_p']:g}"
        text += f", top-k {search['top_k']}" if search["top_k"] else ""
        text += f", seed {search['seed']}"
    else:
        text = "greedy"
    text += f", no {search['no_repeat']} words twice" if search.get("no_repeat") else ""
    return f"{text}, at most {search['max_words']} words"


def sections(report: Mapping[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the report's sections, those it has: a title, and its rows."""
    scores = report["scores"] | report.get("clip", {})
    intervals = report.get("intervals", {}) | report.get("clip", {}).get("intervals", {})
    yield "scores, per cent", rows_of(scores, intervals)
    if wording := report.get("wording"):
        yield "wording", _wording(wording)
    if novelty := report.get("novelty"):
        yield "not in the training captions, per cent", rows_of(novelty, {})
    if found := report.get("candidates"):
        rows = _several(found)
        if found["fewer"]:
            rows.append(("photos with fewer", str(found["fewer"]), "whose best counts again"))
        yield f"{found['number']} candidates of each photo, per cent", rows
    if samples := report.get("samples"):
        drawn = f"temperature {samples['temperature']:g}, top-p {samples['top_p']:g}"
        title = f"{samples['number']} captions drawn of each photo ({drawn}), per cent"
        yield title, _several(samples)
    if calibration := report.get("calibration"):
        yield "next word of the references, per cent", _calibration(calibration)


def rows_of(values: Mapping[str, Any], intervals: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Write those measures that have names, times 100, with their intervals."""
    titles = NAMES | {n: title for own in SCORES.values() for n, title in own.titles.items()}
    return [
        (title, in_percent(values[name]), between(intervals.get(name)))
        for name, title in titles.items()
        if name in values
    ]


def in_percent(value: float) -> str:
    """Write a fraction times 100."""
    return f"{100 * value:.1f}"


def between(interval: Mapping[str, float] | None) -> str:
    """Write an interval times 100."""
    return f"{in_percent(interval['low'])} to {in_percent(interval['high'])}" if interval else ""


def mean_length(lengths: Sequence[int]) -> float:
    """Return the mean number of words, from how many sentences have how many."""
    return sum(n * count for n, count in enumerate(lengths)) / max(1, sum(lengths))


def _several(measures: Mapping[str, Any]) -> list[Row]:
    """Lay out what was measured of several captions a photo."""
    return [
        *rows_of(measures, measures.get("intervals", {})),
        ("distinct captions", str(measures["distinct_captions"]), ""),
        ("words used", str(measures["vocabulary"]), ""),
    ]


def _wording(wording: Mapping[str, Any]) -> list[Row]:
    own, others = wording["lengths"], wording["reference_lengths"]
    return [
        ("distinct captions", str(wording["distinct_captions"]), ""),
        ("words used", str(wording["vocabulary"]), ""),
        ("words a caption", f"{mean_length(own):.1f}", f"references {mean_length(others):.1f}"),
        (
            "repeat themselves, per cent",
            in_percent(wording["repeating"]),
            f"references {in_percent(wording['reference_repeating'])}",
        ),
    ]


def _calibration(found: Mapping[str, Any]) -> list[Row]:
    rows = [
        ("guessed right", in_percent(found["accuracy"]), f"of {found['words']} words"),
        ("sure of the guess", in_percent(found["confidence"]), ""),
        ("calibration error", in_percent(found["ece"]), ""),
        ("unknown words", in_percent(found["unknown"]), ""),
    ]
    if found["perplexity"] is not None:
        rows += [
            ("perplexity", f"{found['perplexity']:.1f}", "of known words"),
            ("fitting temperature", f"{found['temperature']:.2f}", ""),
        ]
    return rows

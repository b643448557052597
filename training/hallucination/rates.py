"""Hallucination rates: CHAIR per sentence and per object, with bootstrap intervals over photos."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from training.hallucination.truth import Naming
from training.metrics.bootstrap import Ratio, ratio_intervals

Judged = Sequence[Sequence[Sequence[Naming]]]
"""Objects named by each caption of each photo."""


def measure_rates(
    judged: Judged, *, resamples: int, seed: int, first: Judged | None = None
) -> dict[str, Any]:
    """Compute hallucination rates.

    Args:
        judged: objects named by at least one caption per photo.
        resamples: bootstrap resamples of the intervals; 0 omits them.
        seed: seed of the resampling.
        first: objects named by another model's captions of the same photos, to compare with.

    Returns:
        `per_sentence`, the fraction of captions with a hallucinated object (CHAIRs); `per_object`,
        the fraction of named objects that are hallucinated (CHAIRi); `names_per_caption`;
        `more_than_first`, the differences from the other model; their `intervals`; and `by_name`,
        how often each object is named and hallucinated, most hallucinated first.
    """
    ratios = _ratios(judged)
    values = {name: ratio.value for name, ratio in ratios.items()}
    others = {} if first is None else _ratios(first)
    report: dict[str, Any] = dict(values)
    if others:
        report["more_than_first"] = {
            name: values[name] - ratio.value for name, ratio in others.items()
        }
    if resamples:
        report["intervals"] = ratio_intervals(ratios, resamples=resamples, seed=seed)
        if others:
            report["more_than_first"]["intervals"] = ratio_intervals(
                ratios, minus=others, resamples=resamples, seed=seed
            )
    return {**report, "by_name": _count_names(judged)}


def _ratios(judged: Judged) -> dict[str, Ratio]:
    captions = [len(own) for own in judged]
    names = [sum(map(len, own)) for own in judged]
    wrong = [sum(any(one.invented for one in caption) for caption in own) for own in judged]
    invented = [sum(one.invented for caption in own for one in caption) for own in judged]
    return {
        "per_sentence": Ratio(wrong, captions),
        "per_object": Ratio(invented, names),
        "names_per_caption": Ratio(names, captions),
    }


def _count_names(judged: Judged) -> Mapping[str, list[int]]:
    named: Counter[str] = Counter()
    invented: Counter[str] = Counter()
    for own in judged:
        for caption in own:
            named.update(one.name for one in caption)
            invented.update(one.name for one in caption if one.invented)
    ordered = sorted(named, key=lambda name: (-invented[name], -named[name], name))
    return {name: [named[name], invented[name]] for name in ordered}

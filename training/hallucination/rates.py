"""How much captions invent: CHAIR per sentence and per object, with intervals over photos."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from training.hallucination.truth import Naming
from training.metrics.bootstrap import Ratio, ratio_intervals

Judged = Sequence[Sequence[Sequence[Naming]]]
"""What each caption of each photo names."""


def measure_rates(
    judged: Judged, *, resamples: int, seed: int, first: Judged | None = None
) -> dict[str, Any]:
    """Sum up what captions name.

    Args:
        judged: at least one caption of every photo.
        resamples: draws of photos for the intervals; 0 leaves them out.
        seed: of the draws.
        first: what captions of the same photos by another model name, to be compared with.

    Returns:
        `per_sentence`, the share of captions that name something invented; `per_object`, the share
        of names that are; `names_per_caption`; `more_than_first`, the difference of both to the
        other model; `intervals` of all; and `by_name`, how often each is said and how often it is
        invented, from the most invented on.
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
    lying = [sum(any(one.invented for one in caption) for caption in own) for own in judged]
    invented = [sum(one.invented for caption in own for one in caption) for own in judged]
    return {
        "per_sentence": Ratio(lying, captions),
        "per_object": Ratio(invented, names),
        "names_per_caption": Ratio(names, captions),
    }


def _count_names(judged: Judged) -> Mapping[str, list[int]]:
    said: Counter[str] = Counter()
    invented: Counter[str] = Counter()
    for own in judged:
        for caption in own:
            said.update(one.name for one in caption)
            invented.update(one.name for one in caption if one.invented)
    ordered = sorted(said, key=lambda name: (-invented[name], -said[name], name))
    return {name: [said[name], invented[name]] for name in ordered}

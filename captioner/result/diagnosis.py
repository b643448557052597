"""Diagnosis of uninformative attention: nearly uniform, or the same for every word."""

from collections.abc import Sequence

import numpy as np

from captioner.result.caption import Word, entropy

DIFFUSE = 0.97
"""Entropy from which a word's attention counts as even. As many regions looked at evenly, the
others not at all: 44 of 49, or 168 of 196."""

SAME = 0.05
"""Words whose attention differs by less, pairwise on average, looked at the same place. The
difference is the share of the attention that lies elsewhere (total variation distance)."""


def difference(words: Sequence[Word]) -> float:
    """Return how much attention differs between words: 0 identical, 1 disjoint.

    It is the mean over all pairs of words of the total variation distance of their attention. One
    word or none has nothing to differ from, and gives 1.
    """
    if len(words) < 2:
        return 1.0
    maps = np.stack([np.asarray(word.attention, dtype=np.float64).ravel() for word in words])
    maps /= maps.sum(axis=1, keepdims=True)
    one, other = np.triu_indices(len(maps), k=1)
    return float(np.abs(maps[one] - maps[other]).sum(axis=1).mean() / 2)


def diagnose(words: Sequence[Word]) -> list[str]:
    """Describe what overlays cannot show, in full sentences; empty if all is well.

    Args:
        words: the words of one caption.
    """
    diffuse = [word.text for word in words if entropy(word.attention) >= DIFFUSE]
    if len(diffuse) == len(words) > 0:
        return ["Attention is nearly uniform for every word, so the overlays say little."]
    found = []
    if difference(words) < SAME:
        found.append(
            "Attention is the same for every word, so the overlays do not tell words apart."
        )
    if diffuse:
        names = ", ".join(f'"{text}"' for text in diffuse)
        found.append(f"Attention is nearly uniform for {names}.")
    return found

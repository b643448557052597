"""Diagnosis of uninformative attention: nearly uniform, or the same for every word."""

from collections.abc import Sequence

import numpy as np

from captioner.result.caption import Word, entropy

DIFFUSE = 0.97
"""Normalised entropy from which a map counts as nearly uniform. It is that of uniform attention on
44 of 49 regions, or on 168 of 196."""

SAME = 0.05
"""Mean pairwise total variation distance below which the maps of all words count as the same."""


def difference(words: Sequence[Word]) -> float:
    """Return how much attention differs between words: 0 identical, 1 disjoint.

    It is the total variation distance between the maps of two words, averaged over all pairs; 1 for
    fewer than two words.
    """
    if len(words) < 2:
        return 1.0
    maps = np.stack([np.asarray(word.attention, dtype=np.float64).ravel() for word in words])
    maps /= maps.sum(axis=1, keepdims=True)
    one, other = np.triu_indices(len(maps), k=1)
    return float(np.abs(maps[one] - maps[other]).sum(axis=1).mean() / 2)


def diagnose(words: Sequence[Word]) -> list[str]:
    """Return warnings about attention, in full sentences; empty if there are none.

    Args:
        words: words of one caption.
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

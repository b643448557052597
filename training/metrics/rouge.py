"""ROUGE-L: how much of a reference's words a caption holds, in order.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1
(aclanthology.org/W04-1013), with the choices of coco-caption: beta is 1.2, and the best precision
and the best recall are taken separately, so they may come from different references.
"""

from collections.abc import Sequence

from training.metrics.contract import Candidates, References, Score

_BETA = 1.2


class RougeScore(Score):
    """ROUGE-L, a fraction."""

    titles = {"ROUGE_L": "ROUGE-L"}  # noqa: RUF012

    def measure(self, references: References, candidates: Candidates) -> list[float]:
        """Of every image."""
        return rouge_l(references, candidates)[1]


def rouge_l(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """Compare captions with their references, all given as words.

    Args:
        references: one or more references for each image.
        candidates: one caption for each image, in the same order.

    Returns:
        The mean over the images, and the score of every image, as fractions.
    """
    scores = [
        _rouge_l(refs, candidate) for refs, candidate in zip(references, candidates, strict=True)
    ]
    return sum(scores) / len(scores), scores


def _rouge_l(references: Sequence[Sequence[str]], candidate: Sequence[str]) -> float:
    # coco-caption reads an empty sentence as one empty word: it matches another empty sentence.
    words = candidate or [""]
    common = [
        (_longest_common_subsequence(words, reference or [""]), len(reference) or 1)
        for reference in references
    ]
    precision = max(length for length, _ in common) / len(words)
    recall = max(length / reference_words for length, reference_words in common)
    if precision == 0:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many words the two share in the same order, gaps allowed."""
    best = [0] * (len(second) + 1)  # of the words read so far against each beginning of `second`
    for word in first:
        diagonal = 0
        for i, other in enumerate(second, start=1):
            above = best[i]
            best[i] = diagonal + 1 if word == other else max(above, best[i - 1])
            diagonal = above
    return best[-1]

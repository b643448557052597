"""ROUGE-L: longest common subsequence of caption and reference.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1
(aclanthology.org/W04-1013), with coco-caption's choices: beta is 1.2, and the best precision and
the best recall are taken separately, so they may come from different references.
"""

from collections.abc import Sequence

from training.metrics.contract import Candidates, References, Score

_BETA = 1.2


class RougeScore(Score):
    """ROUGE-L, from 0 to 1."""

    titles = {"ROUGE_L": "ROUGE-L"}  # noqa: RUF012

    def measure(self, references: References, candidates: Candidates) -> list[float]:
        """Return the score of every image."""
        return rouge_l(references, candidates)[1]


def rouge_l(
    references: Sequence[Sequence[Sequence[str]]], candidates: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """Compute ROUGE-L of tokenized captions.

    Args:
        references: one or more references per image.
        candidates: one caption per image, in the same order.

    Returns:
        The mean over images, and the score of every image, from 0 to 1.
    """
    scores = [
        _rouge_l(refs, candidate) for refs, candidate in zip(references, candidates, strict=True)
    ]
    return sum(scores) / len(scores), scores


def _rouge_l(references: Sequence[Sequence[str]], candidate: Sequence[str]) -> float:
    # coco-caption reads an empty sentence as one empty word, which matches another empty sentence.
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
    """Return the length of the longest common subsequence of words."""
    best = [0] * (len(second) + 1)  # of the words so far and each prefix of `second`
    for word in first:
        diagonal = 0
        for i, other in enumerate(second, start=1):
            above = best[i]
            best[i] = diagonal + 1 if word == other else max(above, best[i - 1])
            diagonal = above
    return best[-1]

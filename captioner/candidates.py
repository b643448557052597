"""What a search returns: captions of one image as plain lists, best first."""

import math
from dataclasses import dataclass

NOTHING = -1
"""In place of a word, after the last one."""


@dataclass(frozen=True)
class Candidates:
    """Captions found for one image, best first; every list has one entry per caption."""

    words: list[list[int]]
    """Word ids, without START and END."""
    log_probabilities: list[list[float]]
    """Of each word given those before it; END's comes last where the caption is finished."""
    log_probability: list[float]
    """Of the whole caption: the sum over its words, and END."""
    score: list[float]
    """What ranks captions: log-probability / length ** length_penalty; the length counts END."""
    finished: list[bool]
    """Whether END came; if not, the caption was cut at `max_words`."""


def rank(
    words: list[list[int]],
    logs: list[list[float]],
    value: list[float],
    *,
    end_id: int,
    length_penalty: float,
) -> Candidates:
    """Put the captions of one image in order.

    Args:
        words: ids of each caption, END included, then `NOTHING`.
        logs: log-probability of each of them.
        value: minus infinity where there is no caption.
        end_id: the word that finishes a caption.
        length_penalty: as in `SearchConfig`.
    """
    present = [k for k in range(len(words)) if value[k] > -math.inf]
    lengths = {k: sum(word != NOTHING for word in words[k]) for k in present}
    totals = {k: math.fsum(logs[k][: lengths[k]]) for k in present}
    scores = {k: totals[k] / lengths[k] ** length_penalty for k in present}
    present.sort(key=lambda k: -scores[k])  # settles what rounding left out of order
    first = {tuple(words[k]): k for k in reversed(present)}  # two groups may find the same
    present = [k for k in present if first[tuple(words[k])] == k]
    finished = [words[k][lengths[k] - 1] == end_id for k in present]
    return Candidates(
        words=[words[k][: lengths[k] - ended] for k, ended in zip(present, finished, strict=True)],
        log_probabilities=[logs[k][: lengths[k]] for k in present],
        log_probability=[totals[k] for k in present],
        score=[scores[k] for k in present],
        finished=finished,
    )

"""Result of a search: the captions of one image as plain lists, best first."""

import math
from dataclasses import dataclass, field

NO_TOKEN = -1
"""In place of a token, after the last one."""


@dataclass(frozen=True)
class Candidates:
    """Captions found for one image, best first; every list has one entry per caption."""

    tokens: list[list[int]]
    """Ids, without START and END."""
    log_probabilities: list[list[float]]
    """Of each token given those before it; END's comes last where the caption is finished."""
    log_probability: list[float]
    """Of the whole caption: the sum over its tokens, and END."""
    score: list[float]
    """What ranks captions: log-probability / length ** length_penalty, where the length counts END,
    less what `SearchConfig.agreement` takes."""
    finished: list[bool]
    """Whether END came; if not, the caption was cut at `max_words`."""
    rows: list[list[int]] = field(compare=False, repr=False)
    """Row of each token in its decoder step, over all images and hypotheses of that step; the
    prompt's tokens come first. It depends on the batch; `decoders.output.gather_attention` uses it
    to find the attention."""


def collect(
    tokens: list[list[int]],
    logs: list[list[float]],
    rows: list[list[int]],
    value: list[float],
    *,
    end_id: int,
    length_penalty: float,
    ranked: bool,
) -> Candidates:
    """Gather the captions of one image.

    Args:
        tokens: ids of each caption, END included, then `NO_TOKEN` or more END.
        logs: log-probability of each of them.
        rows: as in `Candidates`.
        value: minus infinity where there is no caption.
        end_id: the token that finishes a caption.
        length_penalty: as in `SearchConfig`.
        ranked: sort, best first, and drop duplicates; draws stay as they are.
    """
    lengths = [
        own.index(end_id) + 1 if end_id in own else len(own) - own.count(NO_TOKEN) for own in tokens
    ]
    totals = [math.fsum(own[:length]) for own, length in zip(logs, lengths, strict=True)]
    present = [k for k in range(len(tokens)) if value[k] > -math.inf]
    scores = {k: totals[k] / lengths[k] ** length_penalty for k in present}
    if ranked:
        present.sort(key=lambda k: -scores[k])  # settles what rounding left out of order
        first = {tuple(tokens[k]): k for k in reversed(present)}  # two groups may find the same
        present = [k for k in present if first[tuple(tokens[k])] == k]
    finished = [tokens[k][lengths[k] - 1] == end_id for k in present]
    return Candidates(
        tokens=[
            tokens[k][: lengths[k] - ended] for k, ended in zip(present, finished, strict=True)
        ],
        log_probabilities=[logs[k][: lengths[k]] for k in present],
        log_probability=[totals[k] for k in present],
        score=[scores[k] for k in present],
        finished=finished,
        rows=[rows[k][: lengths[k]] for k in present],
    )

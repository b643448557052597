"""Candidates: the captions that a search found for one image, as plain lists."""

import math
from dataclasses import dataclass, field

NO_TOKEN = -1
"""Padding after the last token."""


@dataclass(frozen=True)
class Candidates:
    """Captions found for one image, best first; every list has one entry per caption."""

    tokens: list[list[int]]
    """Token ids, without START and END."""
    log_probabilities: list[list[float]]
    """Log-probability of each token given those before it; END's comes last if the caption is
    finished."""
    log_probability: list[float]
    """Log-probability of the caption: the sum over its tokens and END."""
    score: list[float]
    """Rank of the caption: log-probability / length ** length_penalty, where the length counts END,
    less the penalty for disagreement (`SearchConfig.agreement`)."""
    finished: list[bool]
    """Whether the caption ended with END; if not, it was cut off at `max_words`."""
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
    """Build the candidates of one image.

    Args:
        tokens: ids of each caption, END included, then `NO_TOKEN` or further END.
        logs: log-probability of each token.
        rows: as in `Candidates`.
        value: minus infinity where there is no caption.
        end_id: id of END.
        length_penalty: as in `SearchConfig`.
        ranked: sort, best first, and drop duplicates; if not, keep the order of the draws.
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

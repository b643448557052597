"""Beam search: extend the likeliest hypotheses, and keep the best finished ones.

Source: Sutskever et al. 2014, section 3.2 (arXiv:1409.3215). It stops when no live hypothesis can
beat a kept one, as in Huang et al. 2017, section 3 (arXiv:1809.00069).
"""

import math
from typing import Any

from jaxtyping import Bool, Float, Int

from captioner.config import SearchConfig
from captioner.result.candidates import NO_TOKEN
from captioner.search.arrays import Arrays
from captioner.search.hypotheses import Hypotheses, concatenate, empty_hypotheses


class Beam:
    """A beam of K = `width` hypotheses per image.

    It begins with an empty hypothesis; with none at all unless `begun`.
    """

    def __init__(
        self,
        arrays: Arrays,
        images: int,
        *,
        config: SearchConfig,
        end_id: int,
        width: int,
        begun: bool = True,
    ) -> None:
        longest = config.max_words + 1
        self.live = empty_hypotheses(arrays, images, int(begun), longest, value=0.0)
        self.kept = empty_hypotheses(arrays, images, width, longest, value=-math.inf)
        self.goal = self
        """The beam that collects finished hypotheses: this one, or another of the same search."""
        self._arrays, self._config, self._end_id, self._width = arrays, config, end_id, width

    def advance(self, log_p: Float[Any, "B K V"], t: int) -> Int[Any, "B J"]:
        """See `Strategy`."""
        return self.grow(self.live, log_p, self.live.value[..., None] + log_p, t)

    def grow(
        self,
        pool: Hypotheses,
        log_p: Float[Any, "B N V"],
        totals: Float[Any, "B N V"],
        t: int,
        *,
        cost: Float[Any, "B V"] | None = None,
    ) -> Int[Any, "B J"]:
        """Fill the beam with the best continuations of a pool of hypotheses.

        Args:
            pool: N hypotheses of each image.
            log_p: log-probability of each next token.
            totals: log-probability of each continuation; minus infinity excludes it.
            t: position of the token.
            cost: penalty per token, used for the comparison only.

        Returns:
            The parent of each live hypothesis, as an index in the pool.
        """
        arrays, (images, _, words) = self._arrays, log_p.shape
        compared = (totals if cost is None else totals - cost[:, None]).reshape(images, -1)
        # Only hypotheses of this beam may end in it, once each, so K of the 2K best do not end.
        places = arrays.top(compared, min(2 * self._width, compared.shape[1]))
        parents, tokens = places // words, places % words
        grown = pool.take(parents)
        grown.tokens[..., t] = tokens
        grown.logs[..., t] = arrays.take(log_p.reshape(images, -1), places)
        value = arrays.take(totals.reshape(images, -1), places)

        ended = tokens == self._end_id
        if not arrays.surely_none(ended):
            score = arrays.where(ended, value, -math.inf) / (t + 1) ** self._config.length_penalty
            self._keep(grown._replace(value=score).part(slice(self._width)))
        picks = arrays.argsort(ended)[:, : self._width]  # the best that did not end
        value = arrays.where(ended, -math.inf, value)
        self.live = grown._replace(value=value).take(picks)
        return arrays.take(parents, picks)

    def stop(self, log_p: Float[Any, "B K V"], t: int) -> None:
        """See `Strategy`."""
        where, live, end = self._arrays.where, self.live, self._end_id
        ended = log_p.argmax(-1) == end
        live.tokens[..., t] = where(ended, end, NO_TOKEN)
        live.logs[..., t] = where(ended, log_p[..., end], 0.0)
        length = t + ended
        score = (live.value + live.logs[..., t]) / length**self._config.length_penalty
        self._keep(live._replace(value=score))

    def can_improve(self, t: int) -> Bool[Any, " B"]:
        """See `Strategy`: whether a live hypothesis can still beat a kept one.

        Log-probabilities never increase, so the bound assumes that it stays the same, at the length
        that gives the best score.
        """
        worst, value = self.goal.kept.value[:, -1:], self.live.value
        nearest, farthest = min(t + 2, self._config.max_words), self._config.max_words + 1
        penalty = self._config.length_penalty
        return ((value / nearest**penalty > worst) | (value / farthest**penalty > worst)).any(-1)

    def select(self, images: Int[Any, " N"]) -> None:
        """See `Strategy`."""
        self.live, self.kept = self.live.select(images), self.kept.select(images)

    def _keep(self, others: Hypotheses) -> None:
        """Merge finished hypotheses, and keep the best."""
        both = concatenate(self.kept, others)
        self.kept = both.take(self._arrays.argsort(-both.value)[:, : self._width])

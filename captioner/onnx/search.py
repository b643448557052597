"""Beam search, greedy search and sampling in NumPy: what `captioner.search` finds, without torch.

The images go through the decoder side by side, and each has a `Beam` or a `Walk` of its own that
decides how it goes on. A test holds captions, probabilities and attention to `captioner.search`.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from captioner.candidates import NOTHING, Candidates, rank
from captioner.config import SearchConfig
from captioner.description import Look
from captioner.errors import ConfigError
from captioner.onnx.decoder import Array, Glimpse, OnnxDecoder, State
from captioner.onnx.sampling import sampler
from captioner.rules import NO_RULES, Rules


class Rows(NamedTuple):
    """K hypotheses of one image."""

    words: Int[Array, "K T"]
    """END included, then `NOTHING` up to T = max_words + 1."""
    logs: Float[Array, "K T"]
    """Log-probability of each word."""
    rows: Int[Array, "K T"]
    """The hypothesis that each word was found in, among those of its step."""
    value: Float[Array, " K"]
    """Log-probability while live, score when kept; minus infinity if absent."""

    def take(self, picks: Int[Array, " J"]) -> "Rows":
        """Take these hypotheses."""
        return Rows(*(x[picks] for x in self))

    def add(self, others: "Rows") -> "Rows":
        """Keep the best of both, as many as there are here, best first."""
        both = Rows(*(np.concatenate(pair) for pair in zip(self, others, strict=True)))
        return both.take(top(both.value, len(self.value)))


@dataclass(frozen=True)
class Found:
    """What was found for one image."""

    candidates: Candidates
    """Captions, best first."""
    look: Look
    """Where the first of them looked."""


def search(
    decoder: OnnxDecoder,
    state: State,
    *,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    forbidden: tuple[int, ...],
    rules: Rules = NO_RULES,
) -> list[Found]:
    """Caption every image, as `captioner.search.search` does.

    Args:
        decoder: takes in the words.
        state: of all images, from `init_state`.
        config: method and limits.
        start_id: the word every caption is begun with; not part of the result.
        end_id: the word that finishes a caption; not part of the result.
        forbidden: words that are never produced; they have no probability.
        rules: what captions must not say and must not repeat.

    Raises:
        ConfigError: something is required, or there are groups.
    """
    if rules.required:
        raise ConfigError(
            f"search.require is {list(config.require)}; an ONNX export cannot look for words, so "
            "leave it out, or use the checkpoint that it was made from."
        )
    if config.method == "beam" and config.groups > 1:
        raise ConfigError(
            f"search.groups is {config.groups}; an ONNX export searches with one group, so leave "
            "it out, or use the checkpoint that it was made from."
        )
    images = len(state.memory[0])
    make = Walk if config.method == "sample" else Beam
    beams = [make(config, rules, end_id) for _ in range(images)]
    going = beams
    latest = np.full((images, 1), start_id, np.int64)
    for _ in range(config.max_words + 1):
        glimpse, state = decoder.step(latest, state)
        log_p = log_probabilities(glimpse.logits, forbidden)
        moves = [beam.advance(log_p[i], _of(glimpse, i)) for i, beam in enumerate(going)]
        kept = [i for i, move in enumerate(moves) if move is not None]
        if not kept:
            break
        if len(kept) < len(going):
            state, going = state.select(np.array(kept)), [going[i] for i in kept]
        parents, latest = (np.stack(x) for x in zip(*filter(None, moves), strict=True))
        state = state.reorder(parents)
    return [beam.found() for beam in beams]


class Beam:
    """The search of one image: K live hypotheses, and the K best finished ones kept apart.

    `captioner.search.beam` has the rules. Greedy search is a beam of one, without length penalty.
    """

    def __init__(self, config: SearchConfig, rules: Rules, end_id: int) -> None:
        self._ranking = config.length_penalty  # greedy search reports it, but does not use it
        greedy = config.method == "greedy"
        self._config = replace(config, beam=1, length_penalty=0.0) if greedy else config
        self._rules = rules
        self._end_id = end_id
        self._live = self._no_words(1, value=0.0)
        self._kept = self._no_words(self._config.beam, value=-math.inf)
        self._seen: list[Glimpse] = []

    def advance(
        self, log_p: Float[Array, "K V"], glimpse: Glimpse
    ) -> tuple[Int[Array, " J"], Int[Array, " J"]] | None:
        """Continue the hypotheses by a word; return which go on and with what, or None if done."""
        config, length = self._config, len(self._seen) + 1
        self._seen.append(glimpse)
        log_p = self._obey(log_p)
        if length > config.max_words:
            self._stop(log_p)
            return None
        totals = (self._live.value[:, None] + log_p).ravel()
        places = top(totals, min(2 * config.beam, len(totals)))
        parents, words = np.divmod(places, log_p.shape[1])
        grown = self._live.take(parents)._replace(value=totals[places])
        grown.words[:, length - 1] = words
        grown.logs[:, length - 1] = log_p.ravel()[places]
        grown.rows[:, length - 1] = parents

        ended = words == self._end_id
        score = np.where(ended, grown.value, -np.inf) / length**config.length_penalty
        finished = grown._replace(value=score.astype(np.float32))
        self._kept = self._kept.add(Rows(*(x[: config.beam] for x in finished)))
        open_value = np.where(ended, np.float32(-np.inf), grown.value)
        picks = top(open_value, min(config.beam, len(open_value)))
        self._live = grown.take(picks)._replace(value=open_value[picks])
        if self._bound(length) <= self._kept.value[-1]:
            return None
        return parents[picks], words[picks]

    def found(self) -> Found:
        """Return the best captions, and where the first of them looked."""
        words, logs, rows, value = self._kept
        candidates = rank(
            words.tolist(),
            logs.tolist(),
            value.tolist(),
            end_id=self._end_id,
            length_penalty=self._ranking,
        )
        best = candidates.words[0] + [self._end_id] * candidates.finished[0]
        (first,) = [k for k, row in enumerate(words) if row[row != NOTHING].tolist() == best]
        return Found(candidates, self._look(rows[first, : len(best)]))

    def _obey(self, log_p: Float[Array, "K V"]) -> Float[Array, "K V"]:
        """Rule out words that would break a rule."""
        if self._rules == NO_RULES:
            return log_p
        log_p = log_p.copy()
        for scores, words in zip(log_p, self._live.words.tolist(), strict=True):
            said = words[: len(self._seen) - 1]
            scores[list(self._rules.broken_by(said, end_id=self._end_id))] = -np.inf
        return log_p

    def _stop(self, log_p: Float[Array, "K V"]) -> None:
        """Score hypotheses of `max_words` words: finished where END comes next, or cut off."""
        live = self._live
        ended = log_p.argmax(axis=1) == self._end_id
        live.words[:, -1] = np.where(ended, self._end_id, NOTHING)
        live.logs[:, -1] = np.where(ended, log_p[:, self._end_id], 0.0)
        live.rows[:, -1] = np.arange(len(ended))
        length = live.words.shape[1] - 1 + ended
        score = (live.value + live.logs[:, -1]) / length**self._config.length_penalty
        self._kept = self._kept.add(live._replace(value=score.astype(np.float32)))

    def _bound(self, length: int) -> float:
        """Return the best score that a live hypothesis of this length can still reach."""
        best, longest = self._live.value[0], self._config.max_words
        lengths = (min(length + 1, longest), longest + 1)
        return max(float(best / n**self._config.length_penalty) for n in lengths)

    def _look(self, rows: Int[Array, " T"]) -> Look:
        """Gather where the hypothesis looked that went through these rows."""
        steps = [_of(glimpse, row) for glimpse, row in zip(self._seen, rows, strict=False)]
        between = None
        if steps[0].between_words is not None:
            layers, heads = steps[0].between_words.shape[:2]
            between = np.zeros((layers, heads, len(steps), len(steps)))
            for t, step in enumerate(steps):
                between[:, :, t, : t + 1] = step.between_words
        return Look(
            np.stack([step.attention for step in steps], axis=2).astype(np.float64),
            between_words=between,
            gate=None if steps[0].gate is None else np.array([s.gate for s in steps], np.float64),
        )

    def _no_words(self, hypotheses: int, *, value: float) -> Rows:
        shape = (hypotheses, self._config.max_words + 1)
        return Rows(
            words=np.full(shape, NOTHING),
            logs=np.zeros(shape, np.float32),
            rows=np.zeros(shape, np.int64),
            value=np.full(hypotheses, value, np.float32),
        )


class Walk(Beam):
    """One caption of one image, drawn word by word, that never turns back."""

    def __init__(self, config: SearchConfig, rules: Rules, end_id: int) -> None:
        super().__init__(replace(config, beam=1), rules, end_id)
        self._choose = sampler(config)

    def advance(
        self, log_p: Float[Array, "K V"], glimpse: Glimpse
    ) -> tuple[Int[Array, " J"], Int[Array, " J"]] | None:
        """Draw the next word; return that the caption goes on with it, or None if it is done."""
        place = len(self._seen)
        self._seen.append(glimpse)
        log_p = self._obey(log_p)
        word = self._choose(log_p[0])
        ended, cut = word == self._end_id, place == self._config.max_words
        if ended or not cut:
            self._live.words[0, place] = word
            self._live.logs[0, place] = log_p[0, word]
        if ended or cut:
            self._kept = self._live
            return None
        return np.array([0]), np.array([word])


def log_probabilities(
    logits: Float[Array, "B K V"], banned: tuple[int, ...]
) -> Float[Array, "B K V"]:
    """Return log-probabilities among the words that are not banned."""
    logits = logits.copy()
    logits[..., list(banned)] = -np.inf
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def top(values: Float[Array, " N"], count: int) -> Int[Array, " J"]:
    """Return the places of the largest values, largest first; of equals, the first."""
    least = np.partition(values, -count)[-count]
    places = np.flatnonzero(values >= least)
    order = np.argsort(-values[places], kind="stable")
    return places[order[:count]]


def _of(glimpse: Glimpse, row: int) -> Glimpse:
    """Return what one image saw, or one hypothesis of it."""
    return Glimpse(
        glimpse.logits[row],
        glimpse.attention[row],
        None if glimpse.between_words is None else glimpse.between_words[row],
        None if glimpse.gate is None else glimpse.gate[row],
    )

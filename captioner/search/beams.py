"""Several beams in one decoder step: for required words, and for diversity."""

import math
from collections.abc import Iterator
from typing import Any

from jaxtyping import Bool, Float, Int

from captioner.config import SearchConfig
from captioner.search.arrays import Arrays
from captioner.search.automaton import automaton
from captioner.search.beam import Beam
from captioner.search.hypotheses import Hypotheses, concatenate
from captioner.words.constraints import Phrase


class _Beams:
    """Base class of searches with several beams."""

    def __init__(self, arrays: Arrays, beams: list[Beam]) -> None:
        self._arrays, self._beams = arrays, beams
        self.live = concatenate(*(beam.live for beam in beams))

    @property
    def kept(self) -> Hypotheses:
        """See `Strategy`."""
        return concatenate(*(beam.kept for beam in self._beams if beam.goal is beam))

    def stop(self, log_p: Float[Any, "B K V"], t: int) -> None:
        """See `Strategy`."""
        for beam, own in self._divided():
            if beam.goal is beam:
                beam.stop(log_p[:, own], t)

    def can_improve(self, t: int) -> Bool[Any, " B"]:
        """See `Strategy`."""
        return sum(beam.can_improve(t) for beam in self._beams) > 0

    def select(self, images: Int[Any, " N"]) -> None:
        """See `Strategy`."""
        self.live = self.live.select(images)
        for beam in self._beams:
            beam.select(images)

    def _divided(self) -> Iterator[tuple[Beam, slice]]:
        """Assign each beam its part of the live hypotheses; yield the beam and their range."""
        start = 0
        for beam in self._beams:
            own = slice(start, start + beam.live.value.shape[1])
            beam.live, start = self.live.part(own), own.stop
            yield beam, own

    def _unite(self, parents: list[Int[Any, "B _"]]) -> Int[Any, "B J"]:
        """Concatenate the live hypotheses of all beams, and their parents."""
        self.live = concatenate(*(beam.live for beam in self._beams))
        return self._arrays.concatenate(parents)


class DiverseBeams(_Beams):
    """Diverse beam search: groups that choose in turn, penalised for tokens of earlier groups.

    A token costs `diversity` for every hypothesis of an earlier group that has it at the same
    position: the Hamming diversity of Vijayakumar et al. 2016, section 4.1 (arXiv:1610.02424).
    """

    def __init__(self, arrays: Arrays, images: int, *, config: SearchConfig, end_id: int) -> None:
        how: dict[str, Any] = {"config": config, "end_id": end_id}
        width = config.beam // config.groups
        beams = [Beam(arrays, images, width=width, **how) for _ in range(config.groups)]
        super().__init__(arrays, beams)
        self._diversity = config.diversity

    def advance(self, log_p: Float[Any, "B K V"], t: int) -> Int[Any, "B J"]:
        """See `Strategy`."""
        images = self._arrays.arange(len(log_p))
        totals = self.live.value[..., None] + log_p
        cost, parents = self._arrays.full(log_p[:, 0].shape, 0.0), []
        for beam, own in self._divided():
            came_of = beam.grow(beam.live, log_p[:, own], totals[:, own], t, cost=cost)
            parents.append(own.start + came_of)
            for k in range(beam.live.value.shape[1]):
                there = beam.live.value[:, k] > -math.inf
                cost[images, beam.live.tokens[:, k, t]] += self._diversity * there
        return self._unite(parents)


class ConstrainedBeams(_Beams):
    """Constrained beam search: a beam per state of the constraint automaton.

    Hypotheses that contain more required words may be less likely; in a beam of their own they are
    not crowded out. Captions may end in the last state only.

    Source: Anderson et al. 2017, section 3.2 (arXiv:1612.00576).
    """

    def __init__(
        self,
        arrays: Arrays,
        images: int,
        *,
        config: SearchConfig,
        end_id: int,
        required: tuple[Phrase, ...],
    ) -> None:
        how: dict[str, Any] = {"config": config, "end_id": end_id, "width": config.beam}
        states = range(math.prod(len(phrase) + 1 for phrase in required))
        beams = [Beam(arrays, images, begun=state == 0, **how) for state in states]
        for beam in beams:
            beam.goal = beams[-1]
        super().__init__(arrays, beams)
        self._end_id, self._required = end_id, required

    def advance(self, log_p: Float[Any, "B K V"], t: int) -> Int[Any, "B J"]:
        """See `Strategy`; each beam takes the hypotheses that enter its state, from any beam."""
        if t == 0:
            leads = automaton(self._required, words=log_p.shape[-1], end_id=self._end_id)
            self._leads = self._arrays.asarray(leads)
        states = [
            state for state, beam in enumerate(self._beams) for _ in range(beam.live.value.shape[1])
        ]
        totals = self.live.value[..., None] + log_p
        parents, arriving = [], self._leads[states]  # (K, V)
        for state, beam in enumerate(self._beams):
            entering = self._arrays.where(arriving == state, totals, -math.inf)
            parents.append(beam.grow(self.live, log_p, entering, t))
        return self._unite(parents)

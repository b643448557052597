"""Running means of training steps, read only now and then so that a GPU need not synchronise."""

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from captioner.errors import ConfigError
from data.ranks import Ranks


class Meter:
    """Accumulates the steps of an epoch since it started or resumed.

    Args:
        measure: name of the objective's measure: `loss` or `reward`.
        ranks: the processes that train together.
    """

    def __init__(self, measure: str, *, ranks: Ranks) -> None:
        self.measure = measure
        self.photos = 0
        """Photos this rank has trained on."""
        self._ranks = ranks
        self._steps: list[Tensor] = []
        self._started = time.monotonic()

    def add(self, numbers: Tensor, *, photos: int) -> None:
        """Add a step: its measure, loss and gradient norm, (3,)."""
        self._steps.append(numbers)
        self.photos += photos

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def __bool__(self) -> bool:
        return bool(self._steps)

    def mean(self, latest: int = 0, *, step: int) -> Mapping[str, float]:
        """Average over steps and ranks.

        Args:
            latest: number of steps to average over, the latest ones; 0 averages over all.
            step: global step, for the error message.

        Raises:
            ConfigError: a value is NaN or infinite.
        """
        numbers = torch.stack(self._steps[-latest:]).mean(dim=0)
        measure, objective, norm = self._ranks.mean(numbers).tolist()
        if not all(map(math.isfinite, (measure, objective, norm))):
            raise ConfigError(
                f"training diverged by step {step}: {self.measure} {measure}, gradient norm "
                f"{norm}. Lower stages.learning_rate or stages.clip, and start over."
            )
        return {self.measure: measure, "objective": objective, "gradient_norm": norm}

    def rate(self) -> float:
        """Photos per second, over all ranks."""
        return sum(self._ranks.gather(self.photos)) / self.seconds

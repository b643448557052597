"""What is measured of steps: means that are asked for now and then, so that a GPU need not wait."""

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from captioner.errors import ConfigError
from data.ranks import Ranks


class Meter:
    """Adds up the steps of an epoch, since it began or was gone on with.

    Args:
        measure: what the objective's own number is called: `loss` or `reward`.
        ranks: who learns together.
    """

    def __init__(self, measure: str, *, ranks: Ranks) -> None:
        self.measure = measure
        self.photos = 0
        """Those that this process has learned from."""
        self._ranks = ranks
        self._steps: list[Tensor] = []
        self._started = time.monotonic()

    def add(self, numbers: Tensor, *, photos: int) -> None:
        """Add a step: its measure, its objective and the norm of its gradient, (3,)."""
        self._steps.append(numbers)
        self.photos += photos

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def __bool__(self) -> bool:
        return bool(self._steps)

    def mean(self, latest: int = 0, *, step: int) -> Mapping[str, float]:
        """Average over all steps and processes, or over the latest steps only.

        Args:
            latest: so many; 0 takes all.
            step: of the run, for the error.

        Raises:
            ConfigError: something is not a number any more.
        """
        numbers = torch.stack(self._steps[-latest:]).mean(dim=0)
        measure, objective, norm = self._ranks.mean(numbers).tolist()
        if not all(map(math.isfinite, (measure, objective, norm))):
            raise ConfigError(
                f"training went wrong by step {step}: the {self.measure} is {measure}, the norm of "
                f"the gradient {norm}. Lower stages.learning_rate or stages.clip and start over."
            )
        return {self.measure: measure, "objective": objective, "gradient_norm": norm}

    def rate(self) -> float:
        """Photos a second, of all processes."""
        return sum(self._ranks.gather(self.photos)) / self.seconds

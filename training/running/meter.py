"""Running means of training steps; reading them, now and then, synchronises the GPU."""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from captioner.errors import ConfigError
from data.batching import Batch
from data.ranks import Ranks
from training.scoring.layout import describe_measure


class Meter:
    """Accumulates the steps of an epoch since it started or resumed.

    Args:
        measure: name of the objective's measure: `loss` or `reward`.
        clip: maximum gradient norm, 0 without clipping; for the advice of an error.
        ranks: the processes that train together.
    """

    def __init__(self, measure: str, *, clip: float, ranks: Ranks) -> None:
        self.measure = measure
        self.new_steps = 0
        """Steps since the last `latest`."""
        self._clip = clip
        self.batches = 0
        """Batches since the start."""
        self._photos = 0  # of this rank
        self._ranks = ranks
        self._steps: list[Tensor] = []
        self._started = time.monotonic()

    def add(self, numbers: Tensor, batches: Sequence[Batch]) -> None:
        """Add a step on these batches: its measure, loss and gradient norm, (3,)."""
        self._steps.append(numbers)
        self.new_steps += 1
        self.batches += len(batches)
        self._photos += sum(len(batch.image_ids) for batch in batches)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def __bool__(self) -> bool:
        return bool(self._steps)

    def latest(self, *, step: int) -> Mapping[str, float]:
        """Average over the new steps, at least one, and over ranks.

        Raises:
            ConfigError: a value is NaN or infinite.
        """
        means = self._mean(self._steps[-self.new_steps :], step=step)
        self.new_steps = 0
        return means

    def check(self, *, step: int) -> None:
        """Check that the latest step has not diverged.

        Raises:
            ConfigError: a value is NaN or infinite.
        """
        self._mean(self._steps[-1:], step=step)

    def describe(self, *, step: int) -> str:
        """Format the means and the throughput of all ranks for a log line.

        Raises:
            ConfigError: a value is NaN or infinite.
        """
        means = self._mean(self._steps, step=step)
        rate = sum(self._ranks.gather(self._photos)) / self.seconds
        return (
            f"{describe_measure(self.measure, means[self.measure])}  "
            f"objective {means['objective']:.3f}  "
            f"{rate:.1f} photos/s"
        )

    def _mean(self, steps: list[Tensor], *, step: int) -> Mapping[str, float]:
        numbers = torch.stack(steps).mean(dim=0)
        measure, objective, norm = self._ranks.mean(numbers).tolist()
        if not all(map(math.isfinite, (measure, objective, norm))):
            set_it = "" if self._clip else "set "
            raise ConfigError(
                f"training diverged by step {step}: {self.measure} {measure}, gradient norm "
                f"{norm}. Lower stages.learning_rate or {set_it}stages.clip, which is "
                f"{self._clip:g}, and start over."
            )
        return {self.measure: measure, "objective": objective, "gradient_norm": norm}

"""Ranks of a distributed run, one process per GPU, and their collectives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's rank in a run; by default it is the only one.

    Every rank must call the collectives, in the same order.
    """

    rank: int = 0
    """Index of this process, from 0."""
    count: int = 1
    """Number of processes (world size)."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this rank's share of the items; each item is in exactly one share."""
        return items[self.rank :: self.count]

    def wait(self) -> None:
        """Wait for all ranks (barrier)."""
        if self.count > 1:
            torch.distributed.barrier()

    def sum(self, x: Tensor) -> Tensor:
        """Sum a tensor over all ranks (all-reduce)."""
        if self.count == 1:
            return x
        x = x.detach().clone()
        torch.distributed.all_reduce(x)
        return x

    def average(self, total: Tensor, count: Tensor) -> Tensor:
        """Divide this rank's total by the mean count over ranks.

        The mean of the results over ranks is the total over all ranks divided by their count, so
        gradients that DDP or FSDP average equal those of a single process with all the data.
        """
        return total * self.count / self.sum(count).clamp(min=1)

    def mean(self, x: Tensor) -> Tensor:
        """Average a tensor over all ranks."""
        return self.sum(x) / self.count

    def gather(self, value: T) -> list[T]:
        """Collect the values of all ranks, in order (all-gather)."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def agree(self, value: T) -> T:
        """Return the first rank's value (broadcast)."""
        if self.count == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

"""The processes of a distributed run, one per GPU: ranks and collectives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of a run; by default the only one.

    Collectives must be called by all processes, in the same order.
    """

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share of the items; those of all are the items, each once."""
        return items[self.rank :: self.count]

    def wait(self) -> None:
        """Wait for all processes (barrier)."""
        if self.count > 1:
            torch.distributed.barrier()

    def sum(self, x: Tensor) -> Tensor:
        """Add up the tensors of all."""
        if self.count == 1:
            return x
        x = x.detach().clone()
        torch.distributed.all_reduce(x)
        return x

    def average(self, total: Tensor, count: Tensor) -> Tensor:
        """Divide this process's total by the mean count of all.

        The mean of the results is the total of all divided by the count of all: gradients that are
        averaged over processes, as DDP and FSDP do, are those of one process with all the data.
        """
        return total * self.count / self.sum(count).clamp(min=1)

    def mean(self, x: Tensor) -> Tensor:
        """Average the tensors of all."""
        return self.sum(x) / self.count

    def gather(self, value: T) -> list[T]:
        """Collect the values of all processes, in rank order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def agree(self, value: T) -> T:
        """Return the value of the first process."""
        if self.count == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

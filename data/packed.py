"""Many small things in one block of memory."""

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, overload

import numpy as np
import torch

K = TypeVar("K")
T = TypeVar("T")


class Packed(Sequence[T]):
    """A sequence whose items are unpacked when asked for, anew each time.

    Workers share it. Python objects they would copy: forked, page by page, because reading an
    object writes its reference count; spawned, all at once. A tensor is shared in both cases.
    """

    def __init__(self, items: Iterable[T]) -> None:
        """Pack the items, which can be pickled."""
        content, ends = bytearray(), [0]
        for item in items:
            content += pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
            ends.append(len(content))
        self._content = torch.from_numpy(np.asarray(memoryview(content)))
        self._ends = torch.tensor(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        start, end = self._ends.numpy()[place : place + 2]
        item: T = pickle.loads(self._content.numpy().data[start:end])
        return item


class PackedDict(Mapping[K, T]):
    """A mapping whose values are packed; keys are not, since finding one only reads it."""

    def __init__(self, items: Mapping[K, T]) -> None:
        self._places = {key: place for place, key in enumerate(items)}
        self._values = Packed(items.values())

    def __getitem__(self, key: K) -> T:
        return self._values[self._places[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

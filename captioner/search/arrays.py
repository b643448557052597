"""Array functions that search needs and that NumPy and PyTorch name differently.

With them, search is written once for both. PyTorch is imported when the first tensor arrives.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


class Arrays:
    """Array functions of NumPy.

    Args:
        library: `numpy` or `torch`.
        **where: device, for functions that create arrays.
    """

    def __init__(self, library: Any = np, **where: Any) -> None:
        self._library, self._where = library, where
        self.amax, self.exp, self.where = library.amax, library.exp, library.where
        self.double: Any = library.float64

    def inference(self, decoder: Any) -> AbstractContextManager[None]:
        """Context in which a decoder runs for inference; its mode is restored."""
        return nullcontext()

    def asarray(self, values: Any, kind: Any = None) -> Any:
        """Convert values to an array on this device, optionally of another dtype."""
        return self._library.asarray(values, dtype=kind, **self._where)

    def integers(self, values: Sequence[int]) -> Int[Any, " N"]:
        """Return an int64 array."""
        return self.asarray(values, self._library.int64)

    def full(self, shape: Sequence[int], value: int | float) -> Any:
        """Return a filled array: int64 for an integer, float32 for any other number."""
        kind = self._library.int64 if isinstance(value, int) else self._library.float32
        return self._library.full(tuple(shape), value, dtype=kind, **self._where)

    def arange(self, *shape: int) -> Int[Any, "..."]:
        """Return the indices 0, 1, ... of an array of this shape."""
        return self._library.arange(math.prod(shape), **self._where).reshape(shape)

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Concatenate arrays (B, K, ...) along K."""
        return self._library.concatenate(parts, axis=1)

    def argsort(self, values: Any) -> Any:
        """Return the indices that sort the values, stable."""
        return self._library.argsort(values, stable=True)

    def take(self, values: Any, places: Int[Any, "B J"]) -> Any:
        """Return `values[b, places[b]]` of each row b: (B, N, ...) at (B, J) gives (B, J, ...)."""
        return values[self.arange(len(values), 1), places]

    def surely_none(self, flags: Bool[Any, "..."]) -> bool:
        """Whether no flag is set; False on a GPU, where finding out would mean waiting."""
        return not flags.any()

    def surely_in_order(self, places: Int[Any, "B J"], count: int) -> bool:
        """Whether the places are 0 to `count` - 1 in every row; False on a GPU."""
        return places.shape[1] == count and self.surely_none(places != self.arange(count))

    def top(self, values: Float[Any, "B N"], count: int) -> Int[Any, "B J"]:
        """Return the indices of the largest values, largest first; of ties, the lower index."""
        least = np.partition(values, -count, axis=-1)[:, -count, None]
        found = np.flatnonzero(values >= least)  # more than `count` where some equal the least
        rows, places = np.divmod(found, values.shape[1])
        order = np.lexsort((-values[rows, places], rows))
        firsts = np.searchsorted(rows, np.arange(len(values)))
        return places[order[firsts[:, None] + np.arange(count)]]

    def log_probabilities(
        self, logits: Float[Any, "*rows V"], never: Int[Any, " F"]
    ) -> Float[Any, "*rows V"]:
        """Return float32 log-probabilities over the tokens that may be generated."""
        logits = logits.astype(np.float32)
        logits[..., never] = -math.inf
        logits -= logits.max(axis=-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return logits


_NUMPY = Arrays()


def arrays_of(x: Any) -> Arrays:
    """Return the functions for an array's library and device."""
    return _NUMPY if isinstance(x, np.ndarray) else _on_device(x.device)


@cache
def _on_device(device: Any) -> Arrays:
    from captioner.search.tensors import Tensors  # noqa: PLC0415  # there may be no torch

    return Tensors(device)


def log_probabilities(logits: Float[Any, "*rows V"], never: Sequence[int]) -> Float[Any, "*rows V"]:
    """Return float32 log-probabilities over the tokens that may be generated."""
    arrays = arrays_of(logits)
    return arrays.log_probabilities(logits, arrays.integers(never))


def to_numpy(x: Any) -> Any:
    """Convert an array or tensor to a float32 array."""
    return np.asarray(x if isinstance(x, np.ndarray) else x.detach().float().cpu(), np.float32)

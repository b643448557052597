"""Weight files -> tensors by our names.

Files are memory-mapped, so each weight takes memory only once, when used. Pickled files are read by
PyTorch's restricted unpickler, which builds tensors and runs no code.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from captioner.errors import CheckpointError, is_panic
from captioner.pretrained.files import weight_files
from captioner.pretrained.keys import Assembly, Piece, Rule, assign

Read = Callable[[], Tensor]
_MAPPED = 8 << 20
"""Bytes of halves that are read from one mapping of a pickled file."""


def load_weights(model: nn.Module, folder: Path, *, rules: tuple[Rule, ...]) -> None:
    """Fill a model that was built on the meta device.

    Args:
        model: without weights; filled in place, in float32.
        folder: contains the files.
        rules: map their names to the model's.

    Raises:
        CheckpointError: weights are missing, damaged, or do not fit the model.
    """
    stored: dict[str, tuple[tuple[int, ...], Read]] = {}
    for file in weight_files(folder):
        with _explained(file):
            stored |= _unpickle(file) if file.suffix == ".bin" else list_weights(file)
    expected = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    shapes = {key: shape for key, (shape, _) in stored.items()}
    assemblies = assign(shapes, expected, rules, zeros=("decoder.words.bias",), where=str(folder))
    with _explained(folder):
        state = {
            name: _assemble(assembly, lambda key: stored[key][1]())
            for name, assembly in assemblies.items()
        }
    model.load_state_dict(state, assign=True)


def _assemble(assembly: Assembly, read: Callable[[str], Tensor]) -> Tensor:
    """Put the pieces of one weight together."""
    parts = [_cut(piece, read(piece.key)) for piece in assembly.pieces]
    if not parts:
        return torch.zeros(assembly.shape)
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    if assembly.added is not None:
        whole = whole + _cut(assembly.added, read(assembly.added.key))
    return whole.reshape(assembly.shape).float().contiguous()


def _cut(piece: Piece, weight: Tensor) -> Tensor:
    weight = weight.T if piece.transposed and weight.dim() == 2 else weight
    if piece.picked:
        return weight[list(piece.picked)]
    return weight[slice(*piece.rows)] if weight.dim() else weight


def list_weights(file: Path) -> dict[str, tuple[tuple[int, ...], Read]]:
    """List the weights of a safetensors file: the shape of each, and what reads it.

    Weights in float32 lie in the file, which is mapped once. One in 16 bits, which is widened and
    then no longer needed, has a mapping of its own, so that its pages go when it goes.
    """
    opened = safe_open(file, framework="pt")

    def reading(key: str) -> Read:
        if opened.get_slice(key).get_dtype() == "F32":
            return lambda: opened.get_tensor(key)
        return lambda: safe_open(file, framework="pt").get_tensor(key)

    return {
        key: (tuple(opened.get_slice(key).get_shape()), reading(key))
        for key in opened.keys()  # noqa: SIM118  # it is no dictionary
    }


def _unpickle(file: Path) -> dict[str, tuple[tuple[int, ...], Read]]:
    """List the weights of a file that `torch.save` wrote; those in 16 bits share a mapping.

    It is made anew after `_MAPPED` bytes, so that pages go, and not for every weight: that takes
    20 ms for a file of some hundred.
    """

    def load() -> Any:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)

    found = load()
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise CheckpointError(f"{file}: holds something else than weights by name.")
    mapped, used = found, 0

    def read_again(key: str) -> Tensor:
        nonlocal mapped, used
        if used > _MAPPED:
            mapped, used = load(), 0
        weight: Tensor = mapped[key]
        used += weight.nbytes
        return weight

    def reading(key: str, weight: Tensor) -> Read:
        if weight.dtype == torch.float32:
            return lambda: weight
        return lambda: read_again(key)

    return {str(key): (tuple(weight.shape), reading(key, weight)) for key, weight in found.items()}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise about a file into a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path}: its weights cannot be read ({reason}); fetch or save it again, as "
            "safetensors if it is an old file."
        ) from error

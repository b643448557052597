"""Loads weight files under our names.

Files are memory-mapped, so each weight takes memory only once, when used. Pickled files are read by
PyTorch's restricted unpickler, which creates tensors and runs no code.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from captioner.errors import CheckpointError, wrap_library_errors
from captioner.pretrained.files import weight_files
from captioner.pretrained.keys import Assembly, Piece, Rule, assign

Read = Callable[[], Tensor]
_MAPPED = 8 << 20
"""Bytes of 16-bit weights to read from a pickled file before it is mapped anew."""


def load_weights(model: nn.Module, folder: Path, *, rules: tuple[Rule, ...]) -> None:
    """Load weights into a model built on the meta device.

    Args:
        model: filled in place, in float32.
        folder: contains the weight files.
        rules: rename stored weights to the model's.

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
    """Concatenate the pieces of one weight."""
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
    """List the weights of a safetensors file: shape, and a function that reads it.

    float32 weights are views of the mapped file. A 16-bit weight, which is converted to float32 and
    then dropped, gets its own mapping, so that its pages are released with it.
    """
    opened = safe_open(file, framework="pt")

    def reading(key: str) -> Read:
        if opened.get_slice(key).get_dtype() == "F32":
            return lambda: opened.get_tensor(key)
        return lambda: safe_open(file, framework="pt").get_tensor(key)

    return {
        key: (tuple(opened.get_slice(key).get_shape()), reading(key))
        for key in opened.keys()  # noqa: SIM118  # not a dict
    }


def _unpickle(file: Path) -> dict[str, tuple[tuple[int, ...], Read]]:
    """List the weights of a file written by `torch.save`; 16-bit weights share a mapping.

    The file is mapped anew after `_MAPPED` bytes, which releases its pages. Mapping takes about
    20 ms for a few hundred weights, so it is not done for every weight.
    """

    def load() -> Any:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)

    found = load()
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise CheckpointError(f"{file}: is not a state dict.")
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


def _explained(path: Path) -> AbstractContextManager[None]:
    """Convert any error of the libraries into a CheckpointError."""

    def explain(error: BaseException) -> str:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return (
            f"{path}: its weights cannot be read ({reason}); download or save it again, as "
            "safetensors if it is an old file."
        )

    return wrap_library_errors(CheckpointError, explain)

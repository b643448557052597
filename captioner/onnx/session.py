"""A graph in onnxruntime, with weights from the checkpoint beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int8
from safetensors import safe_open

from captioner.checkpoint.files import WEIGHTS
from captioner.errors import CheckpointError, MissingExtraError
from captioner.onnx.files import borrow, int8, scale

Array = np.ndarray[Any, np.dtype[Any]]
"""NumPy's own NDArray is, from 2.5 on, nothing that jaxtyping can look into."""


class Session:
    """Runs a graph on the CPU.

    Args:
        path: the graph.
        borrowed: weights that it takes from the checkpoint unchanged.
        quantised: matrices that it takes in int8.
        threads: cores that one operation may use; None leaves it to onnxruntime.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: the graph is missing or damaged.
    """

    def __init__(
        self,
        path: Path,
        borrowed: Sequence[str],
        *,
        quantised: Sequence[str] = (),
        threads: int | None = None,
    ) -> None:
        try:
            import onnxruntime  # noqa: PLC0415  # slow, and not there everywhere
        except ImportError as error:
            raise MissingExtraError(
                "Captions without PyTorch need onnxruntime: pip install onnxruntime"
            ) from error
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; export the checkpoint again.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            with safe_open(path.with_name(WEIGHTS), "numpy") as checkpoint:
                weights = {borrow(name): checkpoint.get_tensor(name) for name in borrowed}
                for name in quantised:
                    matrix, scales = quantise(checkpoint.get_tensor(name))
                    weights |= {int8(name): matrix, scale(name): scales}
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(x) for x in weights.values()]
            options.add_external_initializers(list(weights), values)
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(
                f"{path}: onnxruntime cannot read it ({error}); export the checkpoint again."
            ) from error

    @property
    def inputs(self) -> set[str]:
        """Names of the graph's inputs."""
        return {node.name for node in self._session.get_inputs()}

    def run(self, names: Sequence[str] | None, inputs: dict[str, Array]) -> list[Array]:
        """Return the outputs of these names, or all of them.

        Raises:
            MemoryError: there is not enough memory.
            RuntimeError: anything else.
        """
        try:
            found: list[Array] = self._session.run(names, inputs)
        except Exception as error:  # the library's own errors have no common class but this
            if "allocate memory" in str(error) or "bad_alloc" in str(error):
                raise MemoryError(str(error)) from None
            raise RuntimeError(str(error)) from error
        return found


def quantise(matrix: Float[Array, "N D"]) -> tuple[Int8[Array, "N D"], Float[Array, " N"]]:
    """Quantise a matrix to int8, with one scale per row: matrix is about scale * rounded."""
    matrix = matrix.astype(np.float32)
    scales = np.maximum(np.abs(matrix).max(axis=1), np.finfo(np.float32).tiny) / 127
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales

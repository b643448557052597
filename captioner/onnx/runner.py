"""OnnxCaptioner: captions on onnxruntime and NumPy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from captioner.checkpoint.files import ENCODER, ENCODER_INT8, has_graphs
from captioner.errors import CheckpointError, ConfigError, MissingExtraError
from captioner.onnx.decoder import OnnxDecoder
from captioner.onnx.files import read_export
from captioner.onnx.session import Array, Session
from captioner.photo.framing import Prepared
from captioner.pipeline import MOST_LANES, Captioner
from captioner.runtimes import PRECISIONS
from captioner.speed.resources import count_cores

_AT_ONCE = 8
"""Images encoded at once: more fall out of a core's cache, while words gain from larger batches."""


class OnnxCaptioner(Captioner):
    """Captions on the CPU; `load` makes one from a checkpoint with graphs beside it.

    Args:
        folder: of the export.
        precision: of the encoder: `float32`, `int8` or `auto`.
        threads: cores that one operation may use; None leaves it to onnxruntime.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: the graphs are missing, damaged, or of a newer format.
        ConfigError: there is no such precision.
    """

    def __init__(
        self, folder: Path, *, precision: str = "float32", threads: int | None = None
    ) -> None:
        if precision not in PRECISIONS["onnx"]:
            known = ", ".join(PRECISIONS["onnx"])
            raise ConfigError(f"precision is {precision!r}; choose from {known} for onnx.")
        self._folder, self._precision = folder, precision
        # Eight bits cost quality, so nobody gets them unasked.
        export, name = read_export(folder), ENCODER_INT8 if precision == "int8" else ENCODER
        self._encoder = Session(
            folder / name,
            export.borrowed[name],
            quantised=export.quantised if name == ENCODER_INT8 else (),
            threads=threads,
        )
        self.decoder = OnnxDecoder(folder, export, threads=threads)
        self.header = export.header
        self.grid = export.grid

    @classmethod
    def open(
        cls,
        checkpoints: Sequence[Path],
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> "OnnxCaptioner":
        """Load the graphs beside the file of a checkpoint.

        Args:
            checkpoints: one file.
            device: `auto` or `cpu`.
            precision: `float32`, `int8` or `auto`.
            threads: cores that one operation may use; None leaves it to onnxruntime.

        Raises:
            MissingExtraError: there are several, which PyTorch alone runs together.
            CheckpointError: the graphs are missing, damaged, or of a newer format.
            ConfigError: there is no such device or precision.
        """
        if len(checkpoints) > 1:
            raise MissingExtraError(
                "Ensembles need PyTorch: "
                'pip install "captioner[torch]", and leave --runtime to auto.'
            )
        if device not in ("auto", "cpu"):
            raise ConfigError(f"device {device!r} needs PyTorch; choose auto or cpu for onnx.")
        (checkpoint,) = checkpoints
        if not has_graphs(checkpoint):
            raise CheckpointError(
                f"{checkpoint}: has no ONNX graphs beside it; write them with "
                '`captioner export`, or caption with PyTorch: pip install "captioner[torch]"'
            )
        return cls(checkpoint.parent, precision=precision, threads=threads)

    def for_bulk(self, *, compiled: bool = False) -> "OnnxCaptioner":
        """Return a captioner that uses one core per operation, so that batches run in parallel.

        Raises:
            ConfigError: onnxruntime has nothing to compile.
        """
        if compiled:
            raise ConfigError("--compile needs PyTorch; add --runtime torch.")
        return OnnxCaptioner(self._folder, precision=self._precision, threads=1)

    @contextmanager
    def lanes(self) -> Iterator[int]:
        """Use a lane per core."""
        yield min(MOST_LANES, count_cores())

    def encode(
        self, photos: Sequence[Prepared], *, task: Sequence[int] = ()
    ) -> Float[Array, "B P D"]:
        """Return the features of the images' regions.

        Raises:
            ConfigError: there is a task, and the graph has its own.
        """
        if task:
            raise ConfigError(
                "search.prompt is a task, and an export supports only the one it was made with; "
                "leave it out, or use the checkpoint that was exported."
            )
        parts = [
            np.stack([photo.pixels for photo in photos[first : first + _AT_ONCE]])
            for first in range(0, len(photos), _AT_ONCE)
        ]
        return np.concatenate([self._encoder.run(None, {"pixels": part})[0] for part in parts])

    def summarise(self, features: Float[Array, "B P D"]) -> Float[Array, "B D"]:
        """Return the mean feature of each image's regions."""
        means: Array = features.mean(axis=1, dtype=np.float64)
        return means

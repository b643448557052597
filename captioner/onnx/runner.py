"""OnnxCaptioner: captions on onnxruntime and NumPy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from captioner.checkpoint.shipped import has_graphs
from captioner.errors import CheckpointError, ConfigError, MissingExtraError
from captioner.onnx.decoder import OnnxDecoder
from captioner.onnx.files import Export, read_export
from captioner.photo.framing import Prepared
from captioner.pipeline import MOST_LANES, Captioner
from captioner.speed.resources import count_cores


class OnnxCaptioner(Captioner):
    """An exported model ready to caption photos on the CPU; `load` makes one from its checkpoint.

    Args:
        decoder: runs the graphs.
        export: what the export says about itself.
    """

    def __init__(self, decoder: OnnxDecoder, export: Export) -> None:
        self.decoder = decoder
        self.export = export
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
                "Several checkpoints caption together on PyTorch alone: "
                'pip install "captioner[torch]", and leave --runtime to auto.'
            )
        if device not in ("auto", "cpu"):
            raise ConfigError(f"device {device!r} is PyTorch's; choose auto or cpu for onnx.")
        (checkpoint,) = checkpoints
        if not has_graphs(checkpoint):
            raise CheckpointError(
                f"{checkpoint}: has no graphs beside it that onnxruntime can run; write them with "
                '`captioner export`, or caption with PyTorch: pip install "captioner[torch]"'
            )
        export = read_export(checkpoint.parent)
        decoder = OnnxDecoder(checkpoint.parent, export, precision=precision, threads=threads)
        return cls(decoder, export)

    def for_bulk(self, *, compiled: bool = False) -> "OnnxCaptioner":
        """Return a captioner whose operations use one core each, so that batches share the cores.

        Raises:
            ConfigError: onnxruntime has nothing to compile.
        """
        if compiled:
            raise ConfigError("--compile is for PyTorch; give --runtime torch with it.")
        return OnnxCaptioner(self.decoder.on(threads=1), self.export)

    @contextmanager
    def lanes(self) -> Iterator[int]:
        """Use a lane per core."""
        yield min(MOST_LANES, count_cores())

    def encode(self, photos: Sequence[Prepared]) -> Float[Any, "B 3 H W"]:
        """Return the photos themselves: one graph is encoder and first step of the decoder."""
        return np.stack([photo.pixels for photo in photos])

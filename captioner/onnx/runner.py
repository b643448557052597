"""OnnxCaptioner: captions on onnxruntime and NumPy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from captioner.checkpoint.shipped import DEFAULT, find_export
from captioner.onnx.decoder import OnnxDecoder
from captioner.onnx.files import Export, read_export
from captioner.photo.framing import Prepared
from captioner.pipeline import Captioner


class OnnxCaptioner(Captioner):
    """An exported model ready to caption photos on the CPU; `load` makes one from its folder.

    Args:
        decoder: runs the graphs.
        export: what the export says about itself.
    """

    def __init__(self, decoder: OnnxDecoder, export: Export) -> None:
        self.decoder = decoder
        self.header = export.header
        self.grid = export.grid

    @classmethod
    def load(  # type: ignore[override]  # each runtime has options of its own
        cls, name_or_path: str | Path | None = None, *, threads: int | None = None
    ) -> "OnnxCaptioner":
        """Load what `captioner export --onnx` wrote.

        Args:
            name_or_path: the folder, or a file in it.
            threads: cores that one operation may use; None leaves it to onnxruntime.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            CheckpointError: the export is missing, damaged, or of a newer format.
        """
        path = DEFAULT if name_or_path is None else name_or_path
        folder = find_export(path) or Path(path)
        export = read_export(folder)
        return cls(OnnxDecoder(folder, export, threads=threads), export)

    def encode(self, photos: Sequence[Prepared]) -> Float[Any, "B 3 H W"]:
        """Return the photos themselves: one graph is encoder and first step of the decoder."""
        return np.stack([photo.pixels for photo in photos])

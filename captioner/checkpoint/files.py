"""Names of a checkpoint's files, locally and on the hub."""

import hashlib
from pathlib import Path

from captioner.durable import file_digest
from captioner.pretrained.files import SETTINGS, weight_files

WEIGHTS = "model.safetensors"
"""Header and weights, for either runtime."""
DESCRIPTION = "captioner.json"
"""Description of the graphs; its presence marks an export."""
ENCODER = "encoder.onnx"
"""The graph that encodes a photo."""
ENCODER_INT8 = "encoder.int8.onnx"
"""The same graph with int8 products."""
START = "start.onnx"
"""The graph that starts a caption."""
STEP = "step.onnx"
"""The graph that reads a word and scores the next."""
GRAPHS = (ENCODER, ENCODER_INT8, START, STEP)
"""Graphs of every export."""
EVIDENCE = "evidence.onnx"
"""The graph of `Decoder.evidence`, if the decoder has it."""
CARD = "README.md"
"""Model card."""


def checkpoint_digest(path: Path) -> str:
    """Return the SHA-256 of a checkpoint from `find_checkpoint`, or of all files of its folder.

    Raises:
        OSError: a file cannot be read.
    """
    if not path.is_dir():
        return file_digest(path)
    digests = [f"{file.name} {file_digest(file)}" for file in files_of(path)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def has_graphs(checkpoint: Path) -> bool:
    """Whether a checkpoint has graphs for onnxruntime beside it."""
    return checkpoint.name == WEIGHTS and checkpoint.with_name(DESCRIPTION).is_file()


def files_of(checkpoint: Path) -> list[Path]:
    """Return the file of a checkpoint, first, and any graphs beside it.

    For a pretrained captioner, return all files of its folder that are read.
    """
    if checkpoint.is_dir():
        settings = (checkpoint / name for name in SETTINGS)
        return [*filter(Path.is_file, settings), *weight_files(checkpoint)]
    if not has_graphs(checkpoint):
        return [checkpoint]
    names = [*GRAPHS, EVIDENCE, DESCRIPTION]
    return [checkpoint, *filter(Path.is_file, map(checkpoint.with_name, names))]

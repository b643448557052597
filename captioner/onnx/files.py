"""The folder of an export: a checkpoint, its ONNX graphs, and how to run them.

    model.safetensors  the checkpoint: header, and the weights of either runtime
    encoder.onnx       pixels -> features of the regions
    encoder.int8.onnx  the same, in eight bits
    start.onnx         features -> memory and past: the state before the first word
    step.onnx          words, memory, past -> logits, attention of each word, grown past
    evidence.onnx      features, words, attention -> what regions added to the words' scores; only
                       of decoders that can tell
    captioner.json     {"format": 2, "grid": [14, 14], "memory": [names], "past": [names],
                        "seen": [names], "borrowed": {"encoder.onnx": [names], ...},
                        "quantised": [names]}

The graphs contain no weights: they share the checkpoint's by name, so the two cannot diverge.
`encoder.int8.onnx` shares matrices in int8, quantised when it is opened.

Memory is kept once per image, (B, ...); past once per hypothesis, (B, K, ...). The grown past comes
in the order of the past.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.checkpoint.files import DESCRIPTION, ENCODER, EVIDENCE, GRAPHS, STEP, WEIGHTS
from captioner.checkpoint.header import Header, read_header
from captioner.errors import CheckpointError

FORMAT = 2
"""The format written, and the only one read."""

_NAMES = ("memory", "past", "seen")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Description of an export."""

    header: Header
    """What the checkpoint says about itself."""
    grid: tuple[int, int]
    """Regions down and across."""
    memory: tuple[str, ...]
    """Tensors that depend on the image alone; outputs of the one graph, inputs of the other."""
    past: tuple[str, ...]
    """Tensors that depend on the words so far."""
    seen: tuple[str, ...]
    """What the step tells of where it looked: `attention` (B, K, L, M, P), of a Transformer also
    `between_words` (B, K, L, M, T), of a recurrent decoder `gate` (B, K)."""
    borrowed: dict[str, tuple[str, ...]]
    """The weights that each graph there is takes from the checkpoint."""
    quantised: tuple[str, ...]
    """Those that `ENCODER_INT8` takes in eight bits, beside what it borrows."""


def borrow(name: str) -> str:
    """Name in a graph of a weight of the checkpoint, distinct from the graph's own tensors."""
    return f"checkpoint:{name}"


def int8(name: str) -> str:
    """Name in a graph of a matrix of the checkpoint in int8."""
    return f"{borrow(name)}:int8"


def scale(name: str) -> str:
    """Name in a graph of the scales of such a matrix, one per row."""
    return f"{borrow(name)}:scale"


def write_export(folder: Path, export: Export) -> None:
    """Write the JSON file of an export.

    Raises:
        OSError: it cannot be written.
    """
    table = {
        "format": FORMAT,
        "grid": list(export.grid),
        **{name: list(getattr(export, name)) for name in _NAMES},
        "borrowed": export.borrowed,
        "quantised": list(export.quantised),
    }
    text = json.dumps(table, ensure_ascii=False, indent=1)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def read_export(folder: Path) -> Export:
    """Read the description of an export.

    Raises:
        CheckpointError: it is not there, damaged, or of a newer format.
    """
    path = folder / DESCRIPTION
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{path}: no such file; an export is a folder of {WEIGHTS}, {ENCODER}, {STEP} and "
            f"{DESCRIPTION}, which `captioner export --onnx` writes."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); export again.") from error
    number = table.get("format") if isinstance(table, dict) else None
    if number != FORMAT:
        raise CheckpointError(
            f"{path}: has format {number!r}, but this version reads format {FORMAT}; "
            "export again, or upgrade: pip install --upgrade captioner"
        )
    return _parse(table, read_header(folder / WEIGHTS), path)


def _parse(table: dict[str, Any], header: Header, path: Path) -> Export:
    try:
        down, across = map(int, table["grid"])
        names = {name: tuple(map(str, table[name])) for name in _NAMES}
        graphs = (*GRAPHS, EVIDENCE) if EVIDENCE in table["borrowed"] else GRAPHS
        borrowed = {graph: tuple(map(str, table["borrowed"][graph])) for graph in graphs}
        return Export(
            header=header,
            grid=(down, across),
            borrowed=borrowed,
            quantised=tuple(map(str, table["quantised"])),
            **names,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged ({type(error).__name__}: {error}); export again."
        ) from error

"""The two graphs of an export as a decoder: what `search` asks, onnxruntime answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from safetensors import safe_open

from captioner.checkpoint.hub.fetch import WEIGHTS
from captioner.decoders.reading import Reading
from captioner.errors import CheckpointError, MissingExtraError
from captioner.onnx.files import IMAGE, STEP, Export, borrow

Array = np.ndarray[Any, np.dtype[Any]]
"""NumPy's own NDArray is, from 2.5 on, nothing that jaxtyping can look into."""


@dataclass(frozen=True)
class State:
    """What the decoder remembers between two words; a value, as `DecoderState` is."""

    memory: tuple[Array, ...]
    """(B, ...): what the image says."""
    past: tuple[Array, ...]
    """(B, K, ...): what the words so far say."""

    def reorder(self, parents: Int[Array, "B K"]) -> "State":
        """Continue these hypotheses of each image."""
        images = np.arange(len(parents))[:, None]
        return replace(self, past=tuple(x[images, parents] for x in self.past))

    def select(self, images: Int[Array, " N"]) -> "State":
        """Keep these images only, in this order."""
        return State(tuple(x[images] for x in self.memory), tuple(x[images] for x in self.past))


class OnnxDecoder:
    """Runs the graphs on the CPU.

    Args:
        folder: of the export.
        export: what it says about itself.
        threads: cores that one operation may use; None leaves it to onnxruntime.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: a graph is missing or damaged.
    """

    def __init__(self, folder: Path, export: Export, *, threads: int | None = None) -> None:
        self._export = export
        self._image = _open(folder / IMAGE, export.borrowed[IMAGE], threads)
        self._step = _open(folder / STEP, export.borrowed[STEP], threads)
        needed = {"words", *export.memory, *export.past}
        missing = needed - {node.name for node in self._step.get_inputs()}
        if missing:
            raise CheckpointError(
                f"{folder / STEP}: has no input {min(missing)!r}; "
                "its files belong to several exports: export again."
            )

    def init_state(self, pixels: Float[Array, "B 3 H W"]) -> State:
        """Read the images, with one hypothesis of no words each."""
        memory, past = self._export.memory, self._export.past
        found = self._image.run([*memory, *past], {"pixels": pixels})
        return State(tuple(found[: len(memory)]), tuple(found[len(memory) :]))

    def step(self, words: Int[Array, "B K"], state: State) -> tuple[Float[Array, "B K V"], State]:
        """Take the latest word of every hypothesis; return the scores of the next word."""
        reading, state = self.look(words, state)
        return reading.logits[:, :, 0], state

    def look(self, words: Int[Array, "B K"], state: State) -> tuple[Reading, State]:
        """Do what `step` does; return a reading of these words (T = 1), with attention."""
        export = self._export
        named = zip((*export.memory, *export.past), (*state.memory, *state.past), strict=True)
        logits, *rest = self._step.run(None, {"words": words, **dict(named)})
        seen: dict[str, Any] = dict.fromkeys(("attention", "between_words", "gate"))
        for name, weights in zip(export.seen, rest, strict=False):
            seen[name] = weights[..., None] if name == "gate" else weights[..., None, :]
        past = tuple(rest[len(export.seen) :])
        return Reading(logits[:, :, None], **seen), replace(state, past=past)


def _open(path: Path, borrowed: Sequence[str], threads: int | None) -> Any:
    """Open a graph, with weights from the checkpoint beside it."""
    try:
        import onnxruntime  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingExtraError(
            'An ONNX export runs on onnxruntime: pip install "captioner[onnx]"'
        ) from error
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; export the checkpoint again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        if borrowed:
            with safe_open(path.with_name(WEIGHTS), "numpy") as checkpoint:
                weights = [checkpoint.get_tensor(name) for name in borrowed]
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights]
            options.add_external_initializers([borrow(name) for name in borrowed], values)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(
            f"{path}: onnxruntime cannot read it ({error}); export the checkpoint again."
        ) from error

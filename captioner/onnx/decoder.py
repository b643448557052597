"""The two graphs of an export as a decoder: what `search` asks, onnxruntime answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int8
from safetensors import safe_open

from captioner.checkpoint.hub.fetch import WEIGHTS
from captioner.decoders.reading import Reading
from captioner.errors import CheckpointError, ConfigError, MissingExtraError
from captioner.onnx.files import IMAGE, IMAGE_INT8, STEP, Export, borrow, int8, scale

Array = np.ndarray[Any, np.dtype[Any]]
"""NumPy's own NDArray is, from 2.5 on, nothing that jaxtyping can look into."""


_AT_ONCE = 8
"""Images encoded at once: more fall out of a core's cache, while words gain from larger batches."""


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
        precision: of the graph that reads photos; see `Captioner.load`.
        threads: cores that one operation may use; None leaves it to onnxruntime.

    Raises:
        ConfigError: there is no such precision.
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: a graph is missing or damaged.
    """

    def __init__(
        self,
        folder: Path,
        export: Export,
        *,
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        self._folder, self._export, self._precision = folder, export, precision
        name = {"float32": IMAGE, "auto": IMAGE, "int8": IMAGE_INT8}.get(precision)
        if name is None:
            raise ConfigError(
                f"precision is {precision!r}; choose from auto, float32, int8 for onnx."
            )
        quantised = export.quantised if name == IMAGE_INT8 else ()
        self._image = _open(folder / name, export.borrowed[name], quantised, threads)
        self._step = _open(folder / STEP, export.borrowed[STEP], (), threads)
        needed = {"words", *export.memory, *export.past}
        missing = needed - {node.name for node in self._step.get_inputs()}
        if missing:
            raise CheckpointError(
                f"{folder / STEP}: has no input {min(missing)!r}; "
                "its files belong to several exports: export again."
            )

    def on(self, *, threads: int) -> "OnnxDecoder":
        """Return a decoder whose operations use so many cores."""
        return OnnxDecoder(self._folder, self._export, precision=self._precision, threads=threads)

    def init_state(self, pixels: Float[Array, "B 3 H W"]) -> State:
        """Read the images, with one hypothesis of no words each."""
        memory, past = self._export.memory, self._export.past
        parts = [
            _run(self._image, [*memory, *past], {"pixels": pixels[first : first + _AT_ONCE]})
            for first in range(0, len(pixels), _AT_ONCE)
        ]
        found = [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
        return State(tuple(found[: len(memory)]), tuple(found[len(memory) :]))

    def step(self, words: Int[Array, "B K"], state: State) -> tuple[Float[Array, "B K V"], State]:
        """Take the latest word of every hypothesis; return the scores of the next word."""
        reading, state = self.look(words, state)
        return reading.logits[:, :, 0], state

    def look(self, words: Int[Array, "B K"], state: State) -> tuple[Reading, State]:
        """Do what `step` does; return a reading of these words (T = 1), with attention."""
        export = self._export
        named = zip((*export.memory, *export.past), (*state.memory, *state.past), strict=True)
        logits, *rest = _run(self._step, None, {"words": words, **dict(named)})
        seen: dict[str, Any] = dict.fromkeys(("attention", "between_words", "gate"))
        for name, weights in zip(export.seen, rest, strict=False):
            seen[name] = weights[..., None] if name == "gate" else weights[..., None, :]
        past = tuple(rest[len(export.seen) :])
        return Reading(logits[:, :, None], **seen), replace(state, past=past)


def _run(session: Any, names: Sequence[str] | None, inputs: dict[str, Array]) -> list[Array]:
    """Run a graph; want of memory, for which onnxruntime has no type, is told from other errors."""
    try:
        found: list[Array] = session.run(names, inputs)
    except Exception as error:  # the library's own errors have no common class but this
        if "allocate memory" in str(error) or "bad_alloc" in str(error):
            raise MemoryError(str(error)) from None
        raise RuntimeError(str(error)) from error
    return found


def _open(
    path: Path, borrowed: Sequence[str], quantised: Sequence[str], threads: int | None
) -> Any:
    """Open a graph, with weights from the checkpoint beside it, some of them in eight bits."""
    try:
        import onnxruntime  # noqa: PLC0415  # an extra
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
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(
            f"{path}: onnxruntime cannot read it ({error}); export the checkpoint again."
        ) from error


def quantise(matrix: Float[Array, "N D"]) -> tuple[Int8[Array, "N D"], Float[Array, " N"]]:
    """Round a matrix to eight bits, with a scale per row: matrix = scale * rounded, nearly."""
    matrix = matrix.astype(np.float32)
    scales = np.maximum(np.abs(matrix).max(axis=1), np.finfo(np.float32).tiny) / 127
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales

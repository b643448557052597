"""Exported graphs as a decoder for `search`, on onnxruntime."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from captioner.checkpoint.files import EVIDENCE, START, STEP
from captioner.decoders.output import DecoderOutput
from captioner.errors import CheckpointError
from captioner.onnx.files import Export
from captioner.onnx.session import Array, Session


@dataclass(frozen=True)
class State:
    """Decoder state between two words; immutable, like `DecoderState`."""

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
    """Decoder on ONNX graphs: starts captions and scores next words.

    Args:
        folder: of the export.
        export: its description.
        threads: cores that one operation may use; None leaves it to onnxruntime.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        CheckpointError: a graph is missing or damaged.
    """

    def __init__(self, folder: Path, export: Export, *, threads: int | None = None) -> None:
        self._folder, self._export, self._threads = folder, export, threads
        self._start, self._step = (
            Session(folder / name, export.borrowed[name], threads=threads) for name in (START, STEP)
        )
        missing = {"words", *export.memory, *export.past} - self._step.inputs
        if missing:
            raise CheckpointError(
                f"{folder / STEP}: has no input {min(missing)!r}; "
                "its files come from different exports; export again."
            )

    def init_state(self, features: Float[Array, "B P D"]) -> State:
        """Read the images, with one hypothesis of no words each."""
        memory, past = self._export.memory, self._export.past
        found = self._start.run([*memory, *past], {"features": features})
        return State(tuple(found[: len(memory)]), tuple(found[len(memory) :]))

    def evidence(
        self,
        features: Float[Array, "B P D"],
        words: Int[Array, "B T"],
        attention: Float[Array, "B M T P"],
    ) -> Float[Array, "B T P"] | None:
        """Return the contribution of each region to the scores of words; None without the graph."""
        if EVIDENCE not in self._export.borrowed:
            return None
        given = {"features": features, "words": words, "attention": attention}
        found: Array = self._evidence_session.run(None, given)[0]
        return found

    @cached_property
    def _evidence_session(self) -> Session:
        """The graph that few ask for, opened when it is."""
        borrowed = self._export.borrowed[EVIDENCE]
        return Session(self._folder / EVIDENCE, borrowed, threads=self._threads)

    def step(self, words: Int[Array, "B K"], state: State) -> tuple[Float[Array, "B K V"], State]:
        """Take the latest word of every hypothesis; return the scores of the next word."""
        output, state = self.step_with_attention(words, state)
        return output.logits[:, :, 0], state

    def step_with_attention(
        self, words: Int[Array, "B K"], state: State
    ) -> tuple[DecoderOutput, State]:
        """Do what `step` does; return a reading of these words (T = 1), with attention."""
        export = self._export
        named = zip((*export.memory, *export.past), (*state.memory, *state.past), strict=True)
        logits, *rest = self._step.run(None, {"words": words, **dict(named)})
        seen: dict[str, Any] = dict.fromkeys(("attention", "between_words", "gate"))
        for name, weights in zip(export.seen, rest, strict=False):
            seen[name] = weights[..., None] if name == "gate" else weights[..., None, :]
        past = tuple(rest[len(export.seen) :])
        return DecoderOutput(logits[:, :, None], **seen), replace(state, past=past)

"""A decoder's output for tokens, and the attention of one caption.

Here tensors and arrays are alike; `CaptionAttention` is NumPy's whatever it was read with.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Float64Array = np.ndarray[Any, np.dtype[np.float64]]
"""NumPy's own NDArray is, from 2.5 on, nothing that jaxtyping can look into."""


class DecoderOutput(NamedTuple):
    """A decoder's output for whole captions, or for one token of each (T = 1)."""

    logits: Float[Any, "B K T V"]
    """Score of every token coming next at each position."""
    attention: Float[Any, "B K L M T P"] | None
    """Weights by layer and head over P, all rows of the features; they sum to 1, or to less where
    the rest went to words. None unless asked for."""
    gate: Float[Any, "B K T"] | None = None
    """How far the attended feature is let through, 0 to 1; only the recurrent decoder has one."""
    between_words: Float[Any, "B K L M T S"] | None = None
    """Weights of each token over itself and all S before it, beside `attention`; only the
    Transformer has them."""


class CaptionAttention(NamedTuple):
    """Attention of one caption; tokens after its last one are padding."""

    attention: Float[Float64Array, "L M T P"]
    """Weights by layer and head, on reading each token, START first; the last gh*gw of P are those
    of the regions, row by row."""
    between_words: Float[Float64Array, "L M T T"] | None
    """Weights of each token over itself and those before it; only a Transformer has them."""
    gate: Float[Float64Array, " T"] | None
    """How far the attended feature was let in; only a recurrent decoder has one."""
    evidence: Float[Float64Array, "T P"] | None = None
    """What the rows added to the score of each token of the caption; see `Decoder.evidence`."""
    gradient: Float[Float64Array, "T P"] | None = None
    """What the score of each token of the caption depends on; see `captioner.model.gradients`."""


def region_weights(weights: Float[Any, "*rows P"], grid: tuple[int, int]) -> Float[Any, "*rows R"]:
    """Leave out what was looked at beside the regions of a grid (down, across)."""
    return weights[..., weights.shape[-1] - grid[0] * grid[1] :]


def caption_attention(output: DecoderOutput, image: int, caption: int) -> CaptionAttention:
    """Take what was read of one caption."""

    def take(weights: Any) -> Any:
        if weights is None:
            return None
        weights = weights[image, caption]
        weights = weights if isinstance(weights, np.ndarray) else weights.float().cpu().numpy()
        return weights.astype(np.float64)

    return CaptionAttention(take(output.attention), take(output.between_words), take(output.gate))


def join_steps(outputs: Sequence[DecoderOutput]) -> DecoderOutput:
    """Put arrays read token by token, T = 1 each, one behind the other."""
    logits, attention, gates, words = zip(*outputs, strict=True)
    between = None
    if words[0] is not None:
        between = np.zeros((*words[0].shape[:-2], len(outputs), len(outputs)))
        for t, weights in enumerate(words):
            between[..., t : t + 1, : t + 1] = weights
    return DecoderOutput(
        logits=np.concatenate(logits, axis=2),
        attention=np.concatenate(attention, axis=4),
        gate=None if gates[0] is None else np.concatenate(gates, axis=2),
        between_words=between,
    )


def gather_attention(outputs: Sequence[DecoderOutput], rows: Sequence[int]) -> CaptionAttention:
    """Gather what was read of one caption token by token.

    Args:
        outputs: one for every step of a search.
        rows: of the caption; see `Candidates.rows`.
    """
    own = []
    for output, row in zip(outputs, rows, strict=False):
        attended = caption_attention(output, *divmod(row, output.logits.shape[1]))
        weights = [None if x is None else x[None, None] for x in attended]
        own.append(DecoderOutput(np.zeros((1, 1, 1, 0)), weights[0], weights[2], weights[1]))
    return caption_attention(join_steps(own), 0, 0)

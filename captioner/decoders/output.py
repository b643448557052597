"""A decoder's output for tokens, and the attention of one caption.

`DecoderOutput` holds tensors or NumPy arrays, `CaptionAttention` NumPy arrays only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Float64Array = np.ndarray[Any, np.dtype[np.float64]]
"""jaxtyping cannot inspect NumPy's own NDArray, from NumPy 2.5 on."""


class DecoderOutput(NamedTuple):
    """A decoder's output for whole captions, or for one token of each (T = 1)."""

    logits: Float[Any, "B K T V"]
    """Score of every token coming next at each position."""
    attention: Float[Any, "B K L M T P"] | None
    """Weights by layer and head over P, all rows of the features; they sum to 1, or less if the
    rest went to words. None unless requested."""
    gate: Float[Any, "B K T"] | None = None
    """Gate (beta) on the attended feature, 0 to 1; recurrent decoder only."""
    between_words: Float[Any, "B K L M T S"] | None = None
    """Self-attention weights of each token over itself and all S before it; Transformer only, and
    only together with `attention`."""


class CaptionAttention(NamedTuple):
    """Attention of one caption; tokens after its last one are padding."""

    attention: Float[Float64Array, "L M T P"]
    """Weights by layer and head at each input token, START first; the last gh*gw of P are those of
    the regions, row by row."""
    between_words: Float[Float64Array, "L M T T"] | None
    """Self-attention weights of each token over itself and earlier ones; Transformer only."""
    gate: Float[Float64Array, " T"] | None
    """Gate (beta) on the attended feature; recurrent decoder only."""
    evidence: Float[Float64Array, "T P"] | None = None
    """Contribution of each feature row to the score of each token; see `Decoder.evidence`."""
    gradient: Float[Float64Array, "T P"] | None = None
    """Gradient-weighted attention of each token; see `captioner.model.gradients`."""


def region_weights(weights: Float[Any, "*rows P"], grid: tuple[int, int]) -> Float[Any, "*rows R"]:
    """Return the weights of the regions alone, without those of class or task tokens.

    Args:
        weights: weights of all P feature rows; regions come last.
        grid: rows and columns of regions.
    """
    return weights[..., weights.shape[-1] - grid[0] * grid[1] :]


def caption_attention(output: DecoderOutput, image: int, caption: int) -> CaptionAttention:
    """Return the attention of one caption of one image, in float64."""

    def take(weights: Any) -> Any:
        if weights is None:
            return None
        weights = weights[image, caption]
        weights = weights if isinstance(weights, np.ndarray) else weights.float().cpu().numpy()
        return weights.astype(np.float64)

    return CaptionAttention(take(output.attention), take(output.between_words), take(output.gate))


def join_steps(outputs: Sequence[DecoderOutput]) -> DecoderOutput:
    """Concatenate the outputs of successive tokens, T = 1 each, along T."""
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
    """Collect the attention of one caption from the outputs of a search.

    Args:
        outputs: one per step of the search.
        rows: rows of the caption; see `Candidates.rows`.
    """
    own = []
    for output, row in zip(outputs, rows, strict=False):
        attended = caption_attention(output, *divmod(row, output.logits.shape[1]))
        weights = [None if x is None else x[None, None] for x in attended]
        own.append(DecoderOutput(np.zeros((1, 1, 1, 0)), weights[0], weights[2], weights[1]))
    return caption_attention(join_steps(own), 0, 0)

"""What search found and where the model looked, token by token -> a Caption, word by word."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from captioner.candidates import Candidates
from captioner.caption import Candidate, Caption, Word, select_attention
from captioner.config import AttentionConfig, SearchConfig
from captioner.framing import Prepared, Singles
from captioner.header import Header
from captioner.rollout import rollout

Doubles = np.ndarray[Any, np.dtype[np.float64]]


class Look(NamedTuple):
    """Where one caption looked; there may be tokens behind its last one, which do not count."""

    attention: Float[Doubles, "L M T P"]
    """Weights of the regions by layer and head, on reading each token, START first."""
    between_words: Float[Doubles, "L M T T"] | None
    """Weights of each token over itself and those before it; only a Transformer has them."""
    gate: Float[Doubles, " T"] | None
    """How far the attended feature was let in; only a recurrent decoder has one."""


def describe(
    photo: Prepared,
    found: Candidates,
    look: Look | None,
    *,
    header: Header,
    grid: tuple[int, int],
    search: SearchConfig,
) -> Caption:
    """Put the first of the candidates into words, with attention as NumPy arrays.

    Args:
        photo: the captioned one.
        found: captions of it, best first.
        look: where the first of them looked; None leaves the caption without words.
        header: the words, and the model's name.
        grid: regions down and across.
        search: how the caption was looked for.
    """
    tokenizer = header.tokenizer
    texts = [tokenizer.decode(ids) for ids in found.words]
    return Caption(
        image=photo.image,
        text=texts[0],
        words=() if look is None else _words(found, look, header=header, grid=grid),
        log_probability=found.log_probability[0],
        candidates=tuple(
            Candidate(text=text, log_probability=log_probability, tokens=tuple(tokens))
            for text, log_probability, tokens in zip(
                texts[1:], found.log_probability[1:], found.words[1:], strict=True
            )
        ),
        geometry=photo.geometry,
        checkpoint=header.name,
        search=search,
    )


def _words(
    found: Candidates, look: Look, *, header: Header, grid: tuple[int, int]
) -> tuple[Word, ...]:
    """Gather the tokens of the first candidate into words."""
    attention = look.attention.reshape(*look.attention.shape[:-1], *grid)
    rolled_out = None
    if look.between_words is not None:
        rolled = rollout(look.attention.mean(axis=1), look.between_words.mean(axis=1))
        rolled_out = rolled.reshape(-1, *grid)
    words = []
    for shown in header.tokenizer.words(found.words[0]):
        # What is looked at on reading one token decides the next: START goes with the first word.
        tokens = list(shown.tokens)
        heads = _normalise(attention[:, :, tokens].mean(axis=2))
        passed = None if rolled_out is None else _normalise(rolled_out[tokens].mean(axis=0))
        words.append(
            Word(
                text=shown.text,
                probability=math.exp(sum(found.log_probabilities[0][t] for t in tokens)),
                attention=select_attention(heads, passed, AttentionConfig()),
                heads=heads,
                gate=None if look.gate is None else float(look.gate[tokens].mean()),
                rollout=passed,
            )
        )
    return tuple(words)


def _normalise(weights: Float[Doubles, "*maps gh gw"]) -> Float[Singles, "*maps gh gw"]:
    """Make every map sum to 1 to float32's precision."""
    weights = weights / weights.sum(axis=(-2, -1), keepdims=True)
    return weights.astype(np.float32)

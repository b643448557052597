"""What search found and where the model looked, token by token -> a Caption, word by word."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from captioner.checkpoint.header import Header
from captioner.config import AttentionConfig, SearchConfig
from captioner.decoders.reading import Doubles, Look
from captioner.photo.framing import Prepared, Singles
from captioner.result.candidates import Candidates
from captioner.result.caption import Candidate, Caption, Rival, Word, select_attention
from captioner.result.rollout import rollout
from captioner.words.tokenizer import Tokenizer


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
    texts = [tokenizer.decode(ids) for ids in found.tokens]
    return Caption(
        image=photo.image,
        text=texts[0],
        words=()
        if look is None
        else describe_words(
            found.tokens[0], found.log_probabilities[0], look, header=header, grid=grid
        ),
        log_probability=found.log_probability[0],
        candidates=tuple(
            Candidate(text=text, log_probability=total, score=score, tokens=tuple(tokens))
            for text, total, score, tokens in zip(
                texts[1:], found.log_probability[1:], found.score[1:], found.tokens[1:], strict=True
            )
        ),
        geometry=photo.geometry,
        checkpoint=header.name,
        search=search,
        score=found.score[0],
    )


def describe_words(
    tokens: Sequence[int],
    log_probabilities: Sequence[float],
    look: Look,
    *,
    header: Header,
    grid: tuple[int, int],
) -> tuple[Word, ...]:
    """Gather the tokens of a caption, ids without START and END, into words."""
    attention = look.attention.reshape(*look.attention.shape[:-1], *grid)
    rolled_out = None
    if look.between_words is not None:
        rolled = rollout(look.attention.mean(axis=1), look.between_words.mean(axis=1))
        rolled_out = rolled.reshape(-1, *grid)
    words = []
    for shown in header.tokenizer.words(list(tokens)):
        # What is looked at on reading one token decides the next: START goes with the first word.
        own = list(shown.tokens)
        heads = _normalise(attention[:, :, own].mean(axis=2))
        passed = None if rolled_out is None else _normalise(rolled_out[own].mean(axis=0))
        words.append(
            Word(
                text=shown.text,
                probability=math.exp(sum(log_probabilities[t] for t in own)),
                attention=select_attention(heads, passed, AttentionConfig()),
                heads=heads,
                gate=None if look.gate is None else float(look.gate[own].mean()),
                rollout=passed,
            )
        )
    return tuple(words)


def find_rivals(
    logs: Float[Singles, " V"], before: Sequence[int], tokenizer: Tokenizer, *, count: int
) -> tuple[Rival, ...]:
    """Return the likeliest tokens of one place as words, the likeliest first.

    Args:
        logs: log-probabilities of every token there.
        before: ids of the tokens before it.
        tokenizer: the words.
        count: how many.
    """
    rivals = []
    for token in np.argsort(-logs, kind="stable")[:count].tolist():
        words = [] if token == tokenizer.end_id else tokenizer.words([*before, token])
        rivals.append(Rival(words[-1].text if words else "", math.exp(logs[token])))
    return tuple(rivals)


def _normalise(weights: Float[Doubles, "*maps gh gw"]) -> Float[Singles, "*maps gh gw"]:
    """Make every map sum to 1 to float32's precision."""
    weights = weights / weights.sum(axis=(-2, -1), keepdims=True)
    return weights.astype(np.float32)

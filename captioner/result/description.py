"""Candidates and attention of tokens -> a Caption with words."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from captioner.checkpoint.header import Header
from captioner.config import AttentionConfig, SearchConfig
from captioner.decoders.output import CaptionAttention, Float64Array, region_weights
from captioner.photo.framing import Float32Array, Prepared
from captioner.result.candidates import Candidates
from captioner.result.caption import Candidate, Caption, Rival, Word, normalised_attention
from captioner.result.confidence import judge, word_probability
from captioner.result.evidence import weigh_evidence
from captioner.result.rollout import rollout
from captioner.words.tokenizer import Tokenizer


def make_caption(
    photo: Prepared,
    found: Candidates,
    words: tuple[Word, ...],
    *,
    summary: Float[Any, " D"] | None,
    header: Header,
    search: SearchConfig,
) -> Caption:
    """Turn candidates into a caption.

    Args:
        photo: the captioned photo.
        found: its candidates, best first.
        words: words of the first candidate, from `make_words`; empty for a caption without words.
        summary: mean feature of the image; None if the runtime does not provide it.
        header: header of the checkpoint.
        search: decoding settings.
    """
    tokenizer = header.tokenizer
    texts = [tokenizer.decode(ids) for ids in found.tokens]
    caption = Caption(
        image=photo.image,
        text=texts[0],
        words=words,
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
        judgement=judge(found.log_probabilities[0], summary, header.confidence),
    )
    return caption.with_view(header.attention) if caption.words else caption


def make_words(
    tokens: Sequence[int],
    log_probabilities: Sequence[float],
    attended: CaptionAttention,
    *,
    header: Header,
    grid: tuple[int, int],
    prompt: int = 0,
) -> tuple[Word, ...]:
    """Turn the tokens of a caption into words, in the default view.

    Args:
        tokens: ids of the caption, without prefix and END.
        log_probabilities: log-probability of each.
        attended: attention of the caption, prompt included.
        header: header of the checkpoint.
        grid: rows and columns of regions.
        prompt: number of tokens of the prompt.
    """
    rolled_out = None
    if attended.between_words is not None:
        rolled_out = rollout(attended.attention.mean(axis=1), attended.between_words.mean(axis=1))
    gated = attended.gate is not None or attended.attention.shape[-1] > math.prod(grid)
    words = []
    for shown in header.tokenizer.words(list(tokens)):
        # Attention while reading a token decides the next one: that of START, or of the last
        # token of the prompt, belongs to the first word.
        own = list(shown.tokens)
        read = [prompt + token for token in own]
        heads = _to_grid(attended.attention[:, :, read].mean(axis=2), grid)
        passed = None if rolled_out is None else _to_grid(rolled_out[read].mean(axis=0), grid)
        attention, share = normalised_attention(heads, AttentionConfig())
        speaking = None
        if attended.evidence is not None:
            added = region_weights(attended.evidence[own].mean(axis=0), grid).reshape(grid)
            speaking = np.float32(share) * weigh_evidence(heads[-1], added)
        depending = None
        if attended.gradient is not None:
            gains = region_weights(attended.gradient[own].mean(axis=0), grid).reshape(grid)
            gains = gains if gains.any() else np.ones(grid)  # no gradient is positive
            depending = (share * gains / gains.sum()).astype(np.float32)
        let_in = 1.0 if attended.gate is None else float(attended.gate[read].mean())
        probability = word_probability([log_probabilities[t] for t in own], header.confidence)
        words.append(
            Word(
                text=shown.text,
                probability=probability,
                attention=attention,
                heads=heads,
                gate=let_in * share if gated else None,
                rollout=passed,
                evidence=speaking,
                gradient=depending,
                doubtful=header.confidence is not None and probability < header.confidence.doubtful,
            )
        )
    return tuple(words)


def find_rivals(
    logs: Float[Float32Array, " V"], before: Sequence[int], tokenizer: Tokenizer, *, count: int
) -> tuple[Rival, ...]:
    """Return the likeliest tokens at one position as words, likeliest first.

    Args:
        logs: log-probability of every token at this position.
        before: ids of the tokens before it.
        tokenizer: decodes them.
        count: number of tokens to return.
    """
    rivals = []
    for token in np.argsort(-logs, kind="stable")[:count].tolist():
        words = [] if token == tokenizer.end_id else tokenizer.words([*before, token])
        rivals.append(Rival(words[-1].text if words else "", math.exp(logs[token])))
    return tuple(rivals)


def _to_grid(
    weights: Float[Float64Array, "*maps P"], grid: tuple[int, int]
) -> Float[Float32Array, "*maps gh gw"]:
    """Arrange region weights as maps, which sum to 1 if nothing but regions was attended to."""
    regions = region_weights(weights, grid)
    if regions.shape == weights.shape:
        regions = regions / regions.sum(axis=-1, keepdims=True)
    maps: Float32Array = regions.reshape(*weights.shape[:-1], *grid).astype(np.float32)
    return maps

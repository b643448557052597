"""Beam search."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.candidates import NOTHING
from captioner.config import SearchConfig
from captioner.model.decoder import Decoder, DecoderState
from captioner.search.hypotheses import (
    Rows,
    Steps,
    candidates,
    log_probabilities,
    no_words,
    top,
)


def beam_search(
    decoder: Decoder,
    state: DecoderState,
    latest: Int[Tensor, "B 1"],
    *,
    config: SearchConfig,
    end_id: int,
    banned: Int[Tensor, " F"],
) -> Steps:
    """Search with K live hypotheses of each image, and the K best finished ones kept apart.

    Of all continuations of the live hypotheses by one word, those among the K likeliest that end
    are finished, and the K likeliest that do not end live on. An image is done when no live
    hypothesis can beat a kept one any more.
    """
    beam, longest, penalty = config.beam, config.max_words + 1, config.length_penalty
    images = torch.arange(len(latest), device=latest.device)  # still searched
    live = no_words(len(images), 1, longest, value=0.0, device=latest.device)
    kept = no_words(len(images), beam, longest, value=-math.inf, device=latest.device)
    best = kept  # of all images; `live` and `kept` are of those still searched
    for length in range(1, longest):
        logits, state = decoder.step(latest, state)
        log_p = log_probabilities(logits, banned)
        continuations = (live.value[..., None] + log_p).flatten(1)  # (B, K*V)
        # At most one continuation of a hypothesis ends, so K of these 2K do not.
        value, places = top(continuations, min(2 * beam, continuations.shape[1]))
        parents, words = places // log_p.shape[-1], places % log_p.shape[-1]
        grown = live.take(parents)._replace(value=value)
        grown.words[..., length - 1] = words
        grown.logs[..., length - 1] = log_p.flatten(1).gather(1, places)
        ended = words == end_id

        score = value.masked_fill(~ended, -math.inf) / length**penalty
        kept = kept.add(Rows(*(x[:, :beam] for x in grown._replace(value=score))))
        value, picks = top(value.masked_fill(ended, -math.inf), min(beam, value.shape[1]))
        live = grown.take(picks)._replace(value=value)
        best = best.put(images, kept)

        going = (_bound(live, length, config) > kept.value[:, -1]).nonzero()[:, 0]
        if len(going) == 0:
            break
        moves, before = parents.gather(1, picks), latest.shape[1]
        if moves.shape[1] != before or (moves != torch.arange(before, device=moves.device)).any():
            state = state.reorder(moves)
        latest = words.gather(1, picks)
        if len(going) < len(images):
            state, live, kept = state.select(going), live.select(going), kept.select(going)
            images, latest = images[going], latest[going]
        yield live
    else:
        log_p = log_probabilities(decoder.step(latest, state)[0], banned)
        best = best.put(images, kept.add(_stop(live, log_p, end_id=end_id, penalty=penalty)))
    return candidates(best, end_id=end_id, length_penalty=penalty)


def _bound(live: Rows, length: int, config: SearchConfig) -> Float[Tensor, " B"]:
    """Return the best score that any live hypothesis of this length can still reach.

    A log-probability never rises, so at best it stays, at the length that flatters it most.
    """
    best = live.value[:, 0]
    nearest, farthest = min(length + 1, config.max_words), config.max_words + 1
    return torch.maximum(
        best / nearest**config.length_penalty, best / farthest**config.length_penalty
    )


def _stop(live: Rows, log_p: Float[Tensor, "B K V"], *, end_id: int, penalty: float) -> Rows:
    """Score hypotheses of `max_words` words: finished where END comes next, else as they stand."""
    ended = log_p.argmax(dim=-1) == end_id
    words, logs = live.words.clone(), live.logs.clone()
    words[..., -1] = torch.where(ended, end_id, NOTHING)
    logs[..., -1] = torch.where(ended, log_p[..., end_id], 0.0)
    length = words.shape[-1] - 1 + ended.int()
    return Rows(words, logs, value=(live.value + logs[..., -1]) / length**penalty)

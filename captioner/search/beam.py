"""Beam search; where a caption has to say something, with a beam for each part of it said."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.candidates import NOTHING
from captioner.config import SearchConfig
from captioner.model.decoder import Decoder, DecoderState
from captioner.rules import Rules
from captioner.search.hypotheses import (
    Rows,
    Steps,
    candidates,
    log_probabilities,
    no_words,
    top,
)
from captioner.search.obedience import obey
from captioner.search.progress import progress


def beam_search(
    decoder: Decoder,
    state: DecoderState,
    latest: Int[Tensor, "B 1"],
    *,
    config: SearchConfig,
    end_id: int,
    banned: Int[Tensor, " F"],
    rules: Rules,
) -> Steps:
    """Search with K live hypotheses of each image, and the K best finished ones kept apart.

    Of all continuations of the live hypotheses by one word, those among the K likeliest that end
    are finished, and the K likeliest that do not end live on. An image is done when no live
    hypothesis can beat a kept one any more.

    What is required divides hypotheses into S classes by what they have said of it. Those that have
    said more may be less likely, and so as not to be crowded out, K live in each class (Anderson et
    al. 2017, section 3.2, arXiv:1612.00576); only the last, who have said all, may end. Where
    nothing is required, S is 1.
    """
    beam, longest, penalty = config.beam, config.max_words + 1, config.length_penalty
    images = torch.arange(len(latest), device=latest.device)  # still searched
    live = no_words(len(images), 1, longest, value=0.0, device=latest.device)
    kept = no_words(len(images), beam, longest, value=-math.inf, device=latest.device)
    best = kept  # of all images; `live` and `kept` are of those still searched
    classes = torch.zeros(1, dtype=torch.long, device=latest.device)  # of the live hypotheses
    for length in range(1, longest):
        logits, state = decoder.step(latest, state)
        log_p = log_probabilities(logits, banned)
        if length == 1:
            leads = progress(rules.required, words=log_p.shape[-1], end_id=end_id)  # (S, V)
            leads = leads.to(log_p.device)
        log_p = obey(rules, log_p, live.words[..., : length - 1], end_id=end_id)
        # At most one continuation of a hypothesis ends, so K of these 2K do not.
        value, places = _likeliest(live.value[..., None] + log_p, classes, leads, 2 * beam)
        parents, words = places // log_p.shape[-1], places % log_p.shape[-1]
        grown = live.take(parents)._replace(value=value)
        grown.words[..., length - 1] = words
        grown.logs[..., length - 1] = log_p.flatten(1).gather(1, places)
        ended = words == end_id

        score = value.masked_fill(~ended, -math.inf) / length**penalty
        complete = value.shape[1] * (len(leads) - 1) // len(leads)  # where the last class begins
        kept = kept.add(
            Rows(*(x[:, complete : complete + beam] for x in grown._replace(value=score)))
        )
        value, picks = _top_of_each(value.masked_fill(ended, -math.inf), len(leads), beam)
        live = grown.take(picks)._replace(value=value)
        classes = torch.arange(len(leads), device=picks.device)
        classes = classes.repeat_interleave(picks.shape[1] // len(leads))
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
        log_p = obey(rules, log_p, live.words[..., :-1], end_id=end_id)
        live.value[:, classes < len(leads) - 1] = -math.inf
        best = best.put(images, kept.add(_stop(live, log_p, end_id=end_id, penalty=penalty)))
    return candidates(best, end_id=end_id, length_penalty=penalty)


def _likeliest(
    values: Float[Tensor, "B K V"],
    classes: Int[Tensor, " K"],
    leads: Int[Tensor, "S V"],
    count: int,
) -> tuple[Float[Tensor, "B N"], Int[Tensor, "B N"]]:
    """Return the likeliest continuations into each class, and their places among all."""
    count = min(count, values.shape[1] * values.shape[2])
    if len(leads) == 1:
        return top(values.flatten(1), count)
    arriving = leads[classes]  # (K, V)
    found = [
        top(values.masked_fill(arriving != c, -math.inf).flatten(1), count)
        for c in range(len(leads))
    ]
    value, places = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return value, places


def _top_of_each(
    values: Float[Tensor, "B N"], classes: int, count: int
) -> tuple[Float[Tensor, "B J"], Int[Tensor, "B J"]]:
    """Return the largest values of each class, and their places; classes are equally large."""
    images, size = len(values), values.shape[1] // classes
    largest, places = top(values.view(images * classes, size), min(count, size))
    places = places + size * torch.arange(classes, device=places.device).repeat(images)[:, None]
    shape = (images, classes * largest.shape[1])
    return largest.view(shape), places.view(shape)


def _bound(live: Rows, length: int, config: SearchConfig) -> Float[Tensor, " B"]:
    """Return the best score that any live hypothesis of this length can still reach.

    A log-probability never rises, so at best it stays, at the length that flatters it most.
    """
    best = live.value.amax(dim=1)
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

"""Beam search; where a caption has to say something, with a beam for each part of it said."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captioner.candidates import NOTHING
from captioner.config import SearchConfig
from captioner.model.decoder import Decoder, DecoderState
from captioner.rules import Rules
from captioner.search.groups import first_open, likeliest_of_groups
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

    Each of G groups is searched like an image of its own, a row of `live` and `kept`, but with the
    hypotheses of its image in one step of the decoder, and one after the other.
    """
    groups, beam = config.groups, config.beam // config.groups
    longest, penalty = config.max_words + 1, config.length_penalty
    images = torch.arange(len(latest), device=latest.device)  # still searched
    latest = latest.expand(-1, groups)
    state = state.reorder(torch.zeros_like(latest))
    live = no_words(len(images) * groups, 1, longest, value=0.0, device=latest.device)
    kept = no_words(len(images) * groups, beam, longest, value=-math.inf, device=latest.device)
    best = kept  # of all images; `live` and `kept` are of those still searched
    classes = torch.zeros(1, dtype=torch.long, device=latest.device)  # of the live hypotheses
    for length in range(1, longest):
        logits, state = decoder.step(latest, state)
        log_p = log_probabilities(logits.view(*live.value.shape, logits.shape[-1]), banned)
        if length == 1:
            leads = progress(  # (S, V)
                rules.required, words=log_p.shape[-1], end_id=end_id
            ).to(log_p.device)
        log_p = obey(rules, log_p, live.words[..., : length - 1], end_id=end_id)
        # At most one continuation of a hypothesis ends, so K of these 2K do not.
        totals, count = live.value[..., None] + log_p, 2 * beam
        value, places = (
            _likeliest(totals, classes, leads, count)
            if groups == 1
            else likeliest_of_groups(totals, count, config=config, end_id=end_id)
        )
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
        picks = _open_of_each(ended, len(leads), beam)
        live = grown._replace(value=value.masked_fill(ended, -math.inf)).take(picks)
        classes = torch.arange(len(leads), device=picks.device).repeat_interleave(
            picks.shape[1] // len(leads)
        )
        best = best.put(_rows_of(images, groups), kept)

        hopeful = _bound(live, length, config) > kept.value[:, -1]
        going = hopeful.view(-1, groups).any(dim=1).nonzero()[:, 0]
        if len(going) == 0:
            break
        moves, before = _side_by_side(parents.gather(1, picks), groups, latest), latest.shape[1]
        if moves.shape[1] != before or (moves != torch.arange(before, device=moves.device)).any():
            state = state.reorder(moves)
        latest = words.gather(1, picks).view_as(moves)
        if len(going) < len(images):
            rows = _rows_of(going, groups)
            state, live, kept = state.select(going), live.select(rows), kept.select(rows)
            images, latest = images[going], latest[going]
        yield live.gather_groups(groups)
    else:
        log_p = log_probabilities(decoder.step(latest, state)[0], banned)
        log_p = log_p.view(*live.value.shape, log_p.shape[-1])
        log_p = obey(rules, log_p, live.words[..., :-1], end_id=end_id)
        live.value[:, classes < len(leads) - 1] = -math.inf
        stopped = _stop(live, log_p, end_id=end_id, penalty=penalty)
        best = best.put(_rows_of(images, groups), kept.add(stopped))
    return candidates(best.gather_groups(groups), end_id=end_id, length_penalty=penalty)


def _rows_of(images: Int[Tensor, " N"], groups: int) -> Int[Tensor, " R"]:
    """Return the rows of these images' groups."""
    return (images[:, None] * groups + torch.arange(groups, device=images.device)).flatten()


def _side_by_side(
    parents: Int[Tensor, "R J"], groups: int, latest: Int[Tensor, "B L"]
) -> Int[Tensor, "B N"]:
    """Number the parents as they stand in the decoder's state, one group's after another's."""
    first = torch.arange(groups, device=parents.device) * (latest.shape[1] // groups)
    return (parents.unflatten(0, (-1, groups)) + first[:, None]).flatten(1)


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


def _open_of_each(ended: Bool[Tensor, "R N"], classes: int, count: int) -> Int[Tensor, "R J"]:
    """Return the likeliest of each class that go on; classes are equally large, likeliest first."""
    by_class = ended.unflatten(1, (classes, -1))
    first = torch.arange(classes, device=ended.device)[:, None] * by_class.shape[2]
    return (first_open(by_class, count) + first).flatten(1)


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

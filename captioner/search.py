"""Search for captions: greedy, beam and sampling, written once for any decoder.

Search knows words, hypotheses and probabilities; it never asks which decoder it has, and it carries
no attention: read the winner back with `decoder.forward(..., with_attention=True)`.

A word's probability is the softmax of the decoder's logits over the words that are not forbidden,
whatever the method: temperature, top-k and top-p decide what is drawn, not what is reported.

Each image is searched on its own: those around it in the batch change nothing but the rounding of
the decoder's arithmetic. Between equally likely hypotheses the better parent goes first, then the
lower word id.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from captioner.config import SearchConfig
from captioner.model.decoder import Decoder, DecoderState

Choose = Callable[[Float[Tensor, "B V"]], Int[Tensor, " B"]]

_NOTHING = -1  # in place of a word, after the last one


@dataclass(frozen=True)
class Candidates:
    """Captions found for one image, best first; every list has one entry per caption."""

    words: list[list[int]]
    """Word ids, without START and END."""
    log_probabilities: list[list[float]]
    """Of each word given those before it; END's comes last where the caption is finished."""
    log_probability: list[float]
    """Of the whole caption: the sum over its words, and END."""
    score: list[float]
    """What ranks captions: log-probability / length ** length_penalty; the length counts END."""
    finished: list[bool]
    """Whether END came; if not, the caption was cut at `max_words`."""


@torch.inference_mode()
def search(
    decoder: Decoder,
    features: Float[Tensor, "B P D"],
    *,
    config: SearchConfig,
    start_id: int,
    end_id: int,
    forbidden: Sequence[int],
    mask: Bool[Tensor, "B P"] | None = None,
) -> list[Candidates]:
    """Caption every image: `config.beam` candidates by beam search, one by the other methods.

    A hypothesis of `max_words` words is read once more: it is finished if END comes next, and
    otherwise competes as it stands.

    Args:
        decoder: in evaluation mode.
        features: regions of the images, from the encoder.
        config: method and limits.
        start_id: the word every caption is begun with; not part of the result.
        end_id: the word that finishes a caption; not part of the result.
        forbidden: words that are never produced, such as padding, START and unknown.
        mask: True marks a real region.

    Returns:
        Candidates of each image. There are fewer than `beam` only where fewer captions exist.

    Raises:
        ValueError: the decoder is in training mode, so dropout would make captions random.
    """
    if getattr(decoder, "training", False):
        raise ValueError("search needs a decoder in evaluation mode; call .eval() first.")
    state = decoder.init_state(features, mask)
    latest = torch.full((len(features), 1), start_id, device=features.device)
    banned = torch.tensor(list(forbidden), dtype=torch.long, device=features.device)
    if config.method == "beam":
        return _beam(decoder, state, latest, config=config, end_id=end_id, banned=banned)
    choose = _likeliest if config.method == "greedy" else _sampler(config)
    return _walk(decoder, state, latest, choose, config=config, end_id=end_id, banned=banned)


class _Rows(NamedTuple):
    """K hypotheses of each image, best first."""

    words: Int[Tensor, "B K T"]
    """END included, then `_NOTHING` up to T = max_words + 1."""
    logs: Float[Tensor, "B K T"]
    """Log-probability of each word."""
    value: Float[Tensor, "B K"]
    """What ranks them: log-probability while live, score when kept; minus infinity if absent."""

    def take(self, picks: Int[Tensor, "B J"]) -> "_Rows":
        """Take these hypotheses of each image."""
        images = torch.arange(len(picks), device=picks.device)[:, None]
        return _Rows(*(x[images, picks] for x in self))

    def select(self, images: Int[Tensor, " N"]) -> "_Rows":
        """Take these images."""
        return _Rows(*(x[images] for x in self))

    def put(self, images: Int[Tensor, " N"], others: "_Rows") -> "_Rows":
        """Put the others in the place of these images."""
        return _Rows(*(x.index_copy(0, images, y) for x, y in zip(self, others, strict=True)))

    def add(self, others: "_Rows") -> "_Rows":
        """Keep the best of both, as many as there are here."""
        both = _Rows(*(torch.cat(pair, dim=1) for pair in zip(self, others, strict=True)))
        value, picks = _top(both.value, self.value.shape[1])
        return both.take(picks)._replace(value=value)


def _beam(
    decoder: Decoder,
    state: DecoderState,
    latest: Int[Tensor, "B 1"],
    *,
    config: SearchConfig,
    end_id: int,
    banned: Int[Tensor, " F"],
) -> list[Candidates]:
    """Beam search with K live hypotheses of each image, and the K best finished ones kept apart.

    Of the likeliest continuations, those among the first K that end are finished; the first K that
    do not end live on. An image is done when no live hypothesis can still beat a kept one.
    """
    beam, longest, penalty = config.beam, config.max_words + 1, config.length_penalty
    images = torch.arange(len(latest), device=latest.device)
    live = _no_words(len(images), 1, longest, value=0.0, device=latest.device)
    kept = _no_words(len(images), beam, longest, value=-math.inf, device=latest.device)
    best = kept  # of all images, while `kept` is of those still searched
    for length in range(1, longest):
        logits, state = decoder.step(latest, state)
        log_p = _log_probabilities(logits, banned)
        words = log_p.shape[-1]
        continuations = (live.value[..., None] + log_p).flatten(1)
        # One in a parent's continuations ends, so K of these at most.
        value, index = _top(continuations, min(2 * beam, continuations.shape[1]))
        parents, latest = index // words, index % words
        grown = live.take(parents)._replace(value=value)
        grown.words[..., length - 1] = latest
        grown.logs[..., length - 1] = log_p.flatten(1).gather(1, index)
        ended = latest == end_id

        score = value.masked_fill(~ended, -math.inf)[:, :beam] / length**penalty
        kept = kept.add(_Rows(grown.words[:, :beam], grown.logs[:, :beam], score))
        value, picks = _top(value.masked_fill(ended, -math.inf), min(beam, value.shape[1]))
        live = grown.take(picks)._replace(value=value)
        latest, parents = latest.gather(1, picks), parents.gather(1, picks)

        # A log-probability can only fall, so this is the best that any live hypothesis can become.
        nearest, farthest = min(length + 1, config.max_words), longest
        bound = torch.maximum(value[:, 0] / nearest**penalty, value[:, 0] / farthest**penalty)
        going = (bound > kept.value[:, -1]).nonzero()[:, 0]
        best = best.put(images, kept)
        if len(going) == 0:
            break
        state = state.reorder(parents)
        if len(going) < len(images):
            state, live, kept = state.select(going), live.select(going), kept.select(going)
            images, latest = images[going], latest[going]
    else:
        logits, _ = decoder.step(latest, state)
        log_p = _log_probabilities(logits, banned)
        ended = log_p.argmax(dim=-1) == end_id
        live.words[..., -1] = torch.where(ended, end_id, _NOTHING)
        live.logs[..., -1] = torch.where(ended, log_p[..., end_id], 0.0)
        score = (live.value + live.logs[..., -1]) / (config.max_words + ended.int()) ** penalty
        best = best.put(images, kept.add(live._replace(value=score)))
    return _candidates(best, end_id, penalty)


def _walk(
    decoder: Decoder,
    state: DecoderState,
    latest: Int[Tensor, "B 1"],
    choose: Choose,
    *,
    config: SearchConfig,
    end_id: int,
    banned: Int[Tensor, " F"],
) -> list[Candidates]:
    """Choose one word after the other, never turning back."""
    images = torch.arange(len(latest), device=latest.device)
    path = _no_words(len(images), 1, config.max_words + 1, value=0.0, device=latest.device)
    for t in range(config.max_words + 1):
        if len(images) == 0:
            break
        logits, state = decoder.step(latest, state)
        log_p = _log_probabilities(logits, banned)[:, 0]
        word = choose(log_p)
        path.words[images, 0, t] = word
        path.logs[images, 0, t] = log_p.gather(1, word[:, None])[:, 0]
        going = (word != end_id).nonzero()[:, 0]
        state, images, latest = state.select(going), images[going], word[going, None]
    beyond = path.words[..., -1]  # only END may stand here
    beyond[beyond != end_id] = _NOTHING
    return _candidates(path, end_id, config.length_penalty)


def _likeliest(log_p: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
    return log_p.argmax(dim=-1)


def _sampler(config: SearchConfig) -> Choose:
    """Make a way to draw words: temperature first, then top-k, then top-p of what is left.

    Adding Gumbel noise to log-probabilities and taking the largest draws from them (Maddison et al.
    2014, section 2, arXiv:1411.0030). Noise depends on the seed and the step alone, and is drawn on
    the CPU: a seed and a photo give the same caption in any batch, on any device.
    """
    generator = torch.Generator().manual_seed(config.seed)

    def choose(log_p: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
        words = log_p.shape[1]
        noise = -torch.empty(words, dtype=torch.float64).exponential_(generator=generator).log()
        likely, order = log_p.cpu().double().sort(dim=-1, descending=True, stable=True)
        likely = (likely - likely[:, :1]) / config.temperature  # the first stays 0, however cold
        if config.top_k:
            likely[:, config.top_k :] = -math.inf
        if config.top_p < 1:
            p = likely.softmax(dim=-1)
            likely[p.cumsum(dim=-1) - p >= config.top_p] = -math.inf
        drawn = (likely + noise[order]).argmax(dim=-1, keepdim=True)
        return order.gather(1, drawn)[:, 0].to(log_p.device)

    return choose


def _log_probabilities(
    logits: Float[Tensor, "B K V"], banned: Int[Tensor, " F"]
) -> Float[Tensor, "B K V"]:
    """Return log-probabilities among the words that are not banned."""
    return logits.float().index_fill(-1, banned, -math.inf).log_softmax(dim=-1)


def _top(
    values: Float[Tensor, "B N"], count: int
) -> tuple[Float[Tensor, "B J"], Int[Tensor, "B J"]]:
    """Return the largest values of each row and where they are; of equals, the first.

    `torch.topk` leaves both the choice and the order of equals open.
    """
    least = values.topk(count).values[:, -1:]
    size = values.shape[1]
    place = torch.arange(size, device=values.device)
    beyond = torch.where(values == least, 0, torch.where(values > least, -size, size))
    chosen = (place + beyond).topk(count, largest=False).indices
    largest, order = values.gather(1, chosen).sort(dim=-1, descending=True, stable=True)
    return largest, chosen.gather(1, order)


def _no_words(
    images: int, count: int, longest: int, *, value: float, device: torch.device
) -> _Rows:
    """Make hypotheses of no words yet."""
    return _Rows(
        words=torch.full((images, count, longest), _NOTHING, device=device),
        logs=torch.zeros((images, count, longest), device=device),
        value=torch.full((images, count), value, device=device),
    )


def _candidates(rows: _Rows, end_id: int, penalty: float) -> list[Candidates]:
    """Turn the hypotheses of each image into plain lists."""
    return [
        _rank(*image, end_id=end_id, penalty=penalty)
        for image in zip(*(x.tolist() for x in rows), strict=True)
    ]


def _rank(
    words: list[list[int]],
    logs: list[list[float]],
    value: list[float],
    *,
    end_id: int,
    penalty: float,
) -> Candidates:
    lengths = [sum(word != _NOTHING for word in row) for row in words]
    totals = [math.fsum(row[:n]) for row, n in zip(logs, lengths, strict=True)]
    scores = [total / max(n, 1) ** penalty for total, n in zip(totals, lengths, strict=True)]
    order = [k for k in range(len(words)) if value[k] > -math.inf]  # fewer captions may exist
    order.sort(key=lambda k: -scores[k])
    finished = [words[k][lengths[k] - 1] == end_id for k in order]
    return Candidates(
        words=[words[k][: lengths[k] - ended] for k, ended in zip(order, finished, strict=True)],
        log_probabilities=[logs[k][: lengths[k]] for k in order],
        log_probability=[totals[k] for k in order],
        score=[scores[k] for k in order],
        finished=finished,
    )

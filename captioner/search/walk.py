"""Greedy search and sampling: one word after the other, never turning back."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.candidates import NOTHING
from captioner.config import SearchConfig
from captioner.model.decoder import Decoder, DecoderState
from captioner.rules import Rules
from captioner.search.hypotheses import (
    Steps,
    candidates,
    log_probabilities,
    no_words,
)
from captioner.search.obedience import obey

Choose = Callable[[Float[Tensor, "B V"]], Int[Tensor, " B"]]
"""Picks the next word of each image from the words' log-probabilities."""


def walk(
    decoder: Decoder,
    state: DecoderState,
    latest: Int[Tensor, "B 1"],
    choose: Choose,
    *,
    config: SearchConfig,
    end_id: int,
    banned: Int[Tensor, " F"],
    rules: Rules,
) -> Steps:
    """Follow the chosen words until END, or one step past `max_words`."""
    images = torch.arange(len(latest), device=latest.device)  # not finished yet
    path = no_words(len(images), 1, config.max_words + 1, value=0.0, device=latest.device)
    for t in range(config.max_words + 1):
        if t:
            yield path.select(images)
        logits, state = decoder.step(latest, state)
        log_p = log_probabilities(logits, banned)
        log_p = obey(rules, log_p, path.words[images, :, :t], end_id=end_id)[:, 0]
        words = choose(log_p)
        path.words[images, 0, t] = words
        path.logs[images, 0, t] = log_p.gather(1, words[:, None])[:, 0]
        going = (words != end_id).nonzero()[:, 0]
        if len(going) == 0:
            break
        latest = words[going, None]
        if len(going) < len(images):
            state, images = state.select(going), images[going]
    past_the_limit = path.words[..., -1]
    past_the_limit[past_the_limit != end_id] = NOTHING
    return candidates(path, end_id=end_id, length_penalty=config.length_penalty)


def likeliest(log_p: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
    """Choose the likeliest word; of equals, the one with the lowest id."""
    return log_p.argmax(dim=-1)


def sampler(config: SearchConfig) -> Choose:
    """Make a way to draw words: temperature first, then top-k, then top-p of what is left.

    The largest of log-probabilities with Gumbel noise added is a draw from them (Maddison et al.
    2014, section 2, arXiv:1411.0030). The noise depends on the seed and the step alone and is made
    on the CPU, so a seed and a photo give the same caption in any batch and on any device.
    """
    generator = torch.Generator().manual_seed(config.seed)

    def draw(log_p: Float[Tensor, "B V"]) -> Int[Tensor, " B"]:
        noise = torch.empty(log_p.shape[1], dtype=torch.float64)
        noise = -noise.exponential_(generator=generator).log()
        likely, words = log_p.cpu().double().sort(dim=-1, descending=True, stable=True)
        likely = (likely - likely[:, :1]) / config.temperature  # however cold, the first stays 0
        if config.top_k:
            likely[:, config.top_k :] = -math.inf
        if config.top_p < 1:
            p = likely.softmax(dim=-1)
            likely[p.cumsum(dim=-1) - p >= config.top_p] = -math.inf
        drawn = (likely + noise[words]).argmax(dim=-1, keepdim=True)
        return words.gather(1, drawn)[:, 0].to(log_p.device)

    return draw

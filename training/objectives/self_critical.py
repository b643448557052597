"""Self-critical training: learn from the CIDEr-D of captions the model draws itself.

Source: Rennie et al. 2017, section 3 (arXiv:1612.00563). The baseline of a caption is the mean
reward of the others drawn for the same image, as in Luo 2020, section 3 (arXiv:2003.09971).
"""

import math

import torch
from torch import Tensor

from captioner.config import SearchConfig
from captioner.model import Decoder
from captioner.search import search
from captioner.words.constraints import constraints_of
from captioner.words.tokenizer import Tokenizer
from training.objectives.loss import ALONE, Average
from training.objectives.overlap import pad


def draw_captions(
    decoder: Decoder,
    features: Tensor,
    *,
    count: int,
    max_words: int,
    tokenizer: Tokenizer,
    temperature: float | None = 1.0,
) -> Tensor:
    """Draw captions from the decoder's own distribution, or take the best by beam search.

    What the beam finds is closer to what the model says: Cornia et al. 2020, section 3.3
    (arXiv:1912.08226).

    Args:
        decoder: captions without dropout.
        features: (B, P, D).
        count: K, captions of each image.
        max_words: longest caption, END not counted.
        tokenizer: gives the special ids.
        temperature: divides the logits; below 1 it keeps draws to likelier words. None takes those
            of the beam, best first, and the last one again where no more captions exist.

    Returns:
        Ids (B, K, T), the tokenizer's prefix first, END last where it came, then padding.
    """
    if temperature is None:
        config, noise = SearchConfig(method="beam", beam=count, max_words=max_words), None
    else:
        config = SearchConfig(method="sample", max_words=max_words, temperature=temperature)
        noise = torch.rand(len(features), count, max_words + 1, device=features.device)
    constraints = constraints_of(config, tokenizer)
    rows = []
    for found in search(decoder, features, config=config, constraints=constraints, noise=noise):
        own = [
            [*tokenizer.prefix, *tokens, *[tokenizer.end_id] * finished]
            for tokens, finished in zip(found.tokens, found.finished, strict=True)
        ]
        rows += [*own, *own[-1:] * (count - len(own))]
    return pad(rows, pad_id=tokenizer.pad_id).to(features.device).unflatten(0, (-1, count))


def self_critical_loss(
    logits: Tensor,
    words: Tensor,
    rewards: Tensor,
    *,
    temperature: float,
    tokenizer: Tokenizer,
    average: Average = ALONE,
) -> Tensor:
    """Raise the probability of captions better than their siblings, lower that of the others.

    Args:
        logits: (B, K, T, V) on reading `words[..., :-1]`.
        words: (B, K, T + 1) drawn captions, START first.
        rewards: (B, K).
        temperature: with which the captions were drawn; what is learned is the distribution that
            they came from.
        tokenizer: gives the special ids.
        average: how totals over all words become means.
    """
    count = rewards.shape[1]
    baseline = (rewards.sum(dim=1, keepdim=True) - rewards) / (count - 1)
    log_p = _allowed(logits, temperature, tokenizer).log_softmax(dim=-1)
    drawn = words[:, :, 1:]
    real = drawn != tokenizer.pad_id
    chosen = log_p.gather(-1, drawn[..., None]).squeeze(-1).masked_fill(~real, 0.0)
    return average(-((rewards - baseline)[..., None] * chosen).sum(), real.sum())


def _allowed(logits: Tensor, temperature: float, tokenizer: Tokenizer) -> Tensor:
    """Scores of the words that may be written, before softmax."""
    banned = torch.tensor(tokenizer.never_written, device=logits.device)
    return (logits.float() / temperature).index_fill(-1, banned, -math.inf)

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
from captioner.tokenizer import Tokenizer
from training.loss import ALONE, Average
from training.overlap import pad


@torch.no_grad()
def draw_captions(
    decoder: Decoder,
    features: Tensor,
    *,
    count: int,
    max_words: int,
    temperature: float,
    tokenizer: Tokenizer,
) -> Tensor:
    """Draw captions word by word from the decoder's own distribution.

    Args:
        decoder: in evaluation mode.
        features: (B, P, D).
        count: K, captions drawn for each image.
        max_words: longest caption, END not counted.
        temperature: divides the logits; below 1 it keeps draws to likelier words.
        tokenizer: gives the special ids.

    Returns:
        Ids (B, K, T), START first, END last where it came, then padding.
    """
    images, device = len(features), features.device
    state = decoder.init_state(features)
    state = state.reorder(torch.zeros(images, count, dtype=torch.long, device=device))
    words = [torch.full((images, count), tokenizer.start_id, device=device)]
    ended = torch.zeros(images, count, dtype=torch.bool, device=device)
    for _ in range(max_words + 1):
        logits, state = decoder.step(words[-1], state)
        likely = _allowed(logits, temperature, tokenizer).softmax(dim=-1)
        drawn = torch.multinomial(likely.flatten(0, 1), 1).view(images, count)
        words.append(drawn.masked_fill(ended, tokenizer.pad_id))
        ended |= drawn == tokenizer.end_id
        if ended.all():
            break
    return torch.stack(words, dim=-1)


def find_captions(
    decoder: Decoder,
    features: Tensor,
    *,
    count: int,
    max_words: int,
    tokenizer: Tokenizer,
) -> Tensor:
    """Find the best captions by beam search, to draw less from what the model would never say.

    Source: Cornia et al. 2020, section 3.3 (arXiv:1912.08226). Arguments and result are those of
    `draw_captions`; the temperature is 1.
    """
    config = SearchConfig(method="beam", beam=count, max_words=max_words, length_penalty=0.0)
    found = search(
        decoder,
        features,
        config=config,
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        forbidden=tokenizer.never_written,
    )
    rows = []
    for image in found:
        own = [
            [tokenizer.start_id, *words, *[tokenizer.end_id] * finished]
            for words, finished in zip(image.words, image.finished, strict=True)
        ]
        rows += [*own, *own[-1:] * (count - len(own))]  # where no more captions exist
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

"""Scheduled sampling: read one's own words now and then, as one must when nobody dictates.

Source: Bengio et al. 2015, section 2.4 (arXiv:1506.03099). For a decoder that reads all
words at once, those it would say come from a first reading of the people's words, as in Mihaylova
and Martins 2019, section 3 (arXiv:1906.07651).
"""

import torch
from torch import Tensor

from captioner.model import Decoder
from captioner.search import draw, log_probabilities
from captioner.words.tokenizer import Tokenizer


@torch.no_grad()
def mix_words(
    decoder: Decoder, features: Tensor, words: Tensor, *, probability: float, tokenizer: Tokenizer
) -> Tensor:
    """Put words drawn from the decoder in the place of some that people wrote.

    Args:
        decoder: says what it would write.
        features: (B, P, D).
        words: (B, K, T) that are read; the tokenizer's prefix, END and padding stay.
        probability: of each word to be replaced.
        tokenizer: gives the special ids.

    Returns:
        (B, K, T).
    """
    kept = (words == tokenizer.pad_id) | (words == tokenizer.end_id)
    own = (torch.rand(words.shape, device=words.device) < probability) & ~kept
    own[..., : len(tokenizer.prefix)] = False
    if decoder.parallel:
        logits = decoder(features, words).logits
        drawn = _draw(logits[:, :, :-1], tokenizer)
        return torch.where(own, torch.cat([words[:, :, :1], drawn], dim=-1), words)
    state = decoder.init_state(features)
    state = state.reorder(torch.zeros_like(words[:, :, 0]))
    read = [words[:, :, 0]]
    for t in range(1, words.shape[-1]):
        logits, state = decoder.step(read[-1], state)
        read.append(torch.where(own[:, :, t], _draw(logits, tokenizer), words[:, :, t]))
    return torch.stack(read, dim=-1)


def _draw(logits: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Draw a word from each row of scores; END ends nothing here, so it is not drawn."""
    log_p = log_probabilities(logits, [*tokenizer.never_written, tokenizer.end_id])
    return draw(log_p, torch.rand(logits.shape[:-1], device=logits.device))

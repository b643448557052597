"""Scheduled sampling: feed the decoder its own samples during training, against exposure bias.

Source: Bengio et al. 2015, section 2.4 (arXiv:1506.03099). A decoder that reads all tokens in
parallel takes the samples from a first, teacher-forced pass, as in Mihaylova and Martins 2019,
section 3 (arXiv:1906.07651).
"""

import torch
from torch import Tensor

from captioner.model import Decoder
from captioner.search import draw, log_probabilities
from captioner.words.tokenizer import Tokenizer


@torch.no_grad()
def mix_in_samples(
    decoder: Decoder, features: Tensor, words: Tensor, *, probability: float, tokenizer: Tokenizer
) -> Tensor:
    """Replace a random part of the input tokens with samples from the decoder.

    Args:
        decoder: the decoder that is trained.
        features: region features, (B, P, D).
        words: input token ids (B, K, T); the tokenizer's prefix, END and padding are kept.
        probability: probability of replacing each token.
        tokenizer: gives the special ids.

    Returns:
        Input token ids, (B, K, T).
    """
    kept = (words == tokenizer.pad_id) | (words == tokenizer.end_id)
    replaced = (torch.rand(words.shape, device=words.device) < probability) & ~kept
    replaced[..., : len(tokenizer.prefix)] = False
    if decoder.parallel:
        logits = decoder(features, words).logits
        samples = _sample(logits[:, :, :-1], tokenizer)
        return torch.where(replaced, torch.cat([words[:, :, :1], samples], dim=-1), words)
    state = decoder.init_state(features)
    state = state.reorder(torch.zeros_like(words[:, :, 0]))
    inputs = [words[:, :, 0]]
    for t in range(1, words.shape[-1]):
        logits, state = decoder.step(inputs[-1], state)
        samples = _sample(logits, tokenizer)
        inputs.append(torch.where(replaced[:, :, t], samples, words[:, :, t]))
    return torch.stack(inputs, dim=-1)


def _sample(logits: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Sample one token from each row of logits, never END: the sequence keeps its length."""
    log_p = log_probabilities(logits, [*tokenizer.never_written, tokenizer.end_id])
    return draw(log_p, torch.rand(logits.shape[:-1], device=logits.device))

"""Self-critical sequence training (SCST): optimise the CIDEr-D of the model's own captions.

Source: Rennie et al. 2017, section 3 (arXiv:1612.00563). The baseline of a caption is the mean
reward of the other captions of the same image, as in Luo 2020, section 3 (arXiv:2003.09971).
"""

import torch
from torch import Tensor

from captioner.config import SearchConfig
from captioner.model import Decoder
from captioner.search import log_probabilities, search
from captioner.words.constraints import constraints_of
from captioner.words.tokenizer import Tokenizer
from training.objectives.loss import LOCAL_AVERAGE, Average
from training.objectives.overlap import pad


def sample_captions(
    decoder: Decoder,
    features: Tensor,
    *,
    count: int,
    max_words: int,
    tokenizer: Tokenizer,
    temperature: float | None = 1.0,
) -> Tensor:
    """Sample captions from the decoder, or take the candidates of a beam search.

    Beam candidates are closer to the captions used at inference: Cornia et al. 2020, section 3.3
    (arXiv:1912.08226).

    Args:
        decoder: the decoder that is trained, without dropout.
        features: region features, (B, P, D).
        count: K, captions per image.
        max_words: maximum length in tokens, END not counted.
        tokenizer: gives the special ids.
        temperature: divides the logits; below 1 favours likely tokens. None runs a beam search
            instead, best candidate first; the last is repeated if fewer than K exist.

    Returns:
        Token ids (B, K, T): the tokenizer's prefix, the caption, END if it finished, then padding.
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
    average: Average = LOCAL_AVERAGE,
) -> Tensor:
    """Policy gradient loss: raise the probability of captions whose reward exceeds the baseline.

    Args:
        logits: (B, K, T, V), after reading `words[..., :-1]`.
        words: token ids of the sampled captions, (B, K, T + 1), START first.
        rewards: (B, K).
        temperature: sampling temperature of the captions; applied to the logits again, so that the
            gradient is that of the sampling distribution.
        tokenizer: gives the special ids.
        average: turns a total and a count into a mean over all ranks.
    """
    count = rewards.shape[1]
    baseline = (rewards.sum(dim=1, keepdim=True) - rewards) / (count - 1)
    log_p = log_probabilities(logits.float() / temperature, tokenizer.never_written)
    target = words[:, :, 1:]
    real = target != tokenizer.pad_id
    chosen = log_p.gather(-1, target[..., None]).squeeze(-1).masked_fill(~real, 0.0)
    return average(-((rewards - baseline)[..., None] * chosen).sum(), real.sum())

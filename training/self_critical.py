"""Self-critical training: learn from the CIDEr-D of captions the model draws itself.

Source: Rennie et al. 2017, section 3 (arXiv:1612.00563). The baseline of a caption is the mean
reward of the others drawn for the same image, as in Luo 2020, section 3 (arXiv:2003.09971).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from captioner.model import Decoder
from captioner.tokenizer import Tokenizer
from training.metrics.cider import DocumentFrequencies, Vector, document_frequencies, similarity

_SCALE = 10.0  # of CIDEr-D


class CiderReward:
    """CIDEr-D of drawn captions against an image's references, as ids with their end mark.

    The end mark takes part in the n-grams, so that a caption that stops after "with a" is worth
    less than one that comes to an end. Document frequencies are those of the training captions.
    """

    def __init__(self, captions: Mapping[int, Sequence[str]], tokenizer: Tokenizer) -> None:
        """Weigh the n-grams.

        Args:
            captions: training captions by image id.
            tokenizer: turns them into ids.
        """
        end = tokenizer.end_id
        words = {
            image: [[str(i) for i in (*tokenizer.encode(caption), end)] for caption in own]
            for image, own in captions.items()
        }
        self._frequencies: DocumentFrequencies = document_frequencies(words.values())
        self._references = {
            image: [Vector(reference, self._frequencies) for reference in own]
            for image, own in words.items()
        }
        self._pad_id = tokenizer.pad_id

    def __call__(self, words: Tensor, image_ids: Sequence[int]) -> Tensor:
        """Return the reward of each caption, (B, K), from 0 to 10.

        Args:
            words: (B, K, T) ids, START left out, END included, then padding.
            image_ids: the image of each row.
        """
        rewards = [
            [self._score(caption, image) for caption in captions]
            for captions, image in zip(words.tolist(), image_ids, strict=True)
        ]
        return torch.tensor(rewards, device=words.device)

    def _score(self, caption: list[int], image: int) -> float:
        drawn = Vector([str(i) for i in caption if i != self._pad_id], self._frequencies)
        references = self._references[image]
        return _SCALE * sum(similarity(drawn, r) for r in references) / len(references)


@torch.no_grad()
def draw_captions(
    decoder: Decoder,
    features: Tensor,
    *,
    count: int,
    max_words: int,
    tokenizer: Tokenizer,
) -> Tensor:
    """Draw captions word by word from the decoder's own distribution.

    Args:
        decoder: in evaluation mode.
        features: (B, P, D).
        count: K, captions drawn for each image.
        max_words: longest caption, END not counted.
        tokenizer: gives the special ids.

    Returns:
        Ids (B, K, T), START first, END last where it came, then padding.
    """
    images, device = len(features), features.device
    state = decoder.init_state(features)
    state = state.reorder(torch.zeros(images, count, dtype=torch.long, device=device))
    banned = torch.tensor(tokenizer.never_written, device=device)
    words = [torch.full((images, count), tokenizer.start_id, device=device)]
    ended = torch.zeros(images, count, dtype=torch.bool, device=device)
    for _ in range(max_words + 1):
        logits, state = decoder.step(words[-1], state)
        likely = logits.float().index_fill(-1, banned, -math.inf).softmax(dim=-1)
        drawn = torch.multinomial(likely.flatten(0, 1), 1).view(images, count)
        words.append(drawn.masked_fill(ended, tokenizer.pad_id))
        ended |= drawn == tokenizer.end_id
        if ended.all():
            break
    return torch.stack(words, dim=-1)


def self_critical_loss(
    logits: Tensor, words: Tensor, rewards: Tensor, *, tokenizer: Tokenizer
) -> Tensor:
    """Raise the probability of captions better than their siblings, lower that of the others.

    Args:
        logits: (B, K, T, V) on reading `words[..., :-1]`.
        words: (B, K, T + 1) drawn captions, START first.
        rewards: (B, K).
        tokenizer: gives the special ids.
    """
    count = rewards.shape[1]
    baseline = (rewards.sum(dim=1, keepdim=True) - rewards) / (count - 1)
    banned = torch.tensor(tokenizer.never_written, device=words.device)
    log_p = logits.float().index_fill(-1, banned, -math.inf).log_softmax(dim=-1)
    drawn = words[:, :, 1:]
    real = drawn != tokenizer.pad_id
    chosen = log_p.gather(-1, drawn[..., None]).squeeze(-1).masked_fill(~real, 0.0)
    return -((rewards - baseline)[..., None] * chosen).sum() / real.sum()

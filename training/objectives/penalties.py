"""Reward penalties of sampled captions: hallucinations, and captions that fit other photos too."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from captioner.words.tokenizer import Tokenizer
from data.objects import Names
from training.objectives.reward import Reward

_OTHER_PHOTOS = 8
"""Maximum number of other photos in the batch that a caption is compared with."""


def count_hallucinations(
    words: Int[Tensor, "B K T"],
    references: Sequence[Sequence[str]],
    *,
    tokenizer: Tokenizer,
    names: Sequence[Names],
) -> Float[Tensor, "B K"]:
    """Count the things each caption names and no reference does (CHAIR).

    Source: Rohrbach et al. 2018 (arXiv:1809.02156), who count in finished captions.

    Args:
        words: ids of sampled captions, then padding.
        references: captions of each image, as written.
        tokenizer: decodes the ids.
        names: names of things.
    """
    counts = words.new_zeros(words.shape[:2], dtype=torch.float32)
    for image, (own, written) in enumerate(zip(words.tolist(), references, strict=True)):
        known = [set[str]().union(*map(each.known_from, written)) for each in names]
        for k, ids in enumerate(own):
            text = tokenizer.decode(ids)
            invented = {
                mention.first + mention.words  # one thing, whoever knows a name for it
                for each, there in zip(names, known, strict=True)
                for mention in each.find(text)
                if mention.name not in there
            }
            counts[image, k] = len(invented)
    return counts


def score_on_other_photos(
    reward: Reward, words: Int[Tensor, "B K T"], references: Int[Tensor, "B R S"]
) -> Float[Tensor, "B K"]:
    """Return the mean reward of captions against the references of other photos in the batch.

    Source: CIDErBtw of Wang et al. 2020 (arXiv:2007.06877), who compare with similar photos.

    Args:
        reward: compares captions with references.
        words: ids of sampled captions, then padding.
        references: ids of each image's captions, likewise.
    """
    others = range(1, min(_OTHER_PHOTOS + 1, len(words)))
    scores = [reward(words, references.roll(shift, dims=0)) for shift in others]
    if not scores:
        return words.new_zeros(words.shape[:2], dtype=torch.float32)
    return torch.stack(scores).mean(dim=0)

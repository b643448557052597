"""Deletion test: does a word become less likely when what was looked at for it is hidden?

The most attended tenth of the encoder's input is made gray, the mean colour, and for comparison a
tenth drawn at random. Attention that matters makes the word's probability fall further. Source: the
deletion metric of Petsiuk et al. 2018, section 3.2 (arXiv:1806.07421), at a single point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captioner.photo.framing import Prepared
from captioner.pytorch import TorchCaptioner
from data.boxes import WHOLE, region_shares

HIDDEN = 0.1
"""Share of the regions that is hidden, rounded up."""


@dataclass(frozen=True)
class JudgedWord:
    """One word of a caption, and the attention before it."""

    ids: list[int]
    """The caption, START first."""
    tokens: list[int]
    """Positions of the word among the ids after START."""
    attention: Tensor
    """(P), weights of the regions."""


@torch.inference_mode()
def measure_falls(
    captioner: TorchCaptioner,
    photo: Prepared,
    targets: Sequence[JudgedWord],
    *,
    generator: torch.Generator,
) -> Tensor:
    """Return the probabilities of words: of the photo as it is, of both with a tenth hidden.

    Args:
        captioner: the model.
        photo: the encoder's input; only regions that show some of the photo are hidden at random.
        targets: words to measure, N of them.
        generator: draws the regions, on the CPU.

    Returns:
        (N, 3): as it is, without the most attended tenth, without a random tenth.
    """
    model, grid = captioner.model, captioner.model.encoder.grid
    device = next(model.parameters()).device
    places = region_shares([WHOLE], photo.geometry, grid).flatten().nonzero()[:, 0]
    count = math.ceil(HIDDEN * grid[0] * grid[1])
    pixels = torch.from_numpy(photo.pixels)
    views = [pixels]
    for target in targets:
        drawn = places[torch.randperm(len(places), generator=generator)[:count]]
        attended = target.attention.topk(count).indices
        views += [hide(pixels, regions, grid) for regions in (attended, drawn)]
    features = model.encoder(torch.stack(views).to(device))
    rows = []
    for number, target in enumerate(targets):
        seen = features[[0, 1 + 2 * number, 2 + 2 * number]]
        words = torch.tensor(target.ids, device=device).expand(3, 1, -1)
        rows.append(word_probability(captioner, model.decoder(seen, words).logits[:, 0], target))
    return torch.stack(rows)


def hide(pixels: Tensor, regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Make these regions of the encoder's input gray.

    Args:
        pixels: (3, H, W), normalised, so that 0 is the mean colour.
        regions: numbers of the regions, row by row from the top left.
        grid: regions (down, across), which tile the input.
    """
    kept = torch.ones(grid[0] * grid[1], dtype=torch.bool)
    kept[regions] = False
    _, height, width = pixels.shape
    mask = kept.reshape(grid).repeat_interleave(height // grid[0], dim=0)
    return pixels * mask.repeat_interleave(width // grid[1], dim=1)


def word_probability(captioner: TorchCaptioner, logits: Tensor, target: JudgedWord) -> Tensor:
    """Return how likely a word was after those before it, the product over its tokens.

    Args:
        captioner: says which tokens are never written; they take no part.
        logits: (N, T, V), from reading the caption N times.
        target: the word.
    """
    banned = torch.tensor(captioner.header.tokenizer.never_written, device=logits.device)
    logs = logits.float().index_fill(-1, banned, -math.inf).log_softmax(dim=-1)
    chosen = [target.ids[token + 1] for token in target.tokens]
    return logs[:, target.tokens, chosen].sum(dim=-1).exp().cpu()

"""Deletion test: does a word become less likely when its attended regions are hidden?

The most attended tenth of the encoder's input is replaced by the mean colour, and for comparison a
random tenth. If attention matters, the word's probability drops further.

Source: the deletion metric of Petsiuk et al. 2018, section 3.2 (arXiv:1806.07421), at one point.
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
"""Fraction of the regions that is hidden, rounded up."""


@dataclass(frozen=True)
class JudgedWord:
    """One word of a caption, and its attention."""

    ids: list[int]
    """Token ids of the caption, START first."""
    tokens: list[int]
    """Positions of the word's tokens, counted after START."""
    attention: Tensor
    """(P,), weights of the regions."""


@torch.inference_mode()
def measure_drops(
    captioner: TorchCaptioner,
    photo: Prepared,
    targets: Sequence[JudgedWord],
    *,
    generator: torch.Generator,
) -> Tensor:
    """Return the probability of words given the photo, and given the photo with a tenth hidden.

    Args:
        captioner: the model.
        photo: the encoder's input; random regions are drawn from those that show the photo.
        targets: N words to measure.
        generator: random generator on the CPU.

    Returns:
        (N, 3): the whole photo, without the most attended tenth, without a random tenth.
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
    """Set regions of the encoder's input to the mean colour.

    Args:
        pixels: (3, H, W), normalised, so 0 is the mean colour.
        regions: indices of the regions, row by row from the top left.
        grid: rows and columns of regions, which tile the input.
    """
    kept = torch.ones(grid[0] * grid[1], dtype=torch.bool)
    kept[regions] = False
    _, height, width = pixels.shape
    mask = kept.reshape(grid).repeat_interleave(height // grid[0], dim=0)
    return pixels * mask.repeat_interleave(width // grid[1], dim=1)


def word_probability(captioner: TorchCaptioner, logits: Tensor, target: JudgedWord) -> Tensor:
    """Return the probability of a word given those before it, the product over its tokens.

    Args:
        captioner: gives the tokens that are never written, which are excluded.
        logits: (N, T, V), after reading the caption with N inputs.
        target: the word.
    """
    banned = torch.tensor(captioner.header.tokenizer.never_written, device=logits.device)
    logs = logits.float().index_fill(-1, banned, -math.inf).log_softmax(dim=-1)
    chosen = [target.ids[token + 1] for token in target.tokens]
    return logs[:, target.tokens, chosen].sum(dim=-1).exp().cpu()

"""Attention maps of a model that reads human captions, phrase by phrase."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captioner.config import AttentionConfig, AttentionMethod
from captioner.decoders.output import region_weights
from captioner.photo.framing import Prepared
from captioner.pytorch import TorchCaptioner
from captioner.result.caption import contrast, select_attention
from captioner.result.evidence import weigh_evidence
from captioner.result.rollout import rollout
from data.boxes import WHOLE, BoxedImage, place_boxes, region_shares, word_tokens
from training.grounding.deletion import JudgedWord
from training.grounding.gradients import gradient_maps
from training.grounding.pointing import centre_attention, holds, pointing

LONGEST = 40
"""Maximum length of a caption in tokens; longer ones are cut."""


@dataclass(frozen=True)
class PhraseAttention:
    """Measurements of one phrase."""

    kinds: tuple[str, ...]
    baselines: Tensor
    """(3,): uniform attention inside the boxes, centre attention inside the boxes, and whether the
    latter points into one.
    """
    inside: Tensor
    """(W,): attention inside the boxes by view, followed by the maps of
    `training.grounding.gradients.METHODS` if asked for.
    """
    pointed: Tensor
    """(W,): whether the map points into a box, 0 or 1."""
    target: JudgedWord
    """Its last word, for the deletion test."""


def views_of(layers: int, heads: int, *, evidence: bool) -> list[AttentionConfig]:
    """List every attention view of a model: layers, heads, and the methods it supports."""
    views = [
        AttentionConfig(layer=layer, head=head)
        for layer in range(1, layers + 1)
        for head in (*range(1, heads + 1), None)
    ]
    methods: list[AttentionMethod] = ["mean", "rollout"] if layers > 1 else []
    methods += ["contrast", "evidence"] if evidence else ["contrast"]
    return views + [AttentionConfig(method=name) for name in methods]


@torch.inference_mode()
def read_phrases(
    captioner: TorchCaptioner,
    image: BoxedImage,
    photo: Prepared,
    views: Sequence[AttentionConfig],
    *,
    gradients: bool = False,
) -> Iterator[PhraseAttention]:
    """Read the human captions of an image, and measure every phrase with boxes.

    A phrase is skipped if its last word is not in the vocabulary.

    Raises:
        ConfigError: the model does not support one of the views.
    """
    model = captioner.model
    tokenizer = captioner.header.tokenizer.behind(captioner.header.search.prompt)
    grid, geometry = model.encoder.grid, photo.geometry
    device = next(model.parameters()).device
    features = model.encoder(torch.from_numpy(photo.pixels)[None].to(device))
    centre = centre_attention(geometry, grid)
    middle = place_boxes([WHOLE], geometry)[0].reshape(2, 2).mean(dim=0)  # (x, y)
    shown = region_shares([WHOLE], geometry, grid).sum()
    for caption in image.captions:
        ids = [*tokenizer.prefix, *tokenizer.encode(caption.text)[:LONGEST]]
        reading = model.decoder(features, torch.tensor([[ids]], device=device), with_attention=True)
        attention = reading.attention[0, 0]  # (L, M, T, P)
        rolled_out = None
        if reading.between_words is not None:
            rolled_out = rollout(attention.mean(dim=1), reading.between_words[0, 0].mean(dim=1))
        first = len(tokenizer.prefix) - 1
        added = model.decoder.evidence(
            features,
            torch.tensor([ids[first + 1 :]], device=device),
            attention[None, -1, :, first:-1],
        )
        evidence = None if added is None else _weigh(attention[-1, :, first:-1], added[0], grid)
        chosen = [_choose(attention, rolled_out, evidence, view, grid) for view in views]
        tokens = word_tokens(caption.text, tokenizer)
        for phrase in caption.phrases:
            # The attention while reading one token predicts the next one.
            places = [first + t for t in tokens[phrase.first + phrase.words - 1]]
            if (
                not places
                or places[-1] + 1 >= len(ids)
                or not tokenizer.knows(ids[t + 1] for t in places)
            ):
                continue
            maps = torch.stack([own[places].mean(dim=0) for own in chosen])  # (W, P)
            if gradients:
                found = gradient_maps(captioner, torch.from_numpy(photo.pixels), ids, places)
                maps = torch.cat([maps, region_weights(found.mean(dim=0), grid)])
            totals = maps.sum(dim=-1, keepdim=True)  # 0 where no gradient is positive
            maps = torch.where(totals > 0, maps / totals, 1 / maps.shape[-1])
            boxes = place_boxes(phrase.boxes, geometry)
            shares = region_shares(phrase.boxes, geometry, grid)
            flat = shares.flatten()
            baselines = [shares.sum() / shown, centre @ flat, holds(boxes, *middle)]
            yield PhraseAttention(
                kinds=phrase.kinds,
                baselines=torch.stack([value.float() for value in baselines]),
                inside=maps @ flat,
                pointed=pointing(maps, boxes, grid).float(),
                target=JudgedWord(ids=ids, tokens=places, attention=maps[0]),
            )


def _weigh(heads: Tensor, added: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return evidence maps (T, P) from attention (M, T, P) and contributions (T, P)."""
    maps = [
        weigh_evidence(own.reshape(-1, *grid), gain.reshape(grid)).flatten()
        for own, gain in zip(
            region_weights(heads, grid).transpose(0, 1).cpu().numpy(),
            region_weights(added, grid).cpu().numpy(),
            strict=True,
        )
    ]
    return torch.from_numpy(np.stack(maps))


def _choose(
    attention: Tensor,
    rolled_out: Tensor | None,
    evidence: Tensor | None,
    view: AttentionConfig,
    grid: tuple[int, int],
) -> Tensor:
    """Return the weights (T, P) that a view shows for every token read."""
    chosen = region_weights(select_attention(attention, view, rolled_out, evidence), grid).cpu()
    if view.method != "contrast":
        return chosen
    return torch.from_numpy(contrast((chosen / chosen.sum(dim=-1, keepdim=True)).numpy()))

"""Grounding results over many phrases, with intervals, by kind of object, layer and head."""

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from captioner.config import AttentionConfig, to_table
from captioner.errors import DataError
from captioner.pytorch import TorchCaptioner
from data.boxes import BoxedImage
from data.image_source import ImageSource
from data.progress import progress_bar
from training.grounding.deletion import HIDDEN, measure_drops
from training.grounding.generated import GeneratedScore
from training.grounding.gradients import METHODS
from training.grounding.phrases import PhraseAttention, read_phrases, views_of
from training.grounding.pointing import estimate, resampled_means


def measure_grounding(
    captioner: TorchCaptioner,
    images: Sequence[BoxedImage],
    source: ImageSource,
    *,
    view: AttentionConfig,
    deletions: int,
    captions: bool,
    gradients: bool,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Measure all phrases of these images.

    Args:
        captioner: the model.
        images: captions and boxes.
        source: the photos.
        view: attention view to measure; all others are listed for comparison.
        deletions: random words per photo for the deletion test; 0 skips it.
        captions: also ground the model's own captions.
        gradients: also measure gradient-based maps, which is slow.
        resamples: bootstrap resamples of the intervals.
        seed: seed of all random choices.

    Returns:
        JSON values; results are fractions with 95 % confidence intervals.

    Raises:
        CaptionerError: a photo cannot be read, the model does not support the view, or no phrase is
            left.
    """
    captioner.model.eval()
    views = [view, *_views(captioner)]
    generated = GeneratedScore(images, views) if captions else None
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    measured: list[tuple[int, PhraseAttention]] = []
    drops: list[tuple[int, Tensor]] = []
    for number, image in enumerate(progress_bar(images, title="grounding", unit="photos")):
        photo = captioner.prepare(source.read(image.image), name=image.image)
        found = list(read_phrases(captioner, image, photo, views, gradients=gradients))
        if generated is not None:
            generated.add(captioner.caption(photo), image)
        measured += [(number, phrase) for phrase in found]
        drawn = random.sample(found, min(deletions, len(found)))
        targets = [phrase.target for phrase in drawn]
        if targets:
            rows = measure_drops(captioner, photo, targets, generator=generator)
            drops += [(number, row) for row in rows]
    if not measured:
        raise DataError("No phrase with boxes ends in a word of the model's vocabulary.")

    photos = torch.tensor([number for number, _ in measured])
    inside = torch.stack([phrase.inside for _, phrase in measured])  # (N, W)
    pointed = torch.stack([phrase.pointed for _, phrase in measured])
    baselines = torch.stack([phrase.baselines for _, phrase in measured])
    values = torch.cat([baselines, inside[:, :1], pointed[:, :1]], dim=1)
    centre = float(baselines[:, 2].mean())
    by_view = [to_table(own) for own in views]
    by_view += [{"method": name, "layer": None, "head": None} for name in METHODS if gradients]
    grounded = [] if generated is None else generated.sum_up(resamples=resamples, seed=seed)
    by_kind = {}
    for kind in sorted({kind for _, phrase in measured for kind in phrase.kinds}):
        chosen = torch.tensor([kind in phrase.kinds for _, phrase in measured])
        draws = resampled_means(values[chosen], photos[chosen], resamples=resamples, seed=seed)
        by_kind[kind] = {"phrases": int(chosen.sum()), **_judge(draws)}
    return {
        "photos": len(images),
        "phrases": len(measured),
        "view": to_table(view),
        **_judge(resampled_means(values, photos, resamples=resamples, seed=seed)),
        "by_kind": by_kind,
        "by_view": [
            {
                **other,
                "attention_correctness": correct,
                "pointing": right,
                "above_centre": right - centre,
                **{
                    name: own[name]["value"]
                    for own in grounded[n:][:1]
                    for name in ("f1", "located")
                },
            }
            for n, (other, correct, right) in enumerate(
                zip(by_view, inside.mean(0).tolist(), pointed.mean(0).tolist(), strict=True)
            )
        ][1:],
        "generated": grounded[0] if grounded else None,
        "deletion": _sum_up(drops, resamples=resamples, seed=seed) if drops else None,
        "seed": seed,
        "resamples": resamples,
    }


def _views(captioner: TorchCaptioner) -> list[AttentionConfig]:
    """List every attention view of the model."""
    decoder = captioner.model.decoder
    return views_of(decoder.layers, decoder.heads, evidence=decoder.has_evidence)


def _judge(draws: Tensor) -> dict[str, Any]:
    """Compare the model with the baselines.

    Args:
        draws: (1 + resamples, 5): `PhraseAttention.baselines`, attention correctness, pointing.
    """
    uniform, centre, centre_pointing, correctness, pointed = draws.unbind(dim=1)
    return {
        "attention_correctness": {
            "model": estimate(correctness),
            "uniform": estimate(uniform),
            "centre": estimate(centre),
            "times_uniform": estimate(correctness / uniform),
        },
        "pointing": {
            "model": estimate(pointed),
            "uniform": estimate(uniform),  # a random point hits with this probability
            "centre": estimate(centre_pointing),
            "above_centre": estimate(pointed - centre_pointing),
        },
    }


def _sum_up(drops: Sequence[tuple[int, Tensor]], *, resamples: int, seed: int) -> dict[str, Any]:
    """Summarise how far the words' probabilities dropped."""
    groups = torch.tensor([number for number, _ in drops])
    draws = resampled_means(
        torch.stack([row for _, row in drops]), groups, resamples=resamples, seed=seed
    )
    whole, attended, drawn = draws.unbind(dim=1)
    return {
        "words": len(drops),
        "hidden": HIDDEN,
        "probability": estimate(whole),
        "fall_attended": estimate(whole - attended),
        "fall_random": estimate(whole - drawn),
        "more": estimate(drawn - attended),
    }

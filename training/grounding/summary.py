"""What comes of many phrases: results with intervals, by kind of thing, layer and head."""

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
from training.grounding.deletion import HIDDEN, measure_falls
from training.grounding.generated import GeneratedScore
from training.grounding.gradients import METHODS
from training.grounding.phrases import PhraseAttention, read_phrases, views_of
from training.grounding.pointing import estimate, resampled_means
from training.watching import watched


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
        source: where the photos are.
        view: the attention that is judged; all others are listed beside it.
        deletions: words of each photo for the deletion test, drawn by the seed; 0 leaves it out.
        captions: whether to ground the model's own captions, too.
        gradients: whether to measure maps that need gradients, too, which takes long.
        resamples: draws of photos for the intervals.
        seed: of all draws.

    Returns:
        Plain values for JSON; results are fractions with the ends of their 95 % intervals.

    Raises:
        CaptionerError: a photo cannot be read, the model has no such attention, or no phrase is
            left.
    """
    captioner.model.eval()
    views = [view, *_views(captioner)]
    generated = GeneratedScore(images, views) if captions else None
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    sights: list[tuple[int, PhraseAttention]] = []
    falls: list[tuple[int, Tensor]] = []
    for number, image in enumerate(watched(images, title="reading", unit="photo")):
        photo = captioner.prepare(source.read(image.image), name=image.image)
        found = list(read_phrases(captioner, image, photo, views, gradients=gradients))
        if generated is not None:
            generated.add(captioner.caption(photo), image)
        sights += [(number, sight) for sight in found]
        drawn = random.sample(found, min(deletions, len(found)))
        targets = [sight.target for sight in drawn]
        if targets:
            rows = measure_falls(captioner, photo, targets, generator=generator)
            falls += [(number, row) for row in rows]
    if not sights:
        raise DataError("No phrase with boxes ends in a word that the model knows.")

    photos = torch.tensor([number for number, _ in sights])
    inside = torch.stack([sight.inside for _, sight in sights])  # (N, W)
    pointed = torch.stack([sight.pointed for _, sight in sights])
    baselines = torch.stack([sight.baselines for _, sight in sights])
    values = torch.cat([baselines, inside[:, :1], pointed[:, :1]], dim=1)
    centre = float(baselines[:, 2].mean())
    measured = [to_table(own) for own in views]
    measured += [{"method": name, "layer": None, "head": None} for name in METHODS if gradients]
    grounded = [] if generated is None else generated.sum_up(resamples=resamples, seed=seed)
    by_kind = {}
    for kind in sorted({kind for _, sight in sights for kind in sight.kinds}):
        chosen = torch.tensor([kind in sight.kinds for _, sight in sights])
        draws = resampled_means(values[chosen], photos[chosen], resamples=resamples, seed=seed)
        by_kind[kind] = {"phrases": int(chosen.sum()), **_judge(draws)}
    return {
        "photos": len(images),
        "phrases": len(sights),
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
                zip(measured, inside.mean(0).tolist(), pointed.mean(0).tolist(), strict=True)
            )
        ][1:],
        "generated": grounded[0] if grounded else None,
        "deletion": _sum_up(falls, resamples=resamples, seed=seed) if falls else None,
        "seed": seed,
        "resamples": resamples,
    }


def _views(captioner: TorchCaptioner) -> list[AttentionConfig]:
    """List what the model's attention can be taken from."""
    decoder = captioner.model.decoder
    return views_of(decoder.layers, decoder.heads, evidence=decoder.tells_evidence)


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
            "uniform": estimate(uniform),  # a random point lies in the boxes as often as their area
            "centre": estimate(centre_pointing),
            "above_centre": estimate(pointed - centre_pointing),
        },
    }


def _sum_up(falls: Sequence[tuple[int, Tensor]], *, resamples: int, seed: int) -> dict[str, Any]:
    """Say how far the words' probabilities fell."""
    groups = torch.tensor([number for number, _ in falls])
    draws = resampled_means(
        torch.stack([row for _, row in falls]), groups, resamples=resamples, seed=seed
    )
    whole, attended, drawn = draws.unbind(dim=1)
    return {
        "words": len(falls),
        "hidden": HIDDEN,
        "probability": estimate(whole),
        "fall_attended": estimate(whole - attended),
        "fall_random": estimate(whole - drawn),
        "more": estimate(drawn - attended),
    }

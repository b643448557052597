"""Where attention points, and how sure one can be of it."""

import math

import pytest
import torch
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.photo.preprocess import preprocess
from training.grounding.pointing import (
    CENTRE_WIDTH,
    centre_attention,
    estimate,
    pointing,
    resampled_means,
)


def geometry_of(height, width, fit="squash"):
    return preprocess(Image.new("RGB", (width, height)), PreprocessConfig(fit=fit))[1]


# Pointing


def test_attention_points_at_the_centre_of_the_heaviest_region():
    boxes = torch.tensor([[0.0, 0.0, 0.2, 0.3], [0.7, 0.5, 1.0, 1.0]])
    attention = torch.eye(4)
    assert pointing(attention, boxes, (2, 2)).tolist() == [False, False, False, True]
    upright = torch.tensor([[0.3, 0.0, 0.4, 1.0]])
    assert pointing(attention, upright, (1, 4)).tolist() == [False, True, False, False]
    assert pointing(attention, upright, (4, 1)).tolist() == [False, False, False, False]
    assert pointing(attention, upright[:, [1, 0, 3, 2]], (4, 1)).tolist() == [0, 1, 0, 0]


def test_the_centre_baseline_is_a_gaussian_over_the_photo():
    weights = centre_attention(geometry_of(60, 90), (2, 4)).reshape(2, 4)
    assert weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(weights, weights.flip(0, 1))
    ratio = math.exp((0.125**2 - 0.375**2) / (2 * CENTRE_WIDTH**2))
    assert (weights[0, 0] / weights[0, 1]).item() == pytest.approx(ratio)


def test_the_centre_baseline_follows_the_letterbox():
    weights = centre_attention(geometry_of(50, 100, "letterbox"), (4, 2)).reshape(4, 2)
    ratio = math.exp((0.25**2 - 0.75**2) / (2 * CENTRE_WIDTH**2))  # padding is half a photo away
    assert (weights[0, 0] / weights[1, 0]).item() == pytest.approx(ratio)


# How sure it is


def test_photos_are_drawn_with_all_their_phrases():
    values = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    groups = torch.tensor([4, 9, 9, 9])
    draws = resampled_means(values, groups, resamples=200, seed=1)
    assert draws.shape == (201, 2)
    assert draws[0].tolist() == [0.75, 1.0]
    assert set(draws[1:, 0].tolist()) == {0.0, 0.75, 1.0}  # twice one, one of each
    assert (draws[:, 1] == 1).all()
    assert torch.equal(draws, resampled_means(values, groups, resamples=200, seed=1))
    assert not torch.equal(draws, resampled_means(values, groups, resamples=200, seed=2))


def test_intervals_are_as_wide_as_theory_says():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, 1, generator=generator)
    found = estimate(resampled_means(values, torch.arange(400), resamples=2000, seed=0)[:, 0])
    assert found["value"] == pytest.approx(values.mean().item())
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.1)


def test_an_interval_holds_nineteen_of_twenty_resamples():
    draws = torch.cat([torch.tensor([7.0]), torch.arange(41.0)])
    assert estimate(draws) == {"value": 7.0, "low": 1.0, "high": 39.0}
    assert estimate(draws[:1]) == {"value": 7.0, "low": 7.0, "high": 7.0}

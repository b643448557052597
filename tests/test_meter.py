"""Means of training steps, and the advice of a run that diverged."""

import pytest
import torch

from captioner.errors import ConfigError
from data.ranks import Ranks
from training.running.meter import Meter


def metered(*losses: float, clip: float = 1.0) -> Meter:
    meter = Meter("loss", clip=clip, ranks=Ranks())
    for loss in losses:
        meter.add(torch.tensor([loss, 2 * loss, 0.5]), [])
    return meter


def test_a_point_is_the_mean_of_the_steps_since_the_last_one():
    meter = metered(4.0, 2.0)
    assert meter.latest(step=2) == {"loss": 3.0, "objective": 6.0, "gradient_norm": 0.5}
    assert meter.new_steps == 0
    meter.add(torch.tensor([1.0, 1.0, 0.25]), [])
    assert meter.new_steps == 1
    assert meter.latest(step=3) == {"loss": 1.0, "objective": 1.0, "gradient_norm": 0.25}


def test_a_log_line_averages_over_the_epoch_and_shows_rewards_times_100():
    meter = metered(4.0, 2.0)
    meter.latest(step=2)
    assert meter.describe(step=2) == "loss 3.000  objective 6.000  0.0 photos/s"
    reward = Meter("reward", clip=1.0, ranks=Ranks())
    reward.add(torch.tensor([0.5432, -0.1, 1.0]), [])
    assert reward.describe(step=1) == "reward 54.3  objective -0.100  0.0 photos/s"


@pytest.mark.parametrize(
    ("clip", "advice"),
    [(0.0, "set stages.clip, which is 0,"), (2.5, "stages.clip, which is 2.5,")],
)
def test_a_run_that_diverged_is_told_to_clip_gradients_or_to_clip_them_more(clip, advice):
    with pytest.raises(ConfigError) as caught:
        metered(1.0, float("nan"), clip=clip).check(step=7)
    assert str(caught.value) == (
        "training diverged by step 7: loss nan, gradient norm 0.5. Lower stages.learning_rate or "
        f"{advice} and start over."
    )

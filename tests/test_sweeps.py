"""Lists among the overrides are runs of their own, unless the setting is a list."""

from pathlib import Path

import pytest

from captioner.errors import ConfigError
from training.sweeps import expand

SMOKE = Path(__file__).parent / "smoke.toml"


def test_without_lists_there_is_one_run():
    ((label, config),) = expand(SMOKE, ["seed=3"])
    assert (label, config.seed) == ("", 3)


def test_a_list_of_values_is_a_run_for_each_and_lists_are_combined():
    runs = expand(SMOKE, ["seed=[1, 2]", "stages.0.learning_rate=[1e-3, 2e-3]", "search.beam=2"])
    assert [label for label, _ in runs] == [
        "seed-1-learning_rate-0.001",
        "seed-1-learning_rate-0.002",
        "seed-2-learning_rate-0.001",
        "seed-2-learning_rate-0.002",
    ]
    assert [(config.seed, config.stages[0].learning_rate) for _, config in runs] == [
        (1, 1e-3), (1, 2e-3), (2, 1e-3), (2, 2e-3),
    ]  # fmt: skip
    assert {config.search.beam for _, config in runs} == {2}


def test_strings_and_booleans_are_swept_as_well():
    runs = expand(SMOKE, ["precision=['auto', 'float32']", "stages.0.augment=[true, false]"])
    assert [label for label, _ in runs] == [
        "precision-auto-augment-true", "precision-auto-augment-false",
        "precision-float32-augment-true", "precision-float32-augment-false",
    ]  # fmt: skip
    assert [config.precision for _, config in runs] == ["auto", "auto", "float32", "float32"]


def test_a_setting_that_is_a_list_stays_one():
    ((label, config),) = expand(SMOKE, ["data.val.images=['photos', 'more']"])
    assert (label, config.data.val.images) == ("", ("photos", "more"))


def test_a_list_with_an_invalid_value_is_refused_as_a_whole():
    with pytest.raises(ConfigError, match=r"seed"):
        expand(SMOKE, ["seed=[1, 'two']"])

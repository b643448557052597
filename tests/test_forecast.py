"""Hours and disk of a whole run, from measured steps."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from shapes import write_shapes

from training import train
from training.running.forecast import StageCost, project
from training.settings import load_settings

SMOKE = Path(__file__).parent / "smoke.toml"
STAGES = (
    "stages=[{name='words', epochs=2, batch_size=2}, "
    "{name='whole', encoder='trained', epochs=1, batch_size=2, accumulate=2}, "
    "{name='own', objective='cider', epochs=3, batch_size=2, augment=false}]"
)
FEATURES = {"feature_rate": 50, "feature_bytes": 500}


def cost(**changes) -> StageCost:
    plain = {"rate": 100, "validation_rate": 10, "memory": 10**9, "shares": {"all": 1.0}}
    return StageCost(**plain | changes)


def forecast(costs, *changes, photos=1000, captions=5, val_photos=100):
    config = load_settings(SMOKE, changes)
    return project(
        config, costs, captions=[captions] * photos, val_photos=val_photos, folder=Path("runs/x")
    )


def test_the_whole_run_is_the_sum_of_its_stages():
    costs = [
        cost(views=2, **FEATURES),
        cost(rate=20, shares={"loading": 0.335, "encoder, forward": 0.335, "rest": 0.33}),
        cost(rate=50, views=1, memory_so_far=True, **FEATURES),
    ]
    lines, faults = forecast(costs, STAGES)
    seconds = [
        2 * (1000 / 100 + 100 / 10) + (2 * 1000 + 100) / 50,
        1000 / 20 + 100 / 10,
        3 * (1000 / 50 + 100 / 10) + (1000 + 100) / 50,
    ]
    assert [round(second) for second in seconds] == [82, 60, 112]
    assert lines == [
        "words: 100.0 photos/s (all 100 %), validation 10.0 photos/s, 1.0 GB peak memory; "
        "1,000 steps and 2 validations take 82 s, features of 0.0 GB",
        "whole: 20.0 photos/s (loading 34 %, encoder, forward 33 %, rest 33 %), validation 10.0 "
        "photos/s, 1.0 GB peak memory; 250 steps and 1 validation take 60 s",
        "own: 50.0 photos/s (all 100 %), validation 10.0 photos/s, 1.0 GB peak memory so far; "
        "1,500 steps and 3 validations take 112 s, features of 0.0 GB",
        "total: 4 min, 0.0 GB of cached features, 0.0 GB of checkpoints and states to resume from",
    ]
    assert faults == []


def test_a_limit_of_steps_limits_the_hours():
    stages = "stages=[{name='one', epochs=5, batch_size=4, max_steps=100, validate_steps=30}]"
    [line, _], _ = forecast([cost()], stages, photos=113_287, val_photos=50)
    # 100 steps of 4 photos; validations after 30, 60, 90 and 100
    assert line.endswith("; 100 steps and 4 validations take 24 s")


@pytest.mark.parametrize(
    "stage",
    [
        "epochs=2, batch_size=3",
        "epochs=2, batch_size=3, accumulate=2, validate_steps=1",
        "epochs=3, batch_size=4, validate_steps=3",
        "epochs=9, batch_size=4, max_steps=5, validate_steps=2",
        "epochs=9, batch_size=4, max_steps=4",
    ],
)
def test_steps_and_validations_are_those_of_a_real_run(tmp_path, monkeypatch, stage):
    monkeypatch.chdir(tmp_path)
    photos = write_shapes(tmp_path)
    stages = f"stages=[{{name='one', {stage}}}]"
    assert train.main([str(SMOKE), f"--set={stages}"]) == 0
    progress = torch.load("runs/smoke/resume.pt", weights_only=True)["progress"]
    steps, validations = progress["steps"], len(progress["history"])
    [line, _], _ = forecast([cost()], stages, photos=len(photos), captions=1)
    said = re.search(r"; (\d+) steps? and (\d+) validations? take", line)
    assert (int(said[1]), int(said[2])) == (steps, validations)


def test_views_that_an_earlier_stage_has_cached_take_no_space_again():
    frozen = ", ".join(f"{{name='{name}', epochs=1}}" for name in ("two", "three"))
    frozen = f"{{name='one', epochs=1, augment=false}}, {frozen}"
    once, twice = cost(views=1, **FEATURES), cost(views=2, **FEATURES)
    size = {"photos": 10**6, "val_photos": 10**6}
    lines, _ = forecast([once, twice, once], f"stages=[{frozen}]", **size)
    assert [line.rpartition(", features of ")[2] for line in lines[:2]] == ["1.0 GB", "0.5 GB"]
    assert "features" not in lines[2]
    assert ", 1.5 GB of cached features, " in lines[3]


def test_too_little_disk_space_is_reported_in_advance(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large = cost(feature_rate=1, feature_bytes=10**9, views=1)
    stages = "stages=[{name='one', epochs=1}]"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**12))
    _, [fault] = forecast([large], stages, photos=10**4, val_photos=1)
    assert fault == (
        "data.cache: the features take 10001.0 GB, but only 2000.0 GB are free; name another "
        'folder, or set encoder = "trained" and frozen_layers = 1.0 in the stages, which encodes '
        "photos in every epoch."
    )
    full = cost(folder_bytes=3 * 10**12)
    _, [fault] = forecast([full], stages)
    assert fault == (
        "--folder: checkpoints and 2 states to resume from, and a new one while it is written, "
        "take 3000.0 GB, but only 2000.0 GB are free; name another folder, or lower keep."
    )
    both = cost(feature_rate=1, feature_bytes=10**9, views=1, folder_bytes=10**12)
    assert forecast([both], stages, photos=999, val_photos=1)[1] == []
    _, [fault] = forecast([both], stages, photos=1499, val_photos=1)
    assert "take 1000.0 GB, but only 500.0 GB are free beside the features;" in fault

"""A rehearsal goes through every stage, and tells what the whole run takes."""

import json
import re
from pathlib import Path

import pytest
import torch
from shapes import write_shapes

from training.rehearse import StageCost, main, project, rehearse
from training.running.loaders import load_photos
from training.settings import load_settings

SMOKE = Path(__file__).parent / "smoke.toml"
CIDER = "{name='own', objective='cider', encoder='frozen', epochs=3, batch_size=2, augment=false}"
STAGES = (
    "stages=[{name='words', epochs=2, batch_size=2}, "
    "{name='whole', encoder='trained', epochs=1, batch_size=2, accumulate=2}, " + CIDER + "]"
)


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path)


def test_every_stage_is_rehearsed_and_nothing_is_kept(tmp_path):
    config = load_settings(SMOKE, [STAGES])
    before = sorted(tmp_path.rglob("*"))
    train, val = load_photos(config)
    costs = list(rehearse(config, train=train, val=val, device=torch.device("cpu"), steps=3))
    frozen, whole, own = costs
    assert all(cost.rate > 0 and cost.validation_rate > 0 and cost.memory > 0 for cost in costs)
    assert (frozen.views, whole.views, own.views) == (2, 0, 1)
    assert frozen.feature_bytes == own.feature_bytes > 0 == whole.feature_bytes
    assert "encoder, forward" in whole.shares
    assert {"sampling", "reward"} <= set(own.shares)
    assert all(0 < share < 1 for cost in costs for share in cost.shares.values())
    assert sorted(tmp_path.rglob("*")) == before


def test_the_whole_run_is_the_sum_of_its_stages():
    config = load_settings(SMOKE, [STAGES])
    plain = {"shares": {}, "memory": 10**9}
    costs = [
        StageCost(
            rate=100, validation_rate=10, feature_rate=50, feature_bytes=500, views=2, **plain
        ),
        StageCost(rate=20, validation_rate=10, **plain),
        StageCost(
            rate=50, validation_rate=10, feature_rate=50, feature_bytes=500, views=1, **plain
        ),
    ]
    lines, faults = project(config, costs, photos=1000, val_photos=100)
    seconds = [
        2 * (1000 / 100 + 100 / 10) + (2 * 1000 + 100) / 50,
        1000 / 20 + 100 / 10,
        3 * (1000 / 50 + 100 / 10) + (1000 + 100) / 50,
    ]
    assert [round(second) for second in seconds] == [82, 60, 112]
    assert "2 epochs take 82 s, features of 0.0 GB" in lines[0]
    assert "1 epochs take 60 s" in lines[1]
    assert lines[3] == "total: 4 min, 0.0 GB of cached features"
    assert faults == []


def test_too_little_disk_space_is_reported_in_advance():
    config = load_settings(SMOKE, [STAGES])
    cost = StageCost(
        rate=1,
        validation_rate=1,
        shares={},
        memory=1,
        feature_rate=1,
        feature_bytes=10**12,
        views=1,
    )
    whole = StageCost(rate=1, validation_rate=1, shares={}, memory=1)
    _, (fault,) = project(config, [cost, whole, cost], photos=10**6, val_photos=1)
    assert re.match(
        r"data\.cache: the features take 2000002000\.0 GB, but only [\d.]+ GB are free", fault
    )


def test_the_command_prints_the_cost_of_stages_and_run(capsys):
    arguments = [str(SMOKE), "--steps", "1", "--set", STAGES, "--device", "cpu"]
    assert main([*arguments, "--photos", "1000"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[1:4]] == ["words", "whole", "own"]
    assert said[4].startswith("total: ")


def test_the_profiler_sees_the_steps_of_every_stage(tmp_path, capsys):
    folder = tmp_path / "profile"
    arguments = [str(SMOKE), "--steps", "1", "--set", STAGES, "--device", "cpu"]
    assert main([*arguments, "--profile", str(folder)]) == 0
    assert {file.name for file in folder.iterdir()} == {"words.json", "whole.json", "own.json"}
    events = json.loads((folder / "words.json").read_text())["traceEvents"]
    assert "aten::addmm" in {event["name"] for event in events}
    assert "aten::" in capsys.readouterr().out  # the ten that take longest, whichever these are


def test_the_rehearsal_fails_where_the_run_would(capsys):
    assert main([str(SMOKE), "--set", "encoder_weights=no.safetensors"]) == 1
    assert (
        "encoder_weights is 'no.safetensors', but there is no such file" in capsys.readouterr().err
    )

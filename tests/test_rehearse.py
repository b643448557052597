"""A rehearsal goes through every stage, and tells what the whole run takes."""

import json
import time
from pathlib import Path

import pytest
import torch
from shapes import write_shapes

from captioner.model import Encoder
from training import train
from training.rehearse import main, rehearse
from training.running.learner import Learner
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
    assert [sum(cost.shares.values()) for cost in costs] == pytest.approx([1, 1, 1])
    assert sorted(tmp_path.rglob("*")) == before


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


@pytest.mark.parametrize(
    "stage",
    [
        "{name='one', epochs=1, batch_size=4, accumulate=2}",
        "{name='one', encoder='trained', epochs=2, batch_size=4, ema=0.9}",
    ],
)
def test_the_folder_takes_what_the_rehearsal_says(stage):
    changes = [f"stages=[{stage}]", "save_minutes=0", "keep=2", "model.decoder.width=128"]
    assert train.main([str(SMOKE), *(f"--set={change}" for change in changes)]) == 0
    config = load_settings(SMOKE, changes)
    photos, val = load_photos(config)
    where = {"train": photos, "val": val, "device": torch.device("cpu")}
    [cost] = rehearse(config, **where, steps=1)
    files = [*Path("runs/smoke").glob("*.safetensors"), *Path("runs/smoke").glob("*.pt")]
    assert len(files) == 5
    written = sum(path.stat().st_size for path in files)
    newest = Path("runs/smoke/resume.pt").stat().st_size  # while it is written, there is one more
    assert cost.folder_bytes == pytest.approx(written + newest, rel=0.05)


def test_the_encoder_takes_its_own_part_of_a_step(monkeypatch):
    forward = Encoder.forward

    def slow(self, pixels):
        time.sleep(0.2)
        return forward(self, pixels)

    monkeypatch.setattr(Encoder, "forward", slow)
    config = load_settings(SMOKE, ["stages=[{name='all', encoder='trained', epochs=1}]"])
    photos, val = load_photos(config)
    [cost] = rehearse(config, train=photos, val=val, device=torch.device("cpu"), steps=3)
    assert cost.shares["encoder, forward"] > 0.5
    assert sum(cost.shares.values()) == pytest.approx(1)


def test_a_small_stage_shows_less_memory_than_a_large_one_before(monkeypatch):
    step = Learner.step

    def large(self, batches):
        if self.stage.name == "words":
            torch.ones(100_000_000)  # 400 MB
        return step(self, batches)

    monkeypatch.setattr(Learner, "step", large)
    config = load_settings(SMOKE, [STAGES])
    photos, val = load_photos(config)
    costs = list(rehearse(config, train=photos, val=val, device=torch.device("cpu"), steps=1))
    if costs[0].memory_so_far:
        pytest.skip("this system cannot reset a process's peak memory")
    assert costs[1].memory < costs[0].memory - 300e6


@pytest.mark.parametrize("option", ["--steps", "--photos", "--val-photos"])
@pytest.mark.parametrize("number", ["0", "-1"])
def test_nothing_is_not_rehearsed(capsys, option, number):
    with pytest.raises(SystemExit):
        main([str(SMOKE), option, number])
    assert capsys.readouterr().err.endswith(f"argument {option}: {number} is not 1 or more\n")

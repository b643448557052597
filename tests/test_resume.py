import os
from pathlib import Path

import pytest
import torch
from torch import nn

from captioner.errors import CheckpointError, ConfigError
from training.resume import Progress, load_resume, restore, save_resume

IDENTITY = {"seed": 1, "stages": ({"epochs": 3, "name": "all"},), "words": "ab"}


class Learner:
    """A line with dropout that learns from random numbers, one step after the other."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)

    def learn(self, steps: int) -> torch.Tensor:
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.model(torch.rand(2, 3)).sum().backward()
            self.optimizer.step()
            self.schedule.step()
        return self.model[0].weight.detach().clone()

    def save(self, path: Path, progress: Progress) -> None:
        save_resume(
            path,
            progress,
            identity=IDENTITY,
            model=self.model,
            optimizer=self.optimizer,
            schedule=self.schedule,
        )


def test_a_run_goes_on_as_if_nothing_had_happened(tmp_path):
    torch.manual_seed(0)
    learner = Learner()
    learner.learn(3)
    progress = Progress(stage=1, epoch=2, batches=3, steps=4, best=0.5, history=[{"CIDEr": 0.5}])
    learner.save(tmp_path / "resume.pt", progress)
    expected = learner.learn(3)

    other = Learner()
    state = load_resume(tmp_path / "resume.pt", identity=IDENTITY)
    other.model.load_state_dict(state["model"])
    restore(state, other.optimizer, other.schedule)
    assert Progress(**state["progress"]) == progress
    assert torch.equal(other.learn(3), expected)


def test_without_a_file_there_is_nothing_to_go_on_from(tmp_path):
    assert load_resume(tmp_path / "resume.pt", identity=IDENTITY) is None


def test_another_run_is_not_gone_on_with(tmp_path):
    path = tmp_path / "resume.pt"
    Learner().save(path, Progress())
    other = {"seed": 2, "stages": ({"epochs": 4, "name": "all"}, {}), "size": 3, "words": "ac"}
    with pytest.raises(ConfigError) as error:
        load_resume(path, identity=other)
    assert str(error.value) == (
        f"{path} belongs to another run: seed was 1 and is 2, stages.0.epochs was 3 and is 4, "
        f"words was 'ab' and is 'ac', and 1 more. "
        f"Give this run another --folder, or delete {tmp_path} to start over."
    )


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "resume.pt"
    Learner().save(path, Progress())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"resume\.pt cannot be read \(.*delete it to start"):
        load_resume(path, identity=IDENTITY)


def test_the_old_file_stays_until_the_new_one_is_on_disk(tmp_path, monkeypatch):
    path = tmp_path / "resume.pt"
    Learner().save(path, Progress(steps=1))

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        Learner().save(path, Progress(steps=2))
    monkeypatch.undo()
    assert load_resume(path, identity=IDENTITY)["progress"]["steps"] == 1
    Learner().save(path, Progress(steps=3))
    assert load_resume(path, identity=IDENTITY)["progress"]["steps"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["resume.pt"]

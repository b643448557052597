import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from captioner.errors import CheckpointError, ConfigError
from training.running.resume import RunState, load_resume, restore, save_resume

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

    @property
    def parts(self) -> dict:
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self, path: Path, progress: RunState, *, keep: int = 1) -> None:
        save_resume(path, progress, identity=IDENTITY, parts=self.parts, keep=keep)


def steps(path: Path, **options) -> int:
    """How far the run has come that would go on."""
    return load_resume(path, identity=IDENTITY, **options)["progress"]["steps"]


def flip(path: Path) -> None:
    """Change one bit in the middle, as a bad disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_resumed_run_continues_as_if_uninterrupted(tmp_path):
    torch.manual_seed(0)
    learner = Learner()
    learner.learn(3)
    progress = RunState(stage=1, epoch=2, batches=3, steps=4, best=0.5, history=[{"CIDEr": 0.5}])
    learner.save(tmp_path / "resume.pt", progress)
    expected = learner.learn(3)

    other = Learner()
    state = load_resume(tmp_path / "resume.pt", identity=IDENTITY)
    restore(state, other.parts)
    assert RunState(**state["progress"]) == progress
    assert torch.equal(other.learn(3), expected)


def test_without_a_file_there_is_nothing_to_resume(tmp_path):
    assert load_resume(tmp_path / "resume.pt", identity=IDENTITY) is None


def test_another_run_is_not_resumed(tmp_path):
    path = tmp_path / "resume.pt"
    Learner().save(path, RunState())
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
    Learner().save(path, RunState())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"resume\.pt cannot be read \(.*delete it to start"):
        load_resume(path, identity=IDENTITY)


def test_only_the_last_files_are_kept(tmp_path):
    path = tmp_path / "resume.pt"
    for number in range(5):
        Learner().save(path, RunState(steps=number), keep=3)
    assert steps(path) == 4
    assert {file.name for file in tmp_path.iterdir()} == {"resume.pt", "resume.1.pt", "resume.2.pt"}
    assert [steps(tmp_path / f"resume.{number}.pt") for number in (1, 2)] == [3, 2]
    Learner().save(path, RunState(steps=5))
    assert [file.name for file in tmp_path.iterdir()] == ["resume.pt"]


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: os.truncate(path, 1000)])
def test_if_the_newest_file_is_damaged_the_previous_one_is_used(tmp_path, damage):
    path, said = tmp_path / "resume.pt", []
    for number in range(3):
        Learner().save(path, RunState(steps=number), keep=2)
    damage(path)
    assert steps(path, say=said.append) == 1
    if damage is not Path.unlink:
        assert said[0].startswith(f"{path} is damaged (")
        assert said[0].endswith(
            f"), renamed to {tmp_path}/resume.damaged; resuming from {tmp_path}/resume.1.pt"
        )
    # the good one must not be lost before there is another
    Learner().save(path, RunState(steps=2), keep=2)
    assert (steps(path), steps(tmp_path / "resume.1.pt")) == (2, 1)


def test_files_that_are_all_damaged_are_left_as_they_are(tmp_path):
    path = tmp_path / "resume.pt"
    for number in range(2):
        Learner().save(path, RunState(steps=number), keep=2)
    files = [path, tmp_path / "resume.1.pt"]
    for file in files:
        flip(file)
    before = [file.read_bytes() for file in files]
    with pytest.raises(
        CheckpointError, match=r"resume\.pt cannot be read \(wrong checksum of .*delete it"
    ):
        steps(path)
    assert [file.read_bytes() for file in files] == before


def killed(descriptor: int) -> None:
    raise KeyboardInterrupt


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("end", "error"), [(killed, KeyboardInterrupt), (full, CheckpointError)])
def test_the_old_files_stay_until_the_new_one_is_on_disk(tmp_path, monkeypatch, end, error):
    path = tmp_path / "resume.pt"
    for number in (0, 1):
        Learner().save(path, RunState(steps=number), keep=2)
    monkeypatch.setattr(os, "fsync", end)
    with pytest.raises(error):
        Learner().save(path, RunState(steps=2), keep=2)
    monkeypatch.undo()
    assert (steps(path), steps(tmp_path / "resume.1.pt")) == (1, 0)
    Learner().save(path, RunState(steps=3), keep=2)
    assert (steps(path), steps(tmp_path / "resume.1.pt")) == (3, 1)
    assert {file.name for file in tmp_path.iterdir()} == {"resume.pt", "resume.1.pt"}

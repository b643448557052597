"""Saving and restoring a run's state, so that a killed run resumes.

The last few states are kept as `resume.pt`, `resume.1.pt` and so on, in case the newest is damaged.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from captioner.durable import explained, replace_file, sync_folder
from captioner.errors import CheckpointError, ConfigError
from data.ranks import Ranks
from training.settings import StageConfig


@dataclass
class RunState:
    """Progress of a run."""

    stage: int = 0
    """Index of the current stage."""
    epoch: int = 0
    """Epochs finished in this stage."""
    batches: int = 0
    """Batches finished in this epoch."""
    steps: int = 0
    """Optimizer steps of the whole run."""
    stage_steps: int = 0
    """Optimizer steps of this stage."""
    validated: int = 0
    """Value of `steps` at the last validation."""
    best: float = -1.0
    """Best validation CIDEr-D of the run; negative before the first validation."""
    best_of_stage: float = -1.0
    """Best validation CIDEr-D of this stage."""
    waited: int = 0
    """Validations of this stage since its best one; compared with `patience`."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Scores of every validation, in order."""
    rewards: dict[str, str] = field(default_factory=dict)
    """Signature of the reward, by name of the stage that trained with one."""

    def count_step(self, *, batches: int) -> None:
        """Count an optimizer step that took this many batches."""
        self.batches += batches
        self.steps += 1
        self.stage_steps += 1

    def out_of_patience(self, stage: StageConfig) -> bool:
        """Whether the stage has gone `patience` validations without improvement."""
        return 0 < stage.patience <= self.waited

    def must_stop(self, stage: StageConfig) -> bool:
        """Whether the stage is out of steps or out of patience."""
        return 0 < stage.max_steps <= self.stage_steps or self.out_of_patience(stage)

    def end_epoch(self, stage: StageConfig) -> None:
        """Move on to the next epoch, or to the end of a stage that must stop."""
        self.epoch = stage.epochs if self.must_stop(stage) else self.epoch + 1
        self.batches = 0

    def begin_stage(self, number: int) -> None:
        """Move on to the start of another stage."""
        self.stage, self.epoch, self.stage_steps = number, 0, 0
        self.best_of_stage, self.waited = -1.0, 0

    def record_score(self, cider: float) -> tuple[bool, bool]:
        """Record a validation; return whether it is the best of the run and of the stage."""
        best, best_of_stage = cider > self.best, cider > self.best_of_stage
        self.best, self.best_of_stage = max(cider, self.best), max(cider, self.best_of_stage)
        self.waited = 0 if best_of_stage else self.waited + 1
        return best, best_of_stage


class Stateful(Protocol):
    """An object with a state to save: model, optimizer, schedule, ..."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore the state."""


def save_resume(
    path: Path,
    progress: RunState,
    *,
    identity: Mapping[str, Any],
    parts: Mapping[str, Stateful],
    keep: int = 1,
    ranks: Ranks = Ranks(),  # noqa: B008  # frozen
) -> None:
    """Write the state of a run, atomically.

    The previous `resume.pt` becomes `resume.1.pt`, and so on.

    Args:
        path: file to write.
        progress: progress of the run.
        identity: plain values that must be the same when the run resumes.
        parts: objects whose state is saved, by name.
        keep: number of files to keep, this one included.
        ranks: the processes that train together; the first writes, with the random states of all.

    Raises:
        CheckpointError: the file cannot be written; earlier files are untouched.
    """
    state = {
        "identity": dict(identity),
        "progress": asdict(progress),
        **{name: part.state_dict() for name, part in parts.items()},
        "random": ranks.gather(_random_state()),
    }
    if not ranks.first:
        return
    content = io.BytesIO()  # torch.save into a file would hide why writing failed
    torch.save(state, content)
    with explained(path, raised=CheckpointError, option="--folder"):
        newest = path.with_suffix(".new")
        replace_file(newest, content.getvalue())
        for number in range(keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                _older(path, number - 1).replace(_older(path, number))
        newest.replace(path)
        for number in count(keep):
            if not _older(path, number).exists():
                break
            _older(path, number).unlink()
        sync_folder(path.parent)


def load_resume(
    path: Path, *, identity: Mapping[str, Any], say: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Read the state of a run; None if there is no file.

    If the newest file is damaged, the previous one is used: the run ends with the same weights,
    only later.

    Args:
        path: as given to `save_resume`.
        identity: as given to `save_resume`.
        say: called with a log line for every damaged file, which is renamed.

    Raises:
        ConfigError: the file belongs to a run with another identity; the message names what
            differs.
        CheckpointError: every file is damaged, or one cannot be opened.
    """
    damaged: dict[Path, Exception] = {}
    for file in sorted(path.parent.glob(f"{path.stem}*{path.suffix}"), key=_age):
        try:
            state = _read(file)
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from error
        except Exception as error:  # torch raises all kinds of errors for a damaged file
            damaged[file] = error
            continue
        break
    else:
        if not damaged:
            return None
        file, reason = next(iter(damaged.items()))
        raise CheckpointError(f"{file} cannot be read ({reason}); delete it to start the run over.")
    if state["identity"] != identity:
        raise ConfigError(
            f"{file} belongs to another run: {_difference(state['identity'], identity)}. "
            f"Give this run another --folder, or delete {path.parent} to start over."
        )
    for other, reason in damaged.items():  # otherwise they would push good files out
        aside = other.replace(other.with_suffix(".damaged"))
        say(f"{other} is damaged ({reason}), renamed to {aside}; resuming from {file}")
    return state


def restore(
    state: Mapping[str, Any],
    parts: Mapping[str, Stateful],
    *,
    ranks: Ranks = Ranks(),  # noqa: B008  # frozen
) -> None:
    """Restore these parts and the random states.

    The number of ranks may have changed; additional ranks keep their random state.
    """
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if ranks.rank < len(state["random"]):
        random = state["random"][ranks.rank]
        torch.set_rng_state(random["cpu"])
        if random["gpu"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["gpu"])


def _random_state() -> dict[str, Tensor | None]:
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return {"cpu": torch.get_rng_state(), "gpu": gpu}


def _older(path: Path, number: int) -> Path:
    """Path of the state `number` saves ago."""
    return path.with_suffix(f".{number}{path.suffix}") if number else path


def _age(file: Path) -> int:
    """Number of newer files."""
    number = file.stem.rpartition(".")[2]
    return int(number) if number.isdigit() else 0


def _read(file: Path) -> dict[str, Any]:
    """Load a file after verifying its checksums, which torch does not."""
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {broken}")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _difference(before: Any, now: Any) -> str:
    """Describe which values differ, the first three by name."""
    old, new = _flat(before), _flat(now)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    said = [f"{name} was {old.get(name)!r} and is {new.get(name)!r}" for name in changed[:3]]
    return ", ".join(said) + (f", and {len(changed) - 3} more" if len(changed) > 3 else "")


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten nested tables and lists to one table with dotted keys."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: value}
    parts = [_flat(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()]
    return {key: item for part in parts for key, item in part.items()}

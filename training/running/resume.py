"""Going on after being killed: all that a run needs to continue, in one file.

The last few are kept, `resume.pt`, `resume.1.pt` and so on, in case the newest cannot be read.
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


@dataclass
class RunState:
    """How far a run has come."""

    stage: int = 0
    epoch: int = 0
    """Epochs done in this stage."""
    batches: int = 0
    """Batches done in this epoch."""
    steps: int = 0
    """Steps done in the whole run."""
    stage_steps: int = 0
    """Steps done in this stage."""
    validated: int = 0
    """Steps of the run that were done when it was validated last."""
    best: float = -1.0
    """Validation CIDEr-D of the best checkpoint; below any there is before the first."""
    best_of_stage: float = -1.0
    """The same of this stage."""
    waited: int = 0
    """Validations of this stage since its best one."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Validation scores, epoch by epoch."""
    rewards: dict[str, str] = field(default_factory=dict)
    """Signature of the reward, by name of the stage that learned from one."""

    def begin_stage(self, number: int) -> None:
        """Go on to the beginning of another stage."""
        self.stage, self.epoch, self.stage_steps = number, 0, 0
        self.best_of_stage, self.waited = -1.0, 0

    def is_better(self, cider: float) -> tuple[bool, bool]:
        """Whether an epoch is the best one of the run, and of its stage; remember that."""
        best, best_of_stage = cider > self.best, cider > self.best_of_stage
        self.best, self.best_of_stage = max(cider, self.best), max(cider, self.best_of_stage)
        self.waited = 0 if best_of_stage else self.waited + 1
        return best, best_of_stage


class Stateful(Protocol):
    """Something whose state a run needs to go on: model, optimizer, schedule, ..."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors that say all."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Become what these say."""


def save_resume(
    path: Path,
    progress: RunState,
    *,
    identity: Mapping[str, Any],
    parts: Mapping[str, Stateful],
    keep: int = 1,
    ranks: Ranks = Ranks(),  # noqa: B008  # frozen
) -> None:
    """Write where a run stands, whole or not at all.

    What stood in `resume.pt` before goes to `resume.1.pt`, and so on.

    Args:
        path: the file to write.
        progress: how far the run has come.
        identity: plain values that `load_resume` must find unchanged.
        parts: whose states are kept, by name.
        keep: files to keep, this one included.
        ranks: who shares the run; the first one writes, with the random numbers of all.

    Raises:
        CheckpointError: the file cannot be written; those before it are as they were.
    """
    state = {
        "identity": dict(identity),
        "progress": asdict(progress),
        **{name: part.state_dict() for name, part in parts.items()},
        "random": ranks.gather(_random_state()),
    }
    if not ranks.first:
        return
    content = io.BytesIO()  # written into a file, torch would hide why that failed
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
    """Read where a run stood; None if there is no file.

    Where the newest file is damaged, the one before it is taken: the run ends the same, only later.

    Args:
        path: as given to `save_resume`.
        identity: likewise.
        say: called with a line about each damaged file, which is put aside.

    Raises:
        ConfigError: it was a run with another identity; the text says in what.
        CheckpointError: the files are damaged, or cannot be read.
    """
    damaged: dict[Path, Exception] = {}
    for file in sorted(path.parent.glob(f"{path.stem}*{path.suffix}"), key=_age):
        try:
            state = _read(file)
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from error
        except Exception as error:  # what a damaged file raises is torch's affair
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
    for other, reason in damaged.items():  # else they would take the place of good ones
        aside = other.replace(other.with_suffix(".damaged"))
        say(f"{other} is damaged ({reason}) and now {aside}; going on from {file}")
    return state


def restore(
    state: Mapping[str, Any],
    parts: Mapping[str, Stateful],
    *,
    ranks: Ranks = Ranks(),  # noqa: B008  # frozen
) -> None:
    """Put these parts and the random numbers back to where they were.

    There may be more or fewer processes than before; then the new ones keep their random numbers.
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
    """Where the file before, or so many before, is kept."""
    return path.with_suffix(f".{number}{path.suffix}") if number else path


def _age(file: Path) -> int:
    """How many newer files there are."""
    number = file.stem.rpartition(".")[2]
    return int(number) if number.isdigit() else 0


def _read(file: Path) -> dict[str, Any]:
    """Read a file, and make sure that it is as it was written: torch would not."""
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"checksum of {broken}")
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _difference(before: Any, now: Any) -> str:
    """Say which values differ, the first three by name."""
    old, new = _flat(before), _flat(now)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    said = [f"{name} was {old.get(name)!r} and is {new.get(name)!r}" for name in changed[:3]]
    return ", ".join(said) + (f", and {len(changed) - 3} more" if len(changed) > 3 else "")


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested tables and lists as one table with dotted names."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: value}
    parts = [_flat(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()]
    return {key: item for part in parts for key, item in part.items()}

"""Going on after being killed: all that a run needs to continue, in one file."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from captioner.errors import CheckpointError, ConfigError


@dataclass
class Progress:
    """How far a run has come."""

    stage: int = 0
    epoch: int = 0
    """Epochs done in this stage."""
    batches: int = 0
    """Batches done in this epoch."""
    steps: int = 0
    """Steps done in the whole run."""
    best: float = -1.0
    """Validation CIDEr-D of the best checkpoint; below any there is before the first."""
    waited: int = 0
    """Epochs of this stage since the last better one."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Validation scores, epoch by epoch."""


def save_resume(
    path: Path,
    progress: Progress,
    *,
    identity: Mapping[str, Any],
    model: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
) -> None:
    """Write where a run stands, whole or not at all.

    Args:
        path: the file to write or replace.
        progress: how far the run has come.
        identity: plain values that `load_resume` must find unchanged.
        model: its weights are kept, like those of the optimizer.
        optimizer: of the present stage.
        schedule: of the present stage.
    """
    state = {
        "identity": dict(identity),
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
        "random_gpu": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_resume(path: Path, *, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read where a run stood; None if there is no such file.

    Raises:
        ConfigError: it was a run with another identity; the text says in what.
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises is torch's affair
        raise CheckpointError(
            f"{path} cannot be read ({error}); delete it to start the run over."
        ) from error
    state = {"identity": dict(identity), "random_gpu": None, **state}  # older files lack these
    if state["identity"] != identity:
        raise ConfigError(
            f"{path} belongs to another run: {_difference(state['identity'], identity)}. "
            f"Give this run another --folder, or delete {path.parent} to start over."
        )
    return state


def restore(state: Mapping[str, Any], optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Put optimizer, schedule and random numbers back to where they were."""
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["random"])
    if state["random_gpu"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random_gpu"])


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

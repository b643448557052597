"""What the folder of a run tells of it, finished or not: checkpoint, curves, log, reports."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from captioner.checkpoint.header import Header, read_header
from captioner.errors import DataError

Points = list[tuple[float, float]]
"""Steps, or epochs, and values."""

EVALUATION = "evaluation.json"
"""The report of `training.evaluate` about the run's best checkpoint."""
GROUNDING = "grounding.json"
"""The report of `training.grounding` about it."""

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  (.*)")
_EPOCH = re.compile(
    r"(.+) (\d+)/(\d+)  (\w+) (-?[\d.]+)(?:  objective -?[\d.]+)?  ([\d.]+) photos/s  (\d+) s"
)
_MACHINE = "machine: "


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What training one epoch took; after an interruption, the part of it since then."""

    stage: str
    number: int
    measure: str
    """`loss` or `reward`."""
    value: float
    photos_per_second: float
    seconds: int


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """All that is known of a run."""

    folder: Path
    checkpoint: Path | None
    """The best one so far, or the last; None before the first validation."""
    header: Header | None
    """Of that checkpoint."""
    curves: dict[str, Points]
    """By name, such as `train/loss` or `val/CIDEr`, over steps."""
    log: list[tuple[datetime, str]]
    """What the run said, and when."""
    evaluation: dict[str, Any] | None = None
    grounding: dict[str, Any] | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Validation scores, epoch by epoch."""
        return list(self.header.trained_on.get("history", [])) if self.header else []

    @property
    def settings(self) -> dict[str, Any]:
        """Of the run, as in its TOML file."""
        return dict(self.header.trained_on.get("settings", {})) if self.header else {}

    @property
    def epochs(self) -> list[Epoch]:
        """What every epoch took, in order."""
        found = (_EPOCH.fullmatch(line) for _, line in self.log)
        return [
            Epoch(
                stage=m[1],
                number=int(m[2]),
                measure=m[4],
                value=float(m[5]),
                photos_per_second=float(m[6]),
                seconds=int(m[7]),
            )
            for m in found
            if m
        ]

    @property
    def machine(self) -> str | None:
        """What it ran on, where it said so; the last one if there were several."""
        said = [line for _, line in self.log if line.startswith(_MACHINE)]
        return said[-1].removeprefix(_MACHINE) if said else None

    @property
    def stage_ends(self) -> Points:
        """Steps at which a stage ended and another began, and the number of the new one."""
        steps = [step for step, _ in self.curves.get("val/CIDEr", [])]
        if len(steps) != len(self.history):
            return []
        stages = [(entry["stage"], entry["epoch"]) for entry in self.history]
        return [
            (steps[place], place)
            for place, (_, epoch) in enumerate(stages[1:])
            if epoch <= stages[place][1]
        ]

    @property
    def state(self) -> str:
        """How far the run has come."""
        planned = sum(stage["epochs"] for stage in self.settings.get("stages", []))
        done = len(self.history)
        if not done:
            return "no epoch is over yet"
        if done >= planned:
            return f"finished: {done} epochs"
        if any("stopped early" in line for _, line in self.log):
            return f"{done} of {planned} epochs; a stage was stopped early"
        return f"not finished: {done} of {planned} epochs"


def read_run(folder: Path) -> RunFiles:
    """Read what a run's folder holds; whatever is not there yet is left out.

    Raises:
        DataError: it is no folder of a run, or a report in it is not JSON.
        CheckpointError: a checkpoint is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give that of a run, such as runs/NAME.")
    best = [folder / name for name in ("best.safetensors", "last.safetensors")]
    checkpoint = next((path for path in best if path.is_file()), None)
    log = _read_log(folder / "log.txt")
    if checkpoint is None and not log:
        raise DataError(
            f"{folder} holds neither a checkpoint nor log.txt; give the folder of a run, such as "
            "runs/NAME."
        )
    # The last checkpoint knows the whole history, the best one is what is shown.
    latest = next((path for path in reversed(best) if path.is_file()), None)
    return RunFiles(
        folder=folder,
        checkpoint=checkpoint,
        header=read_header(latest) if latest else None,
        curves=_read_curves(folder / "tensorboard"),
        log=log,
        evaluation=_read_json(folder / EVALUATION),
        grounding=_read_json(folder / GROUNDING),
    )


def _read_log(path: Path) -> list[tuple[datetime, str]]:
    if not path.is_file():
        return []
    found = map(_LINE.fullmatch, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(datetime.fromisoformat(m[1]), m[2]) for m in found if m]


def _read_curves(folder: Path) -> dict[str, Points]:
    """Read TensorBoard's events; none if there are none, or it is not installed."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    try:
        from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
            EventAccumulator,
        )
    except ImportError:
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); write it again, or remove it.") from error
    if not isinstance(table, dict):
        raise DataError(f"{path} holds no report; write it again, or remove it.")
    return table

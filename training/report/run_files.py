"""Contents of a run's folder, finished or not: checkpoint, curves, log, reports."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from captioner.checkpoint.header import Header, read_header
from captioner.errors import DataError
from training.scoring.layout import for_people

Points = list[tuple[float, float]]
"""Pairs of step (or number of the validation) and value."""

EVALUATION = "evaluation.json"
"""Report of `training.evaluate` on the run's best checkpoint."""
GROUNDING = "grounding.json"
"""Report of `training.grounding` on it."""

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  (.*)")
_EPOCH = re.compile(
    r"(.+) (\d+)/(\d+)  (\w+) (-?[\d.]+)(?:  objective -?[\d.]+)?  ([\d.]+) photos/s  (\d+) s"
)
_MACHINE = "machine: "
_FINISHED = "finished after "
_EARLY = "stopped early"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A training epoch from the log; after an interruption, the rest of it."""

    stage: str
    number: int
    measure: str
    """`loss` or `reward`."""
    value: str
    """As logged: the loss in nats, the reward times 100."""
    photos_per_second: float
    seconds: int


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What is known about a run."""

    folder: Path
    checkpoint: Path | None
    """The best checkpoint so far, or the latest; None before the first validation."""
    header: Header | None
    """Header of the latest checkpoint."""
    curves: dict[str, Points]
    """Recorded points over steps, by name, such as `train/loss` or `val/CIDEr`."""
    log: list[tuple[datetime, str]]
    """Log lines with their time."""
    evaluation: dict[str, Any] | None = None
    grounding: dict[str, Any] | None = None

    def curve(self, name: str) -> Points:
        """Points of a curve for people: scores and rewards times 100."""
        measure = name.rpartition("/")[2]
        return [(step, for_people(measure, value)) for step, value in self.curves.get(name, [])]

    @property
    def history(self) -> list[dict[str, Any]]:
        """Validation scores, in order."""
        return list(self.header.trained_on.get("history", [])) if self.header else []

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the run, as in its TOML file."""
        return dict(self.header.trained_on.get("settings", {})) if self.header else {}

    @property
    def epochs(self) -> list[Epoch]:
        """Training epochs, in order."""
        found = (_EPOCH.fullmatch(line) for _, line in self.log)
        return [
            Epoch(
                stage=m[1],
                number=int(m[2]),
                measure=m[4],
                value=m[5],
                photos_per_second=float(m[6]),
                seconds=int(m[7]),
            )
            for m in found
            if m
        ]

    @property
    def machine(self) -> str | None:
        """The machine, if logged; the last one if there were several."""
        said = [line for _, line in self.log if line.startswith(_MACHINE)]
        return said[-1].removeprefix(_MACHINE) if said else None

    @property
    def stage_ends(self) -> Points:
        """Step at which each stage ended, with the index of that validation."""
        steps = [step for step, _ in self.curves.get("val/CIDEr", [])]
        if len(steps) != len(self.history):
            return []
        return [
            (steps[place], place)
            for place, ((stage, _), (following, _)) in enumerate(pairwise(self.places))
            if following != stage
        ]

    @property
    def places(self) -> list[tuple[int, int]]:
        """Stage, from 0, and epoch, from 1, of each validation; an epoch may have several."""
        number, found = 0, []
        for before, entry in pairwise([*self.history[:1], *self.history]):
            number += entry["stage"] != before["stage"] or entry["epoch"] < before["epoch"]
            found.append((number, entry["epoch"]))
        return found

    @property
    def state(self) -> str:
        """Describe how far the run is."""
        if not self.history:
            return "not finished: no validation yet"
        stages: list[dict[str, Any]] = self.settings["stages"]
        number, epoch = self.places[-1]
        planned, lines = stages[number]["epochs"], [line for _, line in self.log]
        # The last epoch ends with a validation, but may have others before.
        ended = (number + 1, epoch) == (len(stages), planned)
        ended = ended and not stages[number].get("validate_steps")
        if not ended and not any(line.startswith(_FINISHED) for line in lines):
            return (
                f"not finished: last validation in epoch {epoch} of {planned} of "
                f"{stages[number]['name']}, stage {number + 1} of {len(stages)}"
            )
        done, total = len(set(self.places)), sum(stage["epochs"] for stage in stages)
        if done == total:
            return f"finished: {done} epochs"
        early = dict.fromkeys(line for line in lines if line.endswith(_EARLY))
        return "; ".join([f"finished: {done} of {total} epochs", *early])


def read_run(folder: Path) -> RunFiles:
    """Read the folder of a run; what does not exist yet is left out.

    Raises:
        DataError: the folder holds no run, or a report in it is not JSON.
        CheckpointError: a checkpoint is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give that of a run, such as runs/NAME.")
    best = [folder / name for name in ("best.safetensors", "last.safetensors")]
    checkpoint = next((path for path in best if path.is_file()), None)
    log = _read_log(folder / "log.txt")
    if checkpoint is None and not log:
        raise DataError(
            f"{folder} holds neither a checkpoint nor log.txt; give the folder of a run, such as "
            "runs/NAME."
        )
    # The latest checkpoint has the whole history; the best one is shown.
    latest = next((path for path in reversed(best) if path.is_file()), None)
    return RunFiles(
        folder=folder,
        checkpoint=checkpoint,
        header=read_header(latest) if latest else None,
        curves=read_curves(folder),
        log=log,
        evaluation=_read_json(folder / EVALUATION),
        grounding=_read_json(folder / GROUNDING),
    )


def _read_log(path: Path) -> list[tuple[datetime, str]]:
    if not path.is_file():
        return []
    found = map(_LINE.fullmatch, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(datetime.fromisoformat(m[1]), m[2]) for m in found if m]


def read_curves(folder: Path) -> dict[str, Points]:
    """Read the curves of a run from its metrics.jsonl; empty without one."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    curves: dict[str, Points] = {}
    for line in lines:
        if line.endswith("\n"):  # the last one may be being written
            point = json.loads(line)
            step, _ = point.pop("step"), point.pop("time")
            for name, value in point.items():
                if value is not None:  # NaN
                    curves.setdefault(name, []).append((step, value))
    return curves


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error}); create it again, or remove it."
        ) from error
    if not isinstance(table, dict):
        raise DataError(f"{path} holds no report; create it again, or remove it.")
    return table

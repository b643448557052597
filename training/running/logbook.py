"""Curves of a run: TensorBoard, JSON lines, and Weights & Biases if configured."""

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from captioner.durable import replace_file
from captioner.errors import MissingExtraError
from captioner.interchange import portable

METRICS = "metrics.jsonl"
"""Every point of every curve, one JSON object per line: step, Unix time in seconds, values."""
_IDENTITY = "wandb.id"  # so that a resumed run continues the same run there


class Logbook:
    """Writes curves, values by name and step, for TensorBoard and as JSON lines.

    Args:
        folder: folder of the run.
        first_step: points from this step on belong to a killed run and are removed.
        project: Weights & Biases project; empty disables it. Its own environment variables apply:
            with WANDB_MODE=offline, nothing leaves the machine.
        name: name of the run in Weights & Biases.
        settings: settings shown there.

    Raises:
        MissingExtraError: a project is given, but wandb is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int,
        project: str = "",
        name: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._wandb = _begin(folder, project, name, settings or {}) if project else None
        self._lines = folder / METRICS
        _cut(self._lines, first_step)
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def add(self, curves: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        for name, value in curves.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        with self._lines.open("a", encoding="utf-8") as file:
            line = {"step": step, "time": round(time.time(), 3), **curves}
            file.write(json.dumps(portable(line)) + "\n")
        if self._wandb is not None:
            self._wandb.log({**curves, "step": step})

    def show(self, images: Iterable[tuple[str, NDArray[np.uint8]]], step: int) -> None:
        """Add images, (H, W, 3), by name; to TensorBoard only."""
        for name, image in images:
            self._writer.add_image(name, image, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Mark the run as finished."""
        self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def _cut(lines: Path, first_step: int) -> None:
    """Remove what a killed run wrote after the step that this run resumes from."""
    if not lines.is_file():
        return
    kept = [
        line
        for line in lines.read_text(encoding="utf-8").splitlines(keepends=True)
        if line.endswith("\n") and json.loads(line)["step"] < first_step
    ]
    replace_file(lines, "".join(kept).encode())


def _begin(folder: Path, project: str, name: str, settings: Mapping[str, Any]) -> Any:
    try:
        import wandb  # noqa: PLC0415  # an optional extra
    except ImportError as error:
        raise MissingExtraError(
            f"wandb is set to {project!r}, but the package is not installed: "
            "pip install 'captioner[wandb]'"
        ) from error
    identity = folder / _IDENTITY
    if not identity.is_file():
        identity.write_text(secrets.token_hex(4), encoding="utf-8")
    run = wandb.init(
        project=project,
        name=name,
        id=identity.read_text(encoding="utf-8").strip(),
        resume="allow",
        dir=str(folder),
        config=dict(settings),
    )
    run.define_metric("*", step_metric="step")
    return run

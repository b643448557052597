"""Where the numbers of a run go while it runs: TensorBoard, and Weights & Biases if asked for."""

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
"""Every point of every curve, an object a line: step, time in seconds since 1970, and numbers."""
_IDENTITY = "wandb.id"  # so that a run that goes on is the same run there, too


class Logbook:
    """Keeps curves: numbers by name and step, in TensorBoard's form and as JSON lines.

    Args:
        folder: of the run.
        first_step: whatever TensorBoard holds from here on is of a run that was killed.
        project: of Weights & Biases; empty to leave that out. Its own variables say where it goes:
            with WANDB_MODE=offline, nothing leaves the machine.
        name: of the run there.
        settings: shown there.

    Raises:
        MissingExtraError: a project is named, but wandb is not installed.
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
        """Add a point to each of these curves."""
        for name, value in curves.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        with self._lines.open("a", encoding="utf-8") as file:
            line = {"step": step, "time": round(time.time(), 3), **curves}
            file.write(json.dumps(portable(line)) + "\n")
        if self._wandb is not None:
            self._wandb.log({**curves, "step": step})

    def show(self, pictures: Iterable[tuple[str, NDArray[np.uint8]]], step: int) -> None:
        """Add pictures, (H, W, 3), by name; TensorBoard alone has them."""
        for name, picture in pictures:
            self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Say that the run is over."""
        self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def _cut(lines: Path, first_step: int) -> None:
    """Take out what a run that was killed wrote behind the step that it goes on from."""
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
        import wandb  # noqa: PLC0415  # an extra, met where it is needed
    except ImportError as error:
        raise MissingExtraError(
            f"The setting wandb is {project!r}, which needs the package: "
            "pip install 'captioner[wandb]'"
        ) from error
    place = folder / _IDENTITY
    if not place.is_file():
        place.write_text(secrets.token_hex(4), encoding="utf-8")
    run = wandb.init(
        project=project,
        name=name,
        id=place.read_text(encoding="utf-8").strip(),
        resume="allow",
        dir=str(folder),
        config=dict(settings),
    )
    run.define_metric("*", step_metric="step")
    return run

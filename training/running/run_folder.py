"""The folder of a run: log, curves, checkpoints, and the state it resumes from.

best.safetensors   checkpoint with the best validation CIDEr
last.safetensors   checkpoint of the latest validation
stage.safetensors  best checkpoint of the stage in float32, which the next stage starts from
log.txt            log lines with their time
metrics.jsonl      every point of every curve, one JSON object per line
tensorboard/       the same curves
resume.pt          see `training.running.resume`
"""

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from captioner.checkpoint.header import Header
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.durable import explained
from captioner.model import CaptionModel
from data.ranks import Ranks
from training.running.logbook import Logbook
from training.running.resume import RunState, Stateful, load_resume, save_resume
from training.settings import RunConfig

RESUME = "resume.pt"
"""State that the run resumes from."""
_STAGE = "stage.safetensors"


class RunFolder:
    """Reads and writes the folder of a run; only the first rank writes.

    Args:
        path: the folder.
        config: settings of the run.
        identity: plain values that must be the same for the run to resume.
        ranks: the processes that train together.
    """

    def __init__(
        self, path: Path, config: RunConfig, *, identity: Mapping[str, Any], ranks: Ranks
    ) -> None:
        self.path = path
        self.config = config
        self.identity = identity
        self.ranks = ranks
        self._logbook: Logbook | None = None

    def log(self, line: str) -> None:
        """Write a line to standard error and to log.txt."""
        if not self.ranks.first:
            return
        tqdm.write(line, file=sys.stderr)
        path = self.path / "log.txt"
        with explained(path, option="--folder"), path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def open(self, *, first_step: int) -> None:
        """Create the folder and the curves; drop points from this step on, of a killed run."""
        if not self.ranks.first:
            return
        with explained(self.path, option="--folder"):
            self._logbook = Logbook(
                self.path,
                first_step=first_step,
                project=self.config.wandb,
                name=self.config.name,
                settings=self.identity,
            )

    def plot(self, group: str, values: Mapping[str, float], *, step: int) -> None:
        """Add a point to the curve `GROUP/NAME` of each value."""
        if self._logbook is not None:
            with explained(self.path, option="--folder"):
                self._logbook.add({f"{group}/{name}": y for name, y in values.items()}, step)

    def show(self, images: Iterable[tuple[str, NDArray[np.uint8]]], *, step: int) -> None:
        """Show images, (H, W, 3), by name; only the first rank computes them."""
        if self._logbook is not None:
            with explained(self.path, option="--folder"):
                self._logbook.show(images, step)

    def close(self) -> None:
        """Mark the run as finished."""
        if self._logbook is not None:
            self._logbook.close()

    def save(self, model: CaptionModel, header: Header, *, best: bool, best_of_stage: bool) -> None:
        """Save a checkpoint as the latest and, where it is, as the best."""
        if not self.ranks.first:
            return
        save_checkpoint(self.path / "last.safetensors", model, header, half=True)
        if best:
            save_checkpoint(self.path / "best.safetensors", model, header, half=True)
        if best_of_stage:
            save_checkpoint(self.path / _STAGE, model, header, half=False)

    def best_of_stage(self) -> Mapping[str, Any]:
        """Return the weights of the latest stage's best validation."""
        weights: dict[str, Any] = {}
        if self.ranks.first:
            weights = load_checkpoint(self.path / _STAGE)[0].state_dict()
        return self.ranks.agree(weights)

    def load_resume(self) -> dict[str, Any] | None:
        """Read the state to resume from; None for a new run."""
        state = None
        if self.ranks.first:
            state = load_resume(self.path / RESUME, identity=self.identity, say=self.log)
        return self.ranks.agree(state)

    def save_resume(self, progress: RunState, parts: Mapping[str, Stateful]) -> None:
        """Save the state to resume from."""
        save_resume(
            self.path / RESUME,
            progress,
            identity=self.identity,
            parts=parts,
            ranks=self.ranks,
            keep=self.config.keep,
        )

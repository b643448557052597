"""The folder of a run: what it says, its curves, its checkpoints, and what it goes on from.

best.safetensors   the checkpoint with the best validation CIDEr
last.safetensors   the one after the latest epoch
stage.safetensors  the best one of the stage, in full precision, for the next stage to begin with
log.txt            what was said, with the time
metrics.jsonl      every point of every curve, an object a line
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
"""What a run goes on from."""
_STAGE = "stage.safetensors"


class RunFolder:
    """Where a run is kept; of several processes, the first one writes.

    Args:
        path: of the folder.
        config: of the run.
        identity: what a run must be the same in to be gone on with, as plain values.
        ranks: who shares the run.
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
        """Say it to whoever watches, and keep it."""
        if not self.ranks.first:
            return
        tqdm.write(line, file=sys.stderr)
        path = self.path / "log.txt"
        with explained(path, option="--folder"), path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def open(self, *, first_step: int) -> None:
        """Make the folder, and open the curves; points from this step on are of a killed run."""
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

    def draw(self, curves: Mapping[str, float], *, step: int) -> None:
        """Add a point to each of these curves."""
        if self._logbook is not None:
            with explained(self.path, option="--folder"):
                self._logbook.add(curves, step)

    def show(self, pictures: Iterable[tuple[str, NDArray[np.uint8]]], *, step: int) -> None:
        """Show pictures by name, (H, W, 3); of several processes, the first one makes them."""
        if self._logbook is not None:
            with explained(self.path, option="--folder"):
                self._logbook.show(pictures, step)

    def close(self) -> None:
        """Say that the run is over."""
        if self._logbook is not None:
            self._logbook.close()

    def save(self, model: CaptionModel, header: Header, *, best: bool, best_of_stage: bool) -> None:
        """Keep a checkpoint as the last one, and as the best one if it is."""
        if not self.ranks.first:
            return
        save_checkpoint(self.path / "last.safetensors", model, header, half=True)
        if best:
            save_checkpoint(self.path / "best.safetensors", model, header, half=True)
        if best_of_stage:
            save_checkpoint(self.path / _STAGE, model, header, half=False)

    def best_of_stage(self) -> Mapping[str, Any]:
        """Return the weights of the latest stage's best epoch."""
        weights: dict[str, Any] = {}
        if self.ranks.first:
            weights = load_checkpoint(self.path / _STAGE)[0].state_dict()
        return self.ranks.agree(weights)

    def load_resume(self) -> dict[str, Any] | None:
        """Read where the run stood; None if it is a new one."""
        stood = None
        if self.ranks.first:
            stood = load_resume(self.path / RESUME, identity=self.identity, say=self.log)
        return self.ranks.agree(stood)

    def save_resume(self, progress: RunState, parts: Mapping[str, Stateful]) -> None:
        """Write where the run stands."""
        save_resume(
            self.path / RESUME,
            progress,
            identity=self.identity,
            parts=parts,
            ranks=self.ranks,
            keep=self.config.keep,
        )

"""A model in one stage of its training: what it learns from, its optimizer and its schedule."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from captioner.model import CaptionModel
from data.batching import Batch
from data.ranks import Ranks
from training.distributed import shared
from training.objectives import Objective
from training.optim import build_optimizer, build_schedule
from training.resume import Part
from training.settings import StageConfig


class Lesson(nn.Module):
    """What is made small, as one module: gradients are shared by the forward of a module."""

    def __init__(self, model: CaptionModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and the objective's measure."""
        seen = batch.inputs
        features = seen if seen.ndim == 3 else self.model.encoder(seen)  # cached, or pixels
        return self.objective(features, batch)


class Learner:
    """Learns from one batch after the other."""

    def __init__(
        self,
        model: CaptionModel,
        objective: Objective,
        stage: StageConfig,
        *,
        steps: int,
        ranks: Ranks,
    ) -> None:
        """Make optimizer and schedule.

        Args:
            model: what the stage trains is marked already.
            objective: of its decoder.
            stage: says how it learns.
            steps: steps of the whole stage.
            ranks: who learns together.
        """
        self.model = model
        self.objective = objective
        self.stage = stage
        self.optimizer = build_optimizer(model, stage)
        self.schedule = build_schedule(self.optimizer, stage, steps=steps)
        self._lesson = shared(Lesson(model, objective), ranks)

    @property
    def parts(self) -> Mapping[str, Part]:
        """All that must be kept to go on after being killed, by name."""
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}

    @property
    def rate(self) -> float:
        """The decoder's learning rate in the next step."""
        return float(self.schedule.get_last_lr()[0])

    def prepare(self) -> None:
        """Switch dropout on or off, as this stage wants it."""
        # Captions are drawn without dropout, so what is learned from them is read without it.
        self.model.train(self.stage.objective == "words")
        if self.stage.encoder == "frozen":
            self.model.encoder.eval()

    def step(self, batch: Batch) -> Tensor:
        """Learn from one batch; return the objective's measure and the norm of the gradient."""
        device = batch.inputs.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, measure = self._lesson(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, self.stage.clip or math.inf)
        self.optimizer.step()
        self.schedule.step()
        return torch.stack([measure, norm])

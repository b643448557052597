"""A model in one stage of its training: objective, optimizer, schedule, average of the weights."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from captioner.model import CaptionModel
from data.batching import Batch
from data.ranks import Ranks
from training.objectives import Objective
from training.running.distributed import WholeOptimizer, gathered, sharded, shared, sharing, unshard
from training.running.mixed_precision import Kind, Precision
from training.running.optim import build_optimizer, build_schedule
from training.running.resume import Stateful
from training.settings import StageConfig

_Tensors = tuple[Tensor, ...] | list[Tensor]


class ObjectiveModule(nn.Module):
    """What is made small, as one module: gradients are shared by the forward of a module."""

    def __init__(self, model: CaptionModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
        """Return the loss and the objective's measure."""
        seen = batch.inputs
        features = seen if seen.ndim == 3 else self.model.encoder(seen)  # cached, or pixels
        return self.objective(features, batch, progress=progress)


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
        precision: Kind = "auto",
        shard: bool = False,
    ) -> None:
        """Make optimizer and schedule.

        Args:
            model: what the stage trains is marked already.
            objective: of its decoder.
            stage: says how it learns.
            steps: steps of the whole stage.
            ranks: who learns together.
            precision: of the arithmetic.
            shard: share the weights out among them while the encoder learns.
        """
        self.model = model
        self.objective = objective
        self.stage = stage
        module = ObjectiveModule(model, objective)
        self._shard = shard and ranks.count > 1 and stage.encoder == "trained"
        if self._shard:
            module = sharded(module, "model.encoder.backbone")
            self.objective = module.objective
        self._trained = module.model
        self._module = module if self._shard else shared(module, ranks)
        self.optimizer = build_optimizer(self._trained, stage)
        self.schedule = build_schedule(self.optimizer, stage, steps=steps)
        self._steps = steps
        self._ranks = ranks
        self._precision = Precision(precision, device=next(model.parameters()).device)
        self._average = average_weights(model, decay=stage.ema) if stage.ema else None

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """All that must be kept to go on after being killed, by name."""
        parts: dict[str, Stateful] = {
            "model": self.model,
            "optimizer": WholeOptimizer(self.optimizer),
            "schedule": self.schedule,
        }
        if self._precision.scaler.is_enabled():
            parts["scaler"] = self._precision.scaler
        if self._average is not None:
            parts["average"] = self._average
        return parts

    @property
    def result(self) -> CaptionModel:
        """What has been learned: the model, or the moving average of its weights."""
        return self.model if self._average is None else cast(CaptionModel, self._average.module)

    def finish(self) -> None:
        """Leave the model with what has been learned, for the next stage to go on from."""
        if self._average is not None:
            self.model.load_state_dict(self._average.module.state_dict())

    @property
    def rate(self) -> float:
        """The decoder's learning rate in the next step."""
        return float(self.schedule.get_last_lr()[0])

    def settle(self) -> None:
        """Bring what was learned into the model, should its weights be shared out."""
        if self._shard:
            unshard(self._trained, self.model)

    def prepare(self) -> None:
        """Switch dropout on or off, as this stage wants it."""
        self._trained.train(self.objective.dropout)
        if self.stage.encoder == "frozen":
            self._trained.encoder.eval()

    def step(self, batches: Sequence[Batch]) -> Tensor:
        """Learn from these as from one batch.

        Returns:
            The objective's measure, what is made small, and the norm of the gradient, (3,).
        """
        progress = self.schedule.last_epoch / self._steps
        self.optimizer.zero_grad(set_to_none=True)
        numbers = []
        for batch, share in zip(batches, self._shares(batches), strict=True):
            with sharing(self._module, batch is batches[-1]):  # once all is added up
                with self._precision.context():
                    loss, measure = self._module(batch, progress)
                self._precision.backward(loss * share)
            numbers.append(torch.stack([measure, loss.detach()]) * share)
        norm = gathered(self._precision.step(self.optimizer, clip=self.stage.clip or math.inf))
        self.schedule.step()
        if self._average is not None:
            self.settle()
            self._average.update_parameters(self.model)
        return torch.cat([torch.stack(numbers).sum(dim=0), norm[None]])

    def _shares(self, batches: Sequence[Batch]) -> Sequence[Tensor | float]:
        """How much each batch has to say: its loss is a mean over so many of all words."""
        if len(batches) == 1:
            return [1.0]
        sizes = self._ranks.sum(torch.stack([self.objective.size(batch) for batch in batches]))
        return list(sizes / sizes.sum())


def average_weights(model: CaptionModel, *, decay: float) -> AveragedModel:
    """Make an exponential moving average (EMA) of the weights, which begins as the model.

    The decay starts low, so that the weights of the beginning are soon forgotten: it is
    (1 + n) / (10 + n) after n steps, and the one given at most.
    """

    @torch.no_grad()
    def mix(averages: _Tensors, latest: _Tensors, steps: Tensor | int) -> None:
        steps = torch.as_tensor(steps)  # stays on a GPU, which need not wait
        fresh = 1 - ((1 + steps) / (10 + steps)).clamp(max=decay)
        for average, now in zip(averages, latest, strict=True):
            average.lerp_(now, fresh)

    return AveragedModel(model, multi_avg_fn=mix)

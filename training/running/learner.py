"""The model in one stage: objective, optimizer, learning-rate schedule, EMA of the weights."""

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
from training.running.distributed import (
    FullStateOptimizer,
    data_parallel,
    full_tensor,
    gradient_sync,
    shard_copy,
    unshard,
)
from training.running.mixed_precision import Kind, Precision
from training.running.optim import build_optimizer, build_schedule
from training.running.resume import Stateful
from training.settings import StageConfig

_Tensors = tuple[Tensor, ...] | list[Tensor]


class ObjectiveModule(nn.Module):
    """Model and objective as one module: DDP and FSDP average gradients per module call."""

    def __init__(self, model: CaptionModel, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
        """Return the loss and the objective's measure, both scalars."""
        inputs = batch.inputs
        features = inputs if inputs.ndim == 3 else self.model.encoder(inputs)  # cached, or pixels
        return self.objective(features, batch, progress=progress)


class Learner:
    """Trains a model for one stage, step by step."""

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
        """Set training mode, and build the optimizer and the schedule.

        Args:
            model: its parameters are already frozen or trainable as the stage asks.
            objective: built on the model's decoder.
            stage: settings of the stage.
            steps: optimizer steps of the whole stage.
            ranks: the processes that train together.
            precision: arithmetic of the forward and backward pass.
            shard: shard the weights across ranks while the encoder is trained.
        """
        self.model = model
        self.objective = objective
        self.stage = stage
        module = ObjectiveModule(model, objective)
        self._shard = shard and ranks.count > 1 and stage.encoder == "trained"
        if self._shard:
            module = shard_copy(module, "model.encoder.backbone")
            self.objective = module.objective
        self._trained = module.model
        self._trained.train(self.objective.dropout)
        if stage.encoder == "frozen":
            self._trained.encoder.eval()
        self._module = module if self._shard else data_parallel(module, ranks)
        self.optimizer = build_optimizer(self._trained, stage)
        self.schedule = build_schedule(self.optimizer, stage, steps=steps)
        self._steps = steps
        self._ranks = ranks
        self._precision = Precision(precision, device=next(model.parameters()).device)
        self._average = average_weights(model, decay=stage.ema) if stage.ema else None

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """Everything that is saved to resume the stage, by name."""
        parts: dict[str, Stateful] = {
            "model": self.model,
            "optimizer": FullStateOptimizer(self.optimizer),
            "schedule": self.schedule,
        }
        if self._precision.scaler.is_enabled():
            parts["scaler"] = self._precision.scaler
        if self._average is not None:
            parts["average"] = self._average
        return parts

    @property
    def eval_model(self) -> CaptionModel:
        """The model to evaluate and save: the EMA of the weights if the stage keeps one."""
        return self.model if self._average is None else cast(CaptionModel, self._average.module)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the decoder in the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, batches: Sequence[Batch]) -> Tensor:
        """Take one optimizer step, accumulating gradients over these batches.

        Returns:
            The objective's measure, the loss and the gradient norm, (3,).
        """
        progress = self.schedule.last_epoch / self._steps
        self.optimizer.zero_grad(set_to_none=True)
        numbers = []
        for batch, share in zip(batches, self._shares(batches), strict=True):
            with gradient_sync(self._module, batch is batches[-1]):  # once, with the last batch
                with self._precision.context():
                    loss, measure = self._module(batch, progress)
                self._precision.backward(loss * share)
            numbers.append(torch.stack([measure, loss.detach()]) * share)
        norm = full_tensor(self._precision.step(self.optimizer, clip=self.stage.clip or math.inf))
        self.schedule.step()
        if self._average is not None:
            self.gather_weights()
            self._average.update_parameters(self.model)
        return torch.cat([torch.stack(numbers).sum(dim=0), norm[None]])

    def gather_weights(self) -> None:
        """Copy sharded weights into `model`; needed before it is evaluated or saved."""
        if self._shard:
            unshard(self._trained, self.model)

    def copy_average_to_model(self) -> None:
        """Replace the weights by their EMA, if any, for the next stage to start from."""
        if self._average is not None:
            self.model.load_state_dict(self._average.module.state_dict())

    def _shares(self, batches: Sequence[Batch]) -> Sequence[Tensor | float]:
        """Weight of each batch: its fraction of all terms that the step's loss averages over."""
        if len(batches) == 1:
            return [1.0]
        sizes = self._ranks.sum(torch.stack([self.objective.size(batch) for batch in batches]))
        return list(sizes / sizes.sum())


def average_weights(model: CaptionModel, *, decay: float) -> AveragedModel:
    """Make an exponential moving average (EMA) of the weights, initialised with the model's.

    After n steps the decay is (1 + n) / (10 + n), at most `decay`: a low decay at the start forgets
    the initial weights quickly.
    """

    @torch.no_grad()
    def mix(averages: _Tensors, latest: _Tensors, steps: Tensor | int) -> None:
        steps = torch.as_tensor(steps)  # keeps a GPU tensor, without synchronising
        fresh = 1 - ((1 + steps) / (10 + steps)).clamp(max=decay)
        for average, now in zip(averages, latest, strict=True):
            average.lerp_(now, fresh)

    return AveragedModel(model, multi_avg_fn=mix)

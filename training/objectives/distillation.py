"""Knowledge distillation: train on the output distribution of one or more teacher captioners.

Source: Hinton et al. 2015, section 2 (arXiv:1503.02531).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from captioner.checkpoint.weights import load_checkpoint
from captioner.errors import ConfigError
from captioner.model import CaptionModel
from captioner.model.ensemble import average_logits
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from training.objectives.loss import LOCAL_AVERAGE, Average
from training.settings import RunConfig, StageConfig


class Teacher:
    """Frozen captioners; the probabilities of several are averaged."""

    def __init__(self, models: Sequence[CaptionModel]) -> None:
        self._models = [model.eval().requires_grad_(False) for model in models]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Return the teachers' next-token logits, (B, K, T, V)."""
        inputs, words = batch.inputs, batch.words[:, :, :-1]
        logits = []
        for model in self._models:
            features = inputs if inputs.ndim == 3 else model.encoder(inputs)
            logits.append(model.decoder(features, words).logits)
        return average_logits(logits)


def load_teacher(
    config: RunConfig, stage: StageConfig, *, model: CaptionModel, tokenizer: Tokenizer
) -> Teacher | None:
    """Load the stage's teachers onto the model's device; None if it has none.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
        ConfigError: a teacher has another vocabulary, preprocessing or encoder than the run.
    """
    if not stage.teachers:
        return None
    return Teacher(
        [
            _load_one(path, config, stage, model=model, tokenizer=tokenizer)
            for path in stage.teachers
        ]
    )


def _load_one(
    path: str, config: RunConfig, stage: StageConfig, *, model: CaptionModel, tokenizer: Tokenizer
) -> CaptionModel:
    teacher, header = load_checkpoint(Path(path))
    where = f"stages.teachers: {path}"
    if header.tokenizer.to_json() != tokenizer.to_json():
        raise ConfigError(
            f"{where} has another vocabulary ({len(header.tokenizer)} tokens) than this run "
            f"({len(tokenizer)} tokens); train one with start_from the other, or both on the same "
            "captions."
        )
    if header.preprocess != config.preprocess:
        raise ConfigError(
            f"{where} was trained with preprocess {header.preprocess}, but this run has "
            f"{config.preprocess}; make preprocess the same."
        )
    device = next(model.parameters()).device
    teacher.to(device)
    if stage.encoder == "frozen" and not _same_weights(teacher.encoder, model.encoder):
        raise ConfigError(
            f"{where} has another encoder, so it cannot use this run's cached features; in stage "
            f'{stage.name!r} set encoder = "trained", and frozen_layers = 1.0 to keep it frozen.'
        )
    return teacher


def distillation_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    words: Tensor,
    *,
    temperature: float,
    pad_id: int,
    average: Average = LOCAL_AVERAGE,
) -> Tensor:
    """Kullback-Leibler divergence from the teacher's distribution, averaged over tokens, in nats.

    Args:
        logits: (B, K, T, V), the student's, after reading `words[..., :T]`.
        teacher_logits: (B, K, T, V).
        words: token ids (B, K, T + 1), START first; padding is ignored.
        temperature: divides both logits. The loss is multiplied by its square, which keeps the
            gradients' scale.
        pad_id: id of the padding token.
        average: turns a total and a count into a mean over all ranks.
    """
    real = words[:, :, 1:] != pad_id
    student = (logits.float() / temperature).log_softmax(dim=-1)[real]
    teacher = (teacher_logits.float() / temperature).log_softmax(dim=-1)[real]
    total = torch.nn.functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return temperature**2 * average(total, real.sum())


def _same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules hold the same weights, to the half precision of checkpoints."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        x.shape == theirs[name].shape and torch.allclose(x, theirs[name], rtol=1e-3, atol=1e-6)
        for name, x in ours.items()
    )

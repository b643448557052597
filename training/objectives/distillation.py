"""A teacher: trained captioners, whose probabilities say more of a word than that it is right.

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
from training.objectives.loss import ALONE, Average
from training.settings import RunConfig, StageConfig


class Teacher:
    """Captioners that are trained no further; several teach the mean of their probabilities."""

    def __init__(self, models: Sequence[CaptionModel]) -> None:
        self._models = [model.eval().requires_grad_(False) for model in models]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Return the scores of the next words, (B, K, T, V)."""
        seen, words = batch.inputs, batch.words[:, :, :-1]
        logits = []
        for model in self._models:
            features = seen if seen.ndim == 3 else model.encoder(seen)
            logits.append(model.decoder(features, words).logits)
        return average_logits(logits)


def load_teacher(
    config: RunConfig, stage: StageConfig, *, model: CaptionModel, tokenizer: Tokenizer
) -> Teacher | None:
    """Read the stage's teachers, if it has any, to where the model is.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
        ConfigError: a teacher knows other words, or cannot see what the model sees.
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
            f"{where} knows {len(header.tokenizer)} other words than the {len(tokenizer)} of this "
            "run; train one of them with start_from the other, or on the same captions."
        )
    if header.preprocess != config.preprocess:
        raise ConfigError(
            f"{where} was trained with preprocess {header.preprocess}, but this run has "
            f"{config.preprocess}; make preprocess the same."
        )
    device = next(model.parameters()).device
    teacher.to(device)
    if stage.encoder == "frozen" and not _same(teacher.encoder, model.encoder):
        raise ConfigError(
            f"{where} has another encoder, whose features are not cached; give stage "
            f'{stage.name!r} encoder = "trained", and frozen_layers = 1.0 if it is to stay so.'
        )
    return teacher


def distillation_loss(
    logits: Tensor,
    taught: Tensor,
    words: Tensor,
    *,
    temperature: float,
    pad_id: int,
    average: Average = ALONE,
) -> Tensor:
    """Kullback-Leibler divergence from the teacher's next words, averaged over real words, in nats.

    Args:
        logits: (B, K, T, V), scores after reading `words[..., :T]`.
        taught: the teacher's.
        words: (B, K, T + 1), START first; padding is not counted.
        temperature: divides both; its square makes up for the smaller gradients.
        pad_id: marks padding.
        average: how totals become means.
    """
    real = words[:, :, 1:] != pad_id
    mine = (logits.float() / temperature).log_softmax(dim=-1)[real]
    theirs = (taught.float() / temperature).log_softmax(dim=-1)[real]
    apart = torch.nn.functional.kl_div(mine, theirs, reduction="sum", log_target=True)
    return temperature**2 * average(apart, real.sum())


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two encoders hold the same weights, up to half precision, in which they are kept."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        x.shape == theirs[name].shape and torch.allclose(x, theirs[name], rtol=1e-3, atol=1e-6)
        for name, x in ours.items()
    )

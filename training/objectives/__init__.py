"""Training objectives: cross-entropy on human captions, and self-critical training on CIDEr-D.

loss                  cross-entropy, coverage and grounding losses
distillation          knowledge distillation from teacher checkpoints
scheduled_sampling    replaces some input words with the model's own samples
self_critical         sampled captions, weighted by their reward
reward, overlap       CIDEr-D and BLEU-4 on token ids, as tensor operations
penalties             hallucinations, and likeness to captions of other photos
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import ClassVar

import torch
from torch import Tensor

from captioner.model import Decoder
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from data.objects import Names
from training.objectives.distillation import Teacher, distillation_loss
from training.objectives.loss import (
    LOCAL_AVERAGE,
    Average,
    coverage_loss,
    cross_entropy_loss,
    grounding_loss,
)
from training.objectives.penalties import count_hallucinations, score_on_other_photos
from training.objectives.reward import Reward
from training.objectives.scheduled_sampling import mix_in_samples
from training.objectives.self_critical import sample_captions, self_critical_loss
from training.settings import OBJECTIVES, StageConfig


@dataclass(frozen=True, kw_only=True)
class ObjectiveSetup:
    """Everything an objective is built from."""

    decoder: Decoder
    """The decoder to train."""
    stage: StageConfig
    """Settings of the stage."""
    tokenizer: Tokenizer
    """Tokenizer of the run. Its prefix (START and the prompt) is given, so it carries no loss."""
    captions: Iterable[Sequence[str]] = ()
    """Training captions grouped by image; the source of the reward's document frequencies."""
    max_words: int = 30
    """Maximum length of sampled captions, in tokens."""
    names: Sequence[Names] = ()
    """What rewards count as hallucinated where no reference names it."""
    teacher: Teacher | None = None
    """Teacher for knowledge distillation, if the stage has one."""
    average: Average = LOCAL_AVERAGE
    """Turns a total and a count into a mean over all ranks."""


class Objective(ABC):
    """A training objective: a loss to minimise and a measure to report."""

    measure: ClassVar[str]
    """Name of the reported measure, such as `loss` or `reward`."""
    dropout: ClassVar[bool] = True
    """Whether the model trains with dropout."""
    signature: str = ""
    """What the measure depends on beyond the settings, for the checkpoint header; may be empty."""

    def __init__(self, setup: ObjectiveSetup) -> None:
        self._decoder = setup.decoder
        self._stage = setup.stage
        self._tokenizer = setup.tokenizer
        self._average = setup.average

    @abstractmethod
    def size(self, batch: Batch) -> Tensor:
        """Number of terms that a batch's loss averages over; weights gradient accumulation."""

    @abstractmethod
    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise and the measure to report, both scalars.

        Args:
            features: region features of the batch, (B, P, D).
            batch: photos and their human captions.
            progress: fraction of the stage that is done, from 0 to 1.
        """


class CrossEntropyObjective(Objective):
    """Cross-entropy of the next token of the human captions (teacher forcing).

    Label smoothing, scheduled sampling, distillation, coverage and grounding are added as the
    stage's settings ask.
    """

    measure = "loss"

    def __init__(self, setup: ObjectiveSetup) -> None:
        super().__init__(setup)
        self._teacher = setup.teacher
        self._pad_id = self._tokenizer.pad_id
        self._first = len(self._tokenizer.prefix) - 1

    def size(self, batch: Batch) -> Tensor:
        """Number of target tokens; prefix and padding carry no loss."""
        return (batch.words[:, :, self._first + 1 :] != self._pad_id).sum()

    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the plain cross-entropy in nats per token."""
        stage, pad_id, average, first = self._stage, self._pad_id, self._average, self._first
        inputs = batch.words[:, :, :-1]
        if stage.scheduled_sampling > 0:
            probability = progress * stage.scheduled_sampling
            inputs = mix_in_samples(
                self._decoder,
                features,
                inputs,
                probability=probability,
                tokenizer=self._tokenizer,
            )
        with_attention = stage.coverage > 0 or stage.grounding > 0
        output = self._decoder(features, inputs, with_attention=with_attention)
        words, logits = batch.words[:, :, first:], output.logits[:, :, first:]
        total, cross_entropy = cross_entropy_loss(
            logits,
            words,
            pad_id=pad_id,
            label_smoothing=stage.label_smoothing,
            average=average,
        )
        if self._teacher is not None:
            divergence = distillation_loss(
                logits,
                self._teacher(batch)[:, :, first:],
                words,
                temperature=stage.teacher_temperature,
                pad_id=pad_id,
                average=average,
            )
            total = (1 - stage.teacher_weight) * total + stage.teacher_weight * divergence
        if stage.coverage > 0:
            assert output.attention is not None
            attention = output.attention[..., first:, :]
            penalty = coverage_loss(attention, words, pad_id=pad_id, average=average)
            total = total + stage.coverage * penalty
        if stage.grounding > 0:
            assert output.attention is not None
            assert batch.shares is not None
            attention = output.attention[..., first:, :]
            shares = batch.shares[:, :, : attention.shape[-2]]
            penalty = grounding_loss(attention, shares, average=average)
            total = total + stage.grounding * penalty
        return total, cross_entropy.detach()


class SelfCriticalObjective(Objective):
    """Self-critical sequence training (SCST): raise the probability of captions with a high reward.

    Each sampled caption is compared with the other samples of the same image.
    """

    measure = "reward"
    dropout = False  # dropout would change the distribution that the captions are sampled from

    def __init__(self, setup: ObjectiveSetup) -> None:
        super().__init__(setup)
        ids = self._tokenizer.encode_each(setup.captions)
        self.reward = Reward(ids, self._tokenizer, bleu=self._stage.bleu)
        self.signature = self.reward.signature
        if self._stage.hallucination_penalty:
            self.signature += f"|-{self._stage.hallucination_penalty:g}*hallucinations"
        if self._stage.distinctiveness:
            self.signature += f"|-{self._stage.distinctiveness:g}*other photos"
        self._names = setup.names
        self._max_words = setup.max_words

    def size(self, batch: Batch) -> Tensor:
        """Number of sampled captions."""
        return torch.tensor(len(batch.words) * self._stage.samples, device=batch.words.device)

    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the mean reward before penalties."""
        stage = self._stage
        words, first = self.sample(features), len(self._tokenizer.prefix)
        samples, references = words[:, :, first:], batch.words[:, :, first:]
        rewards = self.reward(samples, references)
        penalties = torch.zeros_like(rewards)
        if stage.hallucination_penalty:
            penalties += stage.hallucination_penalty * count_hallucinations(
                samples, batch.captions, tokenizer=self._tokenizer, names=self._names
            )
        if stage.distinctiveness:
            elsewhere = score_on_other_photos(self.reward, samples, references)
            penalties += stage.distinctiveness * elsewhere
        output = self._decoder(features, words[:, :, :-1], with_attention=False)
        loss = self_critical_loss(
            output.logits[:, :, first - 1 :],
            words[:, :, first - 1 :],
            rewards - penalties,
            temperature=stage.temperature,
            tokenizer=self._tokenizer,
            average=self._average,
        )
        count = torch.tensor(rewards.numel(), device=rewards.device)
        return loss, self._average(rewards.sum(), count)

    def sample(self, features: Tensor) -> Tensor:
        """Return K captions of each image as token ids, (B, K, T), prefix included."""
        stage = self._stage
        return sample_captions(
            self._decoder,
            features,
            count=stage.samples,
            max_words=self._max_words,
            tokenizer=self._tokenizer,
            temperature=None if stage.draws == "beam" else stage.temperature,
        )


def build_objective(setup: ObjectiveSetup) -> Objective:
    """Build the objective that the stage's settings name."""
    objective: Objective = resolve_name(OBJECTIVES[setup.stage.objective])(setup)
    return objective

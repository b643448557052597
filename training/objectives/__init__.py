"""What a step learns from: the words people wrote, or the CIDEr-D of captions it draws itself.

loss                  cross-entropy of words, coverage and grounding of attention
distillation          the probabilities of a teacher
scheduled_sampling    the model's own words among those it reads
self_critical         captions it draws, weighed by their reward
reward, overlap       CIDEr-D and BLEU-4 of token ids, on tensors
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from captioner.model import Decoder
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from training.objectives.distillation import Teacher, distillation_loss
from training.objectives.loss import ALONE, Average, coverage_loss, grounding_loss, word_loss
from training.objectives.reward import Reward
from training.objectives.scheduled_sampling import mix_words
from training.objectives.self_critical import draw_captions, self_critical_loss
from training.settings import StageConfig


class Objective(Protocol):
    """Something to learn from."""

    measure: str
    """Name of the number that tells how well it goes."""
    signature: str
    """What the measure depends on that no setting says."""

    def size(self, batch: Batch) -> Tensor:
        """How many things the measure of a batch is the mean of."""

    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """Return what to make small, and the measure.

        Args:
            features: of the batch, (B, P, D).
            batch: photos and what people said of them.
            progress: how much of the stage is done, from 0 to 1.
        """


class WordObjective:
    """Say the next word of the captions people wrote."""

    measure = "loss"
    signature = ""

    def __init__(
        self,
        decoder: Decoder,
        stage: StageConfig,
        *,
        tokenizer: Tokenizer,
        teacher: Teacher | None = None,
        average: Average = ALONE,
    ) -> None:
        self._decoder = decoder
        self._average = average
        self._stage = stage
        self._teacher = teacher
        self._tokenizer = tokenizer
        self._pad_id = tokenizer.pad_id
        self._first = len(tokenizer.prefix) - 1

    def size(self, batch: Batch) -> Tensor:
        """Words, neither prefix nor padding counted."""
        return (batch.words[:, :, self._first + 1 :] != self._pad_id).sum()

    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the plain cross-entropy in nats a word."""
        stage, pad_id, average, first = self._stage, self._pad_id, self._average, self._first
        read = batch.words[:, :, :-1]
        if stage.scheduled_sampling > 0:
            p = progress * stage.scheduled_sampling
            read = mix_words(
                self._decoder, features, read, probability=p, tokenizer=self._tokenizer
            )
        looked_at = stage.coverage > 0 or stage.grounding > 0
        reading = self._decoder(features, read, with_attention=looked_at)
        words, logits = batch.words[:, :, first:], reading.logits[:, :, first:]
        total, cross_entropy = word_loss(
            logits,
            words,
            pad_id=pad_id,
            label_smoothing=stage.label_smoothing,
            average=average,
        )
        if self._teacher is not None:
            apart = distillation_loss(
                logits,
                self._teacher(batch)[:, :, first:],
                words,
                temperature=stage.teacher_temperature,
                pad_id=pad_id,
                average=average,
            )
            total = (1 - stage.teacher_weight) * total + stage.teacher_weight * apart
        if stage.coverage > 0:
            assert reading.attention is not None
            attention = reading.attention[..., first:, :]
            penalty = coverage_loss(attention, words, pad_id=pad_id, average=average)
            total = total + stage.coverage * penalty
        if stage.grounding > 0:
            assert reading.attention is not None
            assert batch.shares is not None
            attention = reading.attention[..., first:, :]
            shares = batch.shares[:, :, : attention.shape[-2]]
            penalty = grounding_loss(attention, shares, average=average)
            total = total + stage.grounding * penalty
        return total, cross_entropy.detach()


class SelfCriticalObjective:
    """Draw captions, and make those likelier that are better than their siblings."""

    measure = "reward"

    def __init__(
        self,
        decoder: Decoder,
        stage: StageConfig,
        *,
        tokenizer: Tokenizer,
        reward: Reward,
        max_words: int,
        average: Average = ALONE,
    ) -> None:
        self._decoder = decoder
        self._average = average
        self._stage = stage
        self._tokenizer = tokenizer
        self.reward = reward
        self.signature = reward.signature
        self._max_words = max_words

    def size(self, batch: Batch) -> Tensor:
        """Captions that are drawn."""
        return torch.tensor(len(batch.words) * self._stage.samples, device=batch.words.device)

    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the mean reward, from 0 to 10 if CIDEr-D alone counts."""
        stage = self._stage
        words, first = self.draw(features), len(self._tokenizer.prefix)
        rewards = self.reward(words[:, :, first:], batch.words[:, :, first:])
        reading = self._decoder(features, words[:, :, :-1], with_attention=False)
        loss = self_critical_loss(
            reading.logits[:, :, first - 1 :],
            words[:, :, first - 1 :],
            rewards,
            temperature=stage.temperature,
            tokenizer=self._tokenizer,
            average=self._average,
        )
        drawn = torch.tensor(rewards.numel(), device=rewards.device)
        return loss, self._average(rewards.sum(), drawn)

    def draw(self, features: Tensor) -> Tensor:
        """Captions (B, K, T) to compare, the prefix first."""
        stage = self._stage
        return draw_captions(
            self._decoder,
            features,
            count=stage.samples,
            max_words=self._max_words,
            tokenizer=self._tokenizer,
            temperature=None if stage.draws == "beam" else stage.temperature,
        )


def build_objective(
    decoder: Decoder,
    stage: StageConfig,
    *,
    tokenizer: Tokenizer,
    captions: Iterable[Sequence[str]],
    max_words: int,
    teacher: Teacher | None = None,
    average: Average = ALONE,
) -> Objective:
    """Make what this stage learns from.

    Args:
        decoder: what learns.
        stage: says what to learn from.
        tokenizer: its words; of what is read, its prefix is given, and never learned.
        captions: training captions, image by image; rewards weigh n-grams by them.
        max_words: longest caption that is drawn.
        teacher: whom a learner of words learns from as well.
        average: how totals become means, over all processes that learn together.
    """
    if stage.objective == "words":
        return WordObjective(decoder, stage, tokenizer=tokenizer, teacher=teacher, average=average)
    ids = ([tokenizer.encode(caption) for caption in own] for own in captions)
    return SelfCriticalObjective(
        decoder,
        stage,
        tokenizer=tokenizer,
        reward=Reward(ids, tokenizer, bleu=stage.bleu),
        max_words=max_words,
        average=average,
    )

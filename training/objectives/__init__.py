"""What a step learns from: the words people wrote, or the CIDEr-D of captions it draws itself.

loss                  cross-entropy of words, coverage and grounding of attention
distillation          the probabilities of a teacher
scheduled_sampling    the model's own words among those it reads
self_critical         captions it draws, weighed by their reward
reward, overlap       CIDEr-D and BLEU-4 of token ids, on tensors
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
from training.objectives.loss import ALONE, Average, coverage_loss, grounding_loss, word_loss
from training.objectives.penalties import count_hallucinations, score_on_other_photos
from training.objectives.reward import Reward
from training.objectives.scheduled_sampling import mix_words
from training.objectives.self_critical import draw_captions, self_critical_loss
from training.settings import OBJECTIVES, StageConfig


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What objectives are made of."""

    decoder: Decoder
    """What learns."""
    stage: StageConfig
    """Says what to learn from."""
    tokenizer: Tokenizer
    """Its words; of what is read, its prefix is given, and never learned."""
    captions: Iterable[Sequence[str]] = ()
    """Training captions, image by image; rewards weigh n-grams by them."""
    max_words: int = 30
    """Longest caption that is drawn."""
    names: Sequence[Names] = ()
    """What rewards count as hallucinated where no reference names it."""
    teacher: Teacher | None = None
    """Whom a learner of words learns from as well."""
    average: Average = ALONE
    """How totals become means, over all processes that learn together."""


class Objective(ABC):
    """Something to learn from."""

    measure: ClassVar[str]
    """Name of the number that tells how well it goes."""
    dropout: ClassVar[bool] = True
    """Whether the model learns with dropout."""
    signature: str = ""
    """What the measure depends on that no setting says."""

    def __init__(self, learning: Learning) -> None:
        self._decoder = learning.decoder
        self._stage = learning.stage
        self._tokenizer = learning.tokenizer
        self._average = learning.average

    @abstractmethod
    def size(self, batch: Batch) -> Tensor:
        """How many things the measure of a batch is the mean of."""

    @abstractmethod
    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """Return what to make small, and the measure.

        Args:
            features: of the batch, (B, P, D).
            batch: photos and what people said of them.
            progress: how much of the stage is done, from 0 to 1.
        """


class WordObjective(Objective):
    """Say the next word of the captions people wrote."""

    measure = "loss"

    def __init__(self, learning: Learning) -> None:
        super().__init__(learning)
        self._teacher = learning.teacher
        self._pad_id = self._tokenizer.pad_id
        self._first = len(self._tokenizer.prefix) - 1

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


class SelfCriticalObjective(Objective):
    """Draw captions, and make those likelier that are better than their siblings."""

    measure = "reward"
    dropout = False  # drawn without, so that what is learned from them is read without

    def __init__(self, learning: Learning) -> None:
        super().__init__(learning)
        encode = self._tokenizer.encode
        ids = ([encode(caption) for caption in own] for own in learning.captions)
        self.reward = Reward(ids, self._tokenizer, bleu=self._stage.bleu)
        self.signature = self.reward.signature
        if self._stage.hallucination_penalty:
            self.signature += f"|-{self._stage.hallucination_penalty:g}*hallucinations"
        if self._stage.distinctiveness:
            self.signature += f"|-{self._stage.distinctiveness:g}*other photos"
        self._names = learning.names
        self._max_words = learning.max_words

    def size(self, batch: Batch) -> Tensor:
        """Captions that are drawn."""
        return torch.tensor(len(batch.words) * self._stage.samples, device=batch.words.device)

    def __call__(self, features: Tensor, batch: Batch, *, progress: float) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the mean reward before penalties."""
        stage = self._stage
        words, first = self.draw(features), len(self._tokenizer.prefix)
        drawn, references = words[:, :, first:], batch.words[:, :, first:]
        rewards = self.reward(drawn, references)
        penalties = torch.zeros_like(rewards)
        if stage.hallucination_penalty:
            penalties += stage.hallucination_penalty * count_hallucinations(
                drawn, batch.captions, tokenizer=self._tokenizer, names=self._names
            )
        if stage.distinctiveness:
            elsewhere = score_on_other_photos(self.reward, drawn, references)
            penalties += stage.distinctiveness * elsewhere
        reading = self._decoder(features, words[:, :, :-1], with_attention=False)
        loss = self_critical_loss(
            reading.logits[:, :, first - 1 :],
            words[:, :, first - 1 :],
            rewards - penalties,
            temperature=stage.temperature,
            tokenizer=self._tokenizer,
            average=self._average,
        )
        count = torch.tensor(rewards.numel(), device=rewards.device)
        return loss, self._average(rewards.sum(), count)

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


def build_objective(learning: Learning) -> Objective:
    """Make what a stage learns from."""
    objective: Objective = resolve_name(OBJECTIVES[learning.stage.objective])(learning)
    return objective

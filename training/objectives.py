"""What a step learns from: the words people wrote, or the CIDEr-D of captions it draws itself."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from captioner.model import Decoder
from captioner.tokenizer import Tokenizer
from data.batching import Batch
from training.loss import ALONE, Average, coverage_loss, grounding_loss, word_loss
from training.reward import Reward
from training.self_critical import draw_captions, self_critical_loss
from training.settings import StageConfig


class Objective(Protocol):
    """Something to learn from."""

    measure: str
    """Name of the number that tells how well it goes."""

    def __call__(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what to make small, and the measure, for features (B, P, D) of a batch."""


class WordObjective:
    """Say the next word of the captions people wrote."""

    measure = "loss"

    def __init__(
        self, decoder: Decoder, stage: StageConfig, *, pad_id: int, average: Average = ALONE
    ) -> None:
        self._decoder = decoder
        self._average = average
        self._stage = stage
        self._pad_id = pad_id

    def __call__(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the cross-entropy in nats a word."""
        stage, pad_id, average = self._stage, self._pad_id, self._average
        looked_at = stage.coverage > 0 or stage.grounding > 0
        reading = self._decoder(features, batch.words[:, :, :-1], with_attention=looked_at)
        loss = total = word_loss(
            reading.logits,
            batch.words,
            pad_id=pad_id,
            label_smoothing=stage.label_smoothing,
            average=average,
        )
        if stage.coverage > 0:
            assert reading.attention is not None
            penalty = coverage_loss(reading.attention, batch.words, pad_id=pad_id, average=average)
            total = total + stage.coverage * penalty
        if stage.grounding > 0:
            assert reading.attention is not None
            assert batch.shares is not None
            penalty = grounding_loss(reading.attention, batch.shares, average=average)
            total = total + stage.grounding * penalty
        return total, loss.detach()


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
        self._samples = stage.samples
        self._temperature = stage.temperature
        self._tokenizer = tokenizer
        self._reward = reward
        self._max_words = max_words

    def __call__(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`; the measure is the mean reward, from 0 to 10."""
        words = draw_captions(
            self._decoder,
            features,
            count=self._samples,
            max_words=self._max_words,
            temperature=self._temperature,
            tokenizer=self._tokenizer,
        )
        rewards = self._reward(words[:, :, 1:], batch.words[:, :, 1:])
        reading = self._decoder(features, words[:, :, :-1], with_attention=False)
        loss = self_critical_loss(
            reading.logits,
            words,
            rewards,
            temperature=self._temperature,
            tokenizer=self._tokenizer,
            average=self._average,
        )
        drawn = torch.tensor(rewards.numel(), device=rewards.device)
        return loss, self._average(rewards.sum(), drawn)


def build_objective(
    decoder: Decoder,
    stage: StageConfig,
    *,
    tokenizer: Tokenizer,
    captions: Iterable[Sequence[str]],
    max_words: int,
    average: Average = ALONE,
) -> Objective:
    """Make what this stage learns from.

    Args:
        decoder: what learns.
        stage: says what to learn from.
        tokenizer: its words.
        captions: training captions, image by image; rewards weigh n-grams by them.
        max_words: longest caption that is drawn.
        average: how totals become means, over all processes that learn together.
    """
    if stage.objective == "words":
        return WordObjective(decoder, stage, pad_id=tokenizer.pad_id, average=average)
    ids = ([tokenizer.encode(caption) for caption in own] for own in captions)
    return SelfCriticalObjective(
        decoder,
        stage,
        tokenizer=tokenizer,
        reward=Reward(ids, tokenizer, bleu=stage.bleu),
        max_words=max_words,
        average=average,
    )

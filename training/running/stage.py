"""One stage of a run, ready to train: data loaders, objective, optimizer."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch

from captioner.model import CaptionModel
from captioner.words.tokenizer import Tokenizer
from data.batching import BatchLoader
from data.nouns import load_nouns
from data.objects import OTHER_WORDS, Names, ObjectWords
from data.ranks import Ranks
from training.objectives import ObjectiveSetup, build_objective
from training.objectives.distillation import load_teacher
from training.running.learner import Learner
from training.running.loaders import CaptionedPhotos, build_loaders
from training.running.optim import choose_trained
from training.running.start import prompted_tokenizer
from training.settings import RunConfig, StageConfig


class StageSetup(NamedTuple):
    """What a stage trains with."""

    learner: Learner
    loader: BatchLoader
    """Training batches."""
    val_loader: BatchLoader
    """Validation batches."""


def build_stage(
    config: RunConfig,
    stage: StageConfig,
    model: CaptionModel,
    tokenizer: Tokenizer,
    *,
    train: CaptionedPhotos,
    val: CaptionedPhotos,
    device: torch.device,
    ranks: Ranks,
    encoding: AbstractContextManager[None] = nullcontext(),  # noqa: B008  # does nothing
) -> StageSetup:
    """Build the data loaders, the objective and the optimizer of a stage.

    Args:
        config: settings of the run.
        stage: settings of the stage.
        model: the model to train.
        tokenizer: tokenizer of the run.
        train: training photos.
        val: validation photos.
        device: device of the model.
        ranks: the processes that train together.
        encoding: context in which the features of a frozen encoder are computed.

    Raises:
        CaptionerError: photos, features or teachers cannot be read, or do not fit the run.
    """
    prompted = prompted_tokenizer(config, tokenizer)
    choose_trained(model, stage)
    with encoding:
        loader, val_loader = build_loaders(
            config,
            stage,
            train=train,
            val=val,
            tokenizer=prompted,
            encoder=model.encoder,
            device=device,
            ranks=ranks,
        )
    setup = ObjectiveSetup(
        decoder=model.decoder,
        stage=stage,
        tokenizer=prompted,
        captions=(record.captions for record in train.records),
        max_words=config.data.max_words,
        names=_find_names(config) if stage.hallucination_penalty else (),
        teacher=load_teacher(config, stage, model=model, tokenizer=tokenizer),
        average=ranks.average,
    )
    learner = Learner(
        model,
        build_objective(setup),
        stage,
        steps=stage.count_steps(len(loader)),
        ranks=ranks,
        precision=config.precision,
        shard=config.shard,
    )
    return StageSetup(learner, loader, val_loader)


def _find_names(config: RunConfig) -> list[Names]:
    """Names of COCO's objects, and the nouns of the sources with boxes."""
    boxed = [source for source in config.data.train if source.boxes]
    nouns = [load_nouns(Path(own.boxes), split=own.split or "train") for own in boxed]
    return [ObjectWords(OTHER_WORDS), *nouns]

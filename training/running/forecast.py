"""What a run will take, from a few measured steps of every stage: hours and disk space."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from data.batching import BucketSampler
from data.progress import duration
from training.settings import RunConfig, StageConfig


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Measured cost of a stage."""

    rate: float
    """Training photos per second."""
    shares: Mapping[str, float]
    """Fraction of a step's time by component; they sum to 1."""
    validation_rate: float
    """Validation photos per second."""
    memory: int
    """Peak memory in bytes."""
    memory_so_far: bool = False
    """Whether that is the peak of all stages so far, since the system cannot reset it."""
    feature_rate: float = 0.0
    """Photos encoded per second beforehand, for a frozen encoder."""
    feature_bytes: int = 0
    """Size of the cached features of one photo in one view."""
    views: int = 0
    """Cached views per training photo."""
    folder_bytes: int = 0
    """Size of the run's folder: checkpoints and states to resume from, while one is written."""


def project(
    config: RunConfig,
    costs: Sequence[StageCost],
    *,
    captions: Sequence[int],
    val_photos: int,
    folder: Path,
) -> tuple[list[str], list[str]]:
    """Project the cost of the whole run; return lines to print, and errors that it would meet.

    Args:
        config: settings of the run.
        costs: measured cost of each stage.
        captions: number of captions of every training photo.
        val_photos: number of validation photos.
        folder: folder of the run.
    """
    lines = []
    total = features = 0.0
    cached = 0  # views of features of the encoder as it is
    for stage, cost in zip(config.stages, costs, strict=True):
        sampler = BucketSampler(captions, captions, batch_size=stage.batch_size, shuffle=False)
        steps, validations = stage.count_steps(len(sampler)), _validations(stage, len(sampler))
        photos = len(captions) * steps / stage.count_epoch_steps(len(sampler))
        seconds = photos / cost.rate + validations * val_photos / cost.validation_rate
        said = ""
        encoded = max(0, cost.views - cached) * len(captions) + (0 if cached else val_photos)
        if cost.views and encoded:
            seconds += encoded / cost.feature_rate
            features += cost.feature_bytes * encoded
            said = f", features of {cost.feature_bytes * encoded / 1e9:.1f} GB"
        cached = max(cached, cost.views) if cost.views else 0
        lines.append(
            f"{stage.name}: {cost.rate:.1f} photos/s ({_percentages(cost.shares)}), "
            f"validation {cost.validation_rate:.1f} photos/s, "
            f"{cost.memory / 1e9:.1f} GB peak memory{' so far' * cost.memory_so_far}; "
            f"{_count(steps, 'step')} and {_count(validations, 'validation')} take "
            f"{duration(seconds)}{said}"
        )
        total += seconds
    files = max(cost.folder_bytes for cost in costs)
    lines.append(
        f"total: {duration(total)}, {features / 1e9:.1f} GB of cached features, "
        f"{files / 1e9:.1f} GB of checkpoints and states to resume from"
    )
    return lines, _faults(config, features=features, files=files, folder=folder)


def _validations(stage: StageConfig, batches: int) -> int:
    """Count the validations of a stage: every `validate_steps`, and after every epoch's last."""
    steps, epoch = stage.count_steps(batches), stage.count_epoch_steps(batches)
    after = {*range(epoch, steps + 1, epoch), steps}
    if stage.validate_steps:
        after |= {*range(stage.validate_steps, steps + 1, stage.validate_steps)}
    return len(after)


def _faults(config: RunConfig, *, features: float, files: int, folder: Path) -> list[str]:
    """Return what the run would fail with."""
    faults = []
    cache, folder = existing(Path(config.data.cache)), existing(folder)
    free, left = (shutil.disk_usage(path).free for path in (cache, folder))
    if features > free:
        faults.append(
            f"data.cache: the features take {features / 1e9:.1f} GB, but only {free / 1e9:.1f} GB "
            'are free; name another folder, or set encoder = "trained" and frozen_layers = 1.0 in '
            "the stages, which encodes photos in every epoch."
        )
    beside = ""
    if features and cache.stat().st_dev == folder.stat().st_dev:
        left, beside = max(0, left - int(features)), " beside the features"
    if files > left:
        faults.append(
            f"--folder: checkpoints and {_count(config.keep, 'state')} to resume from, and a new "
            f"one while it is written, take {files / 1e9:.1f} GB, but only {left / 1e9:.1f} GB are "
            f"free{beside}; name another folder, or lower keep."
        )
    if config.wandb and find_spec("wandb") is None:
        faults.append(f"wandb is {config.wandb!r}: pip install 'captioner[wandb]'")
    return faults


def existing(path: Path) -> Path:
    """Return a folder, or its closest existing parent."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _percentages(shares: Mapping[str, float]) -> str:
    """Format shares as whole percentages that sum to 100."""
    parts, share, shown = [], 0.0, 0
    for name, own in shares.items():
        share += own
        parts.append(f"{name} {round(100 * share) - shown} %")
        shown = round(100 * share)
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"

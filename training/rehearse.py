"""Rehearse a run: time a few steps of every stage, and project the cost of the whole run.

    python -m training.rehearse training/configs/coco_transformer.toml [--steps 20]
        [--photos 113287] [--val-photos 5000] [--set key=value]

Runs every stage on the first photos of the data, repeated if there are too few, with the run's
batch size, precision and decoding settings, and keeps nothing. For each stage it prints photos per
second, where the time of a step goes, and peak memory; then the hours and disk space of the whole
run, for all photos in the captions or for `--photos`. It fails where the run would fail: too little
disk space for features, too little memory, a missing extra.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch.profiler import profile

from captioner.cli.options import positive
from captioner.durable import check_writable
from captioner.errors import CaptionerError, ConfigError
from captioner.model import CaptionModel
from captioner.pytorch import find_device, memory_errors
from captioner.words.tokenizer import Tokenizer
from data.progress import duration
from data.ranks import Ranks
from training.running.loaders import CaptionedPhotos, load_photos
from training.running.stage import build_stage
from training.running.start import choose_tokenizer, compile_model, start_model
from training.running.unused import refuse_unused
from training.scoring.predictions import caption_batches
from training.scoring.provenance import describe_machine, peak_memory
from training.settings import RunConfig, StageConfig, load_settings

WARM_UP = 2
"""Untimed steps before the measured ones."""
VALIDATED = 64
"""Number of photos in the timed validation."""


@dataclass
class Clock:
    """Seconds spent, by name; on a GPU, every measurement synchronises."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time spent in this context to `name`."""
        started = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its calls are timed under `name`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.timing(name):
                return function(*args, **kwargs)

        return call


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Measured cost of a stage."""

    rate: float
    """Training photos per second."""
    shares: dict[str, float]
    """Fraction of a step's time by component; the rest is the decoder and the backward pass."""
    validation_rate: float
    """Validation photos per second."""
    memory: int
    """Peak memory in bytes."""
    feature_rate: float = 0.0
    """Photos encoded per second beforehand, for a frozen encoder."""
    feature_bytes: int = 0
    """Size of the cached features of one photo in one view."""
    views: int = 0
    """Cached views per training photo."""


def rehearse(
    config: RunConfig,
    *,
    train: CaptionedPhotos,
    val: CaptionedPhotos,
    device: torch.device,
    steps: int,
    trace: Path | None = None,
) -> Iterator[StageCost]:
    """Run a few steps of each stage; yield its cost.

    Args:
        config: settings of the run.
        train: training photos.
        val: validation photos.
        device: device to train on.
        steps: steps to measure per stage.
        trace: folder for traces of PyTorch's profiler, which slows the steps down.

    Raises:
        CaptionerError: whatever the run would fail with.
    """
    tokenizer = choose_tokenizer(config, train.records)
    torch.manual_seed(config.seed)
    model = start_model(config, words=len(tokenizer)).to(device)
    if config.compile:
        compile_model(model, backend=config.compile)
    for stage in config.stages:
        try:
            with memory_errors():
                cost = _rehearse_stage(
                    config, stage, model, tokenizer,
                    train=train, val=val, device=device, steps=steps,
                    trace=trace and trace / f"{stage.name}.json",
                )  # fmt: skip
        except MemoryError as error:
            raise ConfigError(
                f"stage {stage.name!r} needs more memory than there is: lower its batch_size and "
                "raise accumulate to match, which trains the same; or set checkpointing = true."
            ) from error
        yield cost


def _rehearse_stage(
    config: RunConfig,
    stage: StageConfig,
    model: CaptionModel,
    tokenizer: Tokenizer,
    *,
    train: CaptionedPhotos,
    val: CaptionedPhotos,
    device: torch.device,
    steps: int,
    trace: Path | None,
) -> StageCost:
    clock = Clock(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    count = (steps + WARM_UP) * stage.batch_size * stage.accumulate
    train = replace(train, records=list(islice(cycle(train.records), count)))
    val = replace(val, records=val.records[:VALIDATED])
    with tempfile.TemporaryDirectory(dir=_cache_folder(config)) as cache:
        learner, loader, val_loader = build_stage(
            replace(config, data=replace(config.data, cache=cache)),
            stage,
            model,
            tokenizer,
            train=train,
            val=val,
            device=device,
            ranks=Ranks(),
            encoding=clock.timing("features"),
        )
        objective = learner.objective
        for part in ("sample", "reward"):
            if hasattr(objective, part):
                setattr(objective, part, clock.timed(part, getattr(objective, part)))
        loader.set_epoch(0, done=0)
        batches = iter(loader)
        group = []
        for measured, number in ((False, WARM_UP), (True, steps)):
            for name in ("loading", "step", "sample", "reward"):
                clock.seconds[name] = 0.0
            with _profiled(trace if measured else None):
                for _ in range(number):
                    with clock.timing("loading"):
                        group = list(islice(batches, stage.accumulate))
                    with clock.timing("step"):
                        learner.step([batch.to(device) for batch in group])
        inputs = group[-1].inputs
        if inputs.ndim == 4:
            with torch.no_grad(), clock.timing("encoder"):
                model.encoder(inputs.to(device))
            clock.seconds["encoder"] *= steps * stage.accumulate
        with clock.timing("validation"):
            caption_batches(learner.eval_model, tokenizer, val_loader, config.search)
        learner.copy_average_to_model()
        frozen = stage.encoder == "frozen"
        views = (2 if stage.augment else 1) if frozen else 0
        whole = clock.seconds["loading"] + clock.seconds["step"]
        parts = {"encoder, forward": "encoder", "sampling": "sample"}
        parts |= {name: name for name in ("loading", "reward")}
        return StageCost(
            rate=steps * stage.batch_size * stage.accumulate / whole,
            shares={
                name: clock.seconds[part] / whole
                for name, part in parts.items()
                if clock.seconds[part]
            },
            validation_rate=len(val.records) / clock.seconds["validation"],
            memory=peak_memory(device),
            feature_rate=(views * count + len(val.records)) / clock.seconds["features"],
            feature_bytes=2 * inputs[0].numel() if frozen else 0,
            views=views,
        )


@contextmanager
def _profiled(trace: Path | None) -> Iterator[None]:
    """Write a trace of PyTorch's profiler to this file, for chrome://tracing or Perfetto."""
    if trace is None:
        yield
        return
    with profile(acc_events=True) as profiler:  # PyTorch 2.11 warns without it
        yield
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))


def _cache_folder(config: RunConfig) -> Path:
    """The feature cache's folder, or its closest existing parent."""
    path = Path(config.data.cache).absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def project(
    config: RunConfig, costs: Sequence[StageCost], *, photos: int, val_photos: int
) -> tuple[list[str], list[str]]:
    """Project the cost of the whole run; return lines to print, and errors that it would meet."""
    lines, faults = [], []
    hours = disk = 0.0
    before: StageConfig | None = None
    for stage, cost in zip(config.stages, costs, strict=True):
        seconds = stage.epochs * (photos / cost.rate + val_photos / cost.validation_rate)
        features = ""
        if cost.feature_bytes and (before is None or before.encoder != "frozen"):
            size = cost.feature_bytes * (cost.views * photos + val_photos)
            seconds += (cost.views * photos + val_photos) / cost.feature_rate
            disk += size
            features = f", features of {size / 1e9:.1f} GB"
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in cost.shares.items())
        lines.append(
            f"{stage.name}: {cost.rate:.1f} photos/s ({shares or 'all in the decoder'}), "
            f"validation {cost.validation_rate:.1f} photos/s, "
            f"{cost.memory / 1e9:.1f} GB peak memory; "
            f"{stage.epochs} epochs take {duration(seconds)}{features}"
        )
        hours += seconds / 3600
        before = stage
    lines.append(f"total: {duration(3600 * hours)}, {disk / 1e9:.1f} GB of cached features")
    free = shutil.disk_usage(_cache_folder(config)).free
    if disk > free:
        faults.append(
            f"data.cache: the features take {disk / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are "
            'free; name another folder, or set encoder = "trained" and frozen_layers = 1.0 in the '
            "stages, which encodes photos in every epoch."
        )
    if config.wandb and find_spec("wandb") is None:
        faults.append(f"wandb is {config.wandb!r}: pip install 'captioner[wandb]'")
    return lines, faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.rehearse",
        description="Time a few steps of every stage of a run, and project its total cost.",
    )
    parser.add_argument("config", type=Path, help="a TOML file, such as those in training/configs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override a setting, as for training.train; may be repeated",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    parser.add_argument(
        "--steps", type=positive, default=20, help="steps to measure per stage (20)"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="FOLDER",
        help="write traces of PyTorch's profiler here, one file per stage",
    )  # fmt: skip
    parser.add_argument(
        "--photos",
        type=positive,
        help="training photos of the whole run (default: all in the captions)",
    )
    parser.add_argument(
        "--val-photos", type=positive, help="validation photos of the whole run (likewise)"
    )
    args = parser.parse_args(argv)
    try:
        if args.profile:
            check_writable(args.profile, folder=True, option="--profile")
        config = load_settings(args.config, args.overrides)
        refuse_unused(config)
        if config.threads:
            torch.set_num_threads(config.threads)
        device = find_device(args.device)
        print(f"{config.name} on {describe_machine(device)}")
        train, val = load_photos(config)
        where = {"device": device, "steps": args.steps, "trace": args.profile}
        costs = list(rehearse(config, train=train, val=val, **where))
        lines, faults = project(
            config,
            costs,
            photos=args.photos or len(train.records),
            val_photos=args.val_photos or len(val.records),
        )
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())

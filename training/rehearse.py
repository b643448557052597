"""Rehearse a run: a few steps of every stage, and what the whole run will take.

    python -m training.rehearse training/configs/coco_transformer.toml [--steps 20]
        [--photos 113287] [--val-photos 5000] [--set key=value]

Goes through all stages on the first photos there are, repeated where they do not suffice, with the
batches, the arithmetic and the search of the run, and keeps nothing. Prints for each stage photos a
second, where the time of a step goes, and the memory at most; then hours and disk of the whole run,
for as many photos as the captions name, or as `--photos` says. Fails with what the run would fail
with: too little disk for features, too little memory, an extra that is missing.
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

from captioner.errors import CaptionerError, ConfigError
from captioner.model import CaptionModel
from captioner.pytorch import find_device, memory_errors
from captioner.words.tokenizer import Tokenizer
from data.ranks import Ranks
from training.running.loaders import CaptionedPhotos, load_photos
from training.running.stage import build_stage
from training.running.start import choose_words, compile_model, start_model
from training.scoring.observing import caption_batches
from training.scoring.provenance import describe_machine, peak_memory
from training.settings import RunConfig, StageConfig, load_settings
from training.watching import duration

WARM_UP = 2
"""Steps before those that are measured."""
VALIDATED = 64
"""Photos that are captioned as in validation."""


@dataclass
class Clock:
    """Seconds by what they went to; calls are waited for, on a GPU too."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time within to this name."""
        started = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with the time of its calls added to this name."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.timing(name):
                return function(*args, **kwargs)

        return call


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage takes, as measured."""

    rate: float
    """Photos a second that are learned from."""
    shares: dict[str, float]
    """Of the time of a step, by what it goes to; the decoder and the way back have the rest."""
    validation_rate: float
    """Photos a second."""
    memory: int
    """Bytes at most."""
    feature_rate: float = 0.0
    """Photos a second that are encoded beforehand, where the encoder is frozen."""
    feature_bytes: int = 0
    """Of a photo and view."""
    views: int = 0
    """Of each training photo."""


def rehearse(
    config: RunConfig,
    *,
    train: CaptionedPhotos,
    val: CaptionedPhotos,
    device: torch.device,
    steps: int,
    trace: Path | None = None,
) -> Iterator[StageCost]:
    """Do a few steps of each stage; yield what it takes.

    Args:
        config: of the run.
        train: photos to learn from.
        val: photos to validate on.
        device: what it calculates on.
        steps: that are measured of each stage.
        trace: folder for what PyTorch's profiler sees of them, which makes them slower.

    Raises:
        CaptionerError: whatever the run would fail with.
    """
    tokenizer = choose_words(config, train.records)
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
                f"stage {stage.name!r} needs more memory than there is: lower its batch_size, and "
                "raise accumulate as much, which learns the same; or set checkpointing = true."
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
    with tempfile.TemporaryDirectory(dir=_place(config)) as cache:
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
        for part in ("draw", "reward"):
            if hasattr(objective, part):
                setattr(objective, part, clock.timed(part, getattr(objective, part)))
        loader.set_epoch(0, done=0)
        learner.prepare()
        batches = iter(loader)
        some = []
        for measured, number in ((False, WARM_UP), (True, steps)):
            for name in ("loading", "step", "draw", "reward"):
                clock.seconds[name] = 0.0
            with _profiled(trace if measured else None):
                for _ in range(number):
                    with clock.timing("loading"):
                        some = list(islice(batches, stage.accumulate))
                    with clock.timing("step"):
                        learner.step([batch.to(device) for batch in some])
        inputs = some[-1].inputs
        if inputs.ndim == 4:
            with torch.no_grad(), clock.timing("encoder"):
                model.encoder(inputs.to(device))
            clock.seconds["encoder"] *= steps * stage.accumulate
        with clock.timing("validation"):
            caption_batches(learner.result, tokenizer, val_loader, config.search, read=True)
        learner.finish()
        frozen = stage.encoder == "frozen"
        views = (2 if stage.augment else 1) if frozen else 0
        whole = clock.seconds["loading"] + clock.seconds["step"]
        parts = {"encoder, forward": "encoder", "drawing": "draw"}
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
    """Write what PyTorch's profiler sees within to this file, for chrome://tracing or Perfetto."""
    if trace is None:
        yield
        return
    with profile() as profiler:
        yield
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))


def _place(config: RunConfig) -> Path:
    """The folder that features would go to, or the one it would be made in."""
    place = Path(config.data.cache).absolute()
    return next(folder for folder in (place, *place.parents) if folder.is_dir())


def project(
    config: RunConfig, costs: Sequence[StageCost], *, photos: int, val_photos: int
) -> tuple[list[str], list[str]]:
    """Say what the whole run takes, and what it would fail with."""
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
            f"{cost.memory / 1e9:.1f} GB of memory; "
            f"{stage.epochs} epochs take {duration(seconds)}{features}"
        )
        hours += seconds / 3600
        before = stage
    lines.append(f"in all {duration(3600 * hours)}, {disk / 1e9:.1f} GB of features")
    free = shutil.disk_usage(_place(config)).free
    if disk > free:
        faults.append(
            f"data.cache: the features take {disk / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
            f'there; name another folder, or give the stages encoder = "trained" with '
            "frozen_layers = 1.0, which encodes photos anew in every epoch."
        )
    if config.wandb and find_spec("wandb") is None:
        faults.append(f"wandb is {config.wandb!r}: pip install 'captioner[wandb]'")
    return lines, faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.rehearse",
        description="Do a few steps of every stage of a run, and say what the whole will take.",
    )
    parser.add_argument("config", type=Path, help="a TOML file, such as those in training/configs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="change one setting, as for training.train",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    parser.add_argument("--steps", type=int, default=20, help="measured of each stage (20)")
    parser.add_argument(
        "--profile", type=Path, metavar="FOLDER",
        help="write what PyTorch's profiler sees of the steps here, a file a stage",
    )  # fmt: skip
    parser.add_argument("--photos", type=int, help="training photos of the whole run")
    parser.add_argument("--val-photos", type=int, help="validation photos of the whole run")
    args = parser.parse_args(argv)
    try:
        config = load_settings(args.config, args.overrides)
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

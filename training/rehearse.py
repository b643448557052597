"""Rehearse a run: time a few steps of every stage, and project the cost of the whole run.

    python -m training.rehearse training/configs/coco_transformer.toml [--steps 20]
        [--photos 113287] [--val-photos 5000] [--set key=value]

Runs every stage on the first photos of the data, repeated if there are too few, with the run's
batch size, precision and decoding settings, and keeps nothing. For each stage it prints photos per
second, where the time of a step goes, and peak memory; then the hours and disk space of the whole
run, for all photos in the captions or for `--photos`. It fails where the run would fail: too little
disk space for features, checkpoints and states to resume from, too little memory, a missing extra.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.profiler import profile

from captioner.cli.options import positive
from captioner.durable import check_writable
from captioner.errors import CaptionerError, ConfigError
from captioner.model import CaptionModel, Encoder
from captioner.pytorch import find_device, memory_errors
from captioner.speed.resources import release_memory
from captioner.words.tokenizer import Tokenizer
from data.ranks import Ranks
from training.running.forecast import StageCost, existing, project
from training.running.learner import Learner
from training.running.loaders import CaptionedPhotos, load_photos
from training.running.stage import build_stage
from training.running.start import choose_tokenizer, compile_model, start_model
from training.running.unused import refuse_unused
from training.scoring.predictions import caption_batches
from training.scoring.provenance import describe_machine, peak_memory, reset_peak_memory
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


class _TimedEncoder(nn.Module):
    """Stands in for an encoder, compiled or not, and times it."""

    def __init__(self, encoder: nn.Module, clock: Clock) -> None:
        super().__init__()
        self._encoder, self._clock = encoder, clock

    def forward(self, pixels: Tensor) -> Any:
        with self._clock.timing("encoder"):
            return self._encoder(pixels)


@contextmanager
def _encoder_timed(model: CaptionModel, clock: Clock) -> Iterator[None]:
    """Time the encoder in this context."""
    encoder = model.encoder
    model.encoder = cast(Encoder, _TimedEncoder(encoder, clock))
    try:
        yield
    finally:
        model.encoder = encoder


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
    stage = replace(stage, max_steps=0)  # may be fewer than are measured
    release_memory()
    fresh = reset_peak_memory(device)
    count = (steps + WARM_UP) * stage.batch_size * stage.accumulate
    train = replace(train, records=list(islice(cycle(train.records), count)))
    val = replace(val, records=val.records[:VALIDATED])
    with tempfile.TemporaryDirectory(dir=existing(Path(config.data.cache))) as cache:
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
        for measured, number in ((False, WARM_UP), (True, steps)):
            for name in ("loading", "step", "encoder", "sample", "reward"):
                clock.seconds[name] = 0.0
            photos = 0
            with _encoder_timed(model, clock), _profiled(trace if measured else None):
                for _ in range(number):
                    with clock.timing("loading"):
                        group = list(islice(batches, stage.accumulate))
                    with clock.timing("step"):
                        learner.step([batch.to(device) for batch in group])
                    photos += sum(len(batch.image_ids) for batch in group)
        with clock.timing("validation"):
            caption_batches(learner.eval_model, tokenizer, val_loader, config.search)
        folder_bytes = _folder_bytes(learner, keep=config.keep)
        learner.copy_average_to_model()
        frozen = stage.encoder == "frozen"
        views = (2 if stage.augment else 1) if frozen else 0
        whole = clock.seconds["loading"] + clock.seconds["step"]
        parts = {"loading": "loading", "encoder, forward": "encoder"}
        parts |= {"sampling": "sample", "reward": "reward"}
        shares = {
            name: clock.seconds[part] / whole for name, part in parts.items() if clock.seconds[part]
        }
        return StageCost(
            rate=photos / whole,
            shares={**shares, "decoder and backward pass": 1 - sum(shares.values())},
            validation_rate=len(val.records) / clock.seconds["validation"],
            memory=peak_memory(device),
            memory_so_far=not fresh,
            feature_rate=(views * count + len(val.records)) / clock.seconds["features"],
            feature_bytes=2 * group[-1].inputs[0].numel() if frozen else 0,
            views=views,
            folder_bytes=folder_bytes,
        )


def _folder_bytes(learner: Learner, *, keep: int) -> int:
    """Count the bytes of the run's folder: `best`, `last` and `stage`, and the states kept."""
    state_dict = learner.eval_model.state_dict()
    weights = {x.data_ptr(): x for x in state_dict.values()}.values()  # tied ones once
    half = sum(x.nbytes // 2 if x.is_floating_point() and x.ndim > 1 else x.nbytes for x in weights)
    state = _Measured()
    torch.save([part.state_dict() for part in learner.parts.values()], state)
    return 2 * half + sum(x.nbytes for x in weights) + (keep + 1) * state.size


class _Measured(BytesIO):
    """A file whose size is counted, and whose content is dropped."""

    size = 0

    def write(self, content: Any, /) -> int:
        self.size += memoryview(content).nbytes
        return memoryview(content).nbytes


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
    parser.add_argument("--folder", type=Path, help="folder of the run (default: runs/NAME)")
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
        photos = args.photos or len(train.records)
        lines, faults = project(
            config,
            costs,
            captions=[len(record.captions) for record in islice(cycle(train.records), photos)],
            val_photos=args.val_photos or len(val.records),
            folder=args.folder or Path("runs") / config.name,
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

"""Train a captioner.

    python -m training.train training/configs/flickr8k_transformer.toml [--set key=value ...]

A run is a list of stages, a stage a number of epochs, each followed by a validation. The run's
folder holds the checkpoints `best.safetensors` and `last.safetensors`, the log, the curves, and the
state from which the same command resumes after a kill (`training.running.run_folder`).

    torchrun --nproc-per-node 4 -m training.train CONFIG

trains on four GPUs, each with its share of every batch.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from captioner.checkpoint.header import Header, read_header
from captioner.checkpoint.shipped import find_checkpoint
from captioner.config import AttentionConfig, to_table
from captioner.durable import check_writable
from captioner.errors import CaptionerError
from captioner.pytorch import TorchCaptioner
from data.batching import BatchLoader
from data.coco import digest_of
from data.dataset import derive_seed
from data.progress import duration
from data.ranks import Ranks
from training.options import at_least
from training.running.distributed import process_group
from training.running.learner import Learner
from training.running.loaders import load_photos
from training.running.meter import Meter
from training.running.pictures import draw_overlays
from training.running.resume import RunState, restore
from training.running.run_folder import RESUME, RunFolder
from training.running.stage import build_stage
from training.running.start import choose_tokenizer, compile_model, start_model
from training.running.unused import refuse_unused
from training.running.validation import validate
from training.scoring.layout import describe_measure
from training.scoring.provenance import describe_machine, peak_memory
from training.settings import RunConfig, StageConfig, recipe
from training.sweeps import expand

REPORT_STEPS = 20
"""Steps between two points of the training curves, fewer at the end of an epoch; each point is the
mean over the steps since the last one, or since the run resumed."""


class Run:
    """A training run.

    Args:
        config: settings of the run.
        path: folder of the run.
        device: device to train on.
        ranks: the processes that train together.
        log_every: seconds between log lines within an epoch; 0 logs none.

    Raises:
        CaptionerError: settings, captions or photos are missing or do not fit together, or settings
            of a new run do nothing.
    """

    def __init__(
        self,
        config: RunConfig,
        path: Path,
        *,
        device: torch.device,
        ranks: Ranks = Ranks(),  # noqa: B008  # frozen
        log_every: float = 0,
    ) -> None:
        self.config = config
        self.device = device
        self.ranks = ranks
        self.log_every = log_every
        check = ranks.first and not (path / RESUME).exists()  # a resumed run was checked before
        if check:
            refuse_unused(config)
        self.train_photos, self.val_photos = load_photos(config, check=check)
        self.tokenizer = choose_tokenizer(config, self.train_photos.records)
        self.start = read_header(find_checkpoint(config.start_from)) if config.start_from else None
        identity = {
            **recipe(config),
            "captions": digest_of(self.train_photos.records, self.val_photos.records),
            "words": hashlib.sha256(self.tokenizer.to_json().encode()).hexdigest(),
        }
        self.folder = RunFolder(path, config, identity=identity, ranks=ranks)

    def make_model(self, resumed: Mapping[str, Any] | None = None) -> None:
        """Build the model with its initial weights, or with those of an interrupted run."""
        config = self.config
        torch.manual_seed(config.seed)
        if resumed is not None:
            config = replace(config, encoder_weights="none", start_from="")
        self.model = start_model(config, words=len(self.tokenizer)).to(self.device)
        if resumed is not None:
            self.model.load_state_dict(resumed["model"])
        if config.compile:
            compile_model(self.model, backend=config.compile)

    def train(self) -> None:
        """Train all stages, from the start or from where the run was interrupted."""
        resumed = self.folder.load_resume()
        self.progress = RunState(**resumed["progress"]) if resumed else RunState()
        self.make_model(resumed)
        self.folder.open(first_step=self.progress.steps + 1)
        self._log_start()
        for stage in self.config.stages[self.progress.stage :]:
            if self.progress.epoch < stage.epochs:
                self._train_stage(stage, resumed)
            self.progress.begin_stage(self.progress.stage + 1)
            resumed = None
        progress = self.progress
        self.folder.log(
            f"finished after {progress.steps} steps, "
            f"best validation {describe_measure('CIDEr', progress.best)}"
        )
        self.folder.close()

    def _train_stage(self, stage: StageConfig, resumed: Mapping[str, Any] | None) -> None:
        """Train the remaining epochs of a stage, each followed by a validation."""
        progress, folder = self.progress, self.folder
        if resumed is None and progress.stage and stage.begins_with == "best":
            self.model.load_state_dict(folder.best_of_stage())
        learner, loader, val_loader = build_stage(
            self.config,
            stage,
            self.model,
            self.tokenizer,
            train=self.train_photos,
            val=self.val_photos,
            device=self.device,
            ranks=self.ranks,
        )
        if learner.objective.signature:
            progress.rewards[stage.name] = learner.objective.signature
        # Computing features may have drawn random numbers; a stage must not depend on that.
        torch.manual_seed(derive_seed(self.config.seed, progress.stage, self.ranks.rank))
        if resumed is not None:
            restore(resumed, learner.parts, ranks=self.ranks)
            epoch, batches = progress.epoch + 1, progress.batches
            folder.log(f"{stage.name}: resuming epoch {epoch} after batch {batches}")
        while progress.epoch < stage.epochs:
            self._train_epoch(learner, loader, val_loader)
            if progress.validated < progress.steps:
                folder.save_resume(progress, learner.parts)  # validation takes a while
                self._validate(learner, val_loader)
            if progress.out_of_patience(stage) and progress.epoch + 1 < stage.epochs:
                unit = "validations" if stage.validate_steps else "epochs"
                folder.log(
                    f"{stage.name}: no improvement for {progress.waited} {unit}, stopped early"
                )
            elif progress.must_stop(stage) and progress.epoch + 1 < stage.epochs:
                folder.log(f"{stage.name}: max_steps reached, stopped early")
            progress.end_epoch(stage)
            if progress.epoch == stage.epochs:
                learner.copy_average_to_model()
            folder.save_resume(progress, learner.parts)

    def _train_epoch(self, learner: Learner, loader: BatchLoader, val_loader: BatchLoader) -> None:
        """Train the remaining steps of an epoch; validate, save and log when it is time."""
        progress, stage, folder = self.progress, learner.stage, self.folder
        title = f"{stage.name} {progress.epoch + 1}/{stage.epochs}"
        earlier = sum(done.epochs for done in self.config.stages[: progress.stage])
        loader.set_epoch(earlier + progress.epoch, done=progress.batches)
        bar = tqdm(
            loader,
            desc=title,
            initial=progress.batches,
            total=len(loader),
            disable=None if self.ranks.first else True,  # None: hidden without a terminal
        )
        batches = iter(bar)
        meter = Meter(learner.objective.measure, clip=stage.clip, ranks=self.ranks)
        save_every, log_every = 60 * self.config.save_minutes, self.log_every or math.inf
        saved = logged = time.monotonic()
        while not progress.must_stop(stage):
            group = [batch.to(self.device) for batch in islice(batches, stage.accumulate)]
            if not group:
                break
            meter.add(learner.step(group), group)
            progress.count_step(batches=len(group))
            if progress.steps % REPORT_STEPS == 0:
                bar.set_postfix_str(self._plot(meter, learner))
            if stage.validate_steps and progress.stage_steps % stage.validate_steps == 0:
                learner.gather_weights()
                self._validate(learner, val_loader)
            now = time.monotonic()
            save, log = self.ranks.agree((now - saved > save_every, now - logged >= log_every))
            if save:
                meter.check(step=progress.steps)
                learner.gather_weights()
                folder.save_resume(progress, learner.parts)
                saved = now
            if log:
                left = meter.seconds * (len(loader) - progress.batches) / meter.batches
                folder.log(
                    f"{title}  {progress.batches} of {len(loader)} batches  "
                    f"{meter.describe(step=progress.steps)}  {duration(left)} left in this epoch  "
                    f"learning rate {learner.learning_rate:.1e}  "
                    f"{peak_memory(self.device) / 1e9:.1f} GB peak memory"
                )
                logged = now
        if meter.new_steps:
            self._plot(meter, learner)
        learner.gather_weights()
        if meter:
            folder.log(f"{title}  {meter.describe(step=progress.steps)}  {meter.seconds:.0f} s")

    def _plot(self, meter: Meter, learner: Learner) -> str:
        """Add the mean of the latest steps to the training curves; describe it."""
        step = self.progress.steps
        means = meter.latest(step=step)
        self.folder.plot("train", {**means, "rate": learner.learning_rate}, step=step)
        return describe_measure(meter.measure, means[meter.measure])

    def _validate(self, learner: Learner, loader: BatchLoader) -> None:
        """Validate the model, and save it as a checkpoint."""
        progress, stage, folder = self.progress, learner.stage, self.folder
        scores, captions = validate(
            learner.eval_model,
            self.tokenizer,
            loader,
            self.val_photos.records,
            search=self.config.search,
            ranks=self.ranks,
        )
        best, best_of_stage = progress.record_score(scores["CIDEr"])
        progress.validated = progress.steps
        progress.history.append({"stage": stage.name, "epoch": progress.epoch + 1, **scores})
        folder.plot("val", scores, step=progress.steps)
        folder.log(
            f"{stage.name} {progress.epoch + 1}/{stage.epochs}  "
            + "".join(f"{describe_measure(n, scores[n])}  " for n in ("CIDEr", "Bleu_4", "loss"))
            + f"perplexity {scores['perplexity']:.1f}  "
            f"{scores['distinct_captions']} distinct captions, such as "
            f"{next(iter(captions.values()))!r}{'  best so far' if best else ''}"
        )
        header = self._header(scores)
        folder.save(learner.eval_model, header, best=best, best_of_stage=best_of_stage)
        captioner = TorchCaptioner(learner.eval_model, header)
        overlays = draw_overlays(captioner, self.val_photos, self.config.overlays)
        folder.show(overlays, step=progress.steps)

    def _log_start(self) -> None:
        captions = sum(len(record.captions) for record in self.train_photos.records)
        parameters = sum(p.numel() for p in self.model.parameters())
        self.folder.log(
            f"{self.config.name}: {len(self.train_photos.records)} training photos with {captions} "
            f"captions, {len(self.val_photos.records)} validation photos, vocabulary of "
            f"{len(self.tokenizer)} tokens, {parameters / 1e6:.1f} M parameters, on {self.device}"
        )
        self.folder.log(f"machine: {describe_machine(self.device)}")

    def _header(self, scores: Mapping[str, float]) -> Header:
        trained_on = {
            "settings": recipe(self.config),
            "photos": len(self.train_photos.records),
            "steps": self.progress.steps,
            "history": self.progress.history,
        }
        if self.progress.rewards:
            trained_on["rewards"] = self.progress.rewards
        if self.start is not None:
            trained_on["before"] = self.start.trained_on
        return Header(
            name=self.config.name,
            model=self.config.model,
            preprocess=self.config.preprocess,
            tokenizer=self.tokenizer,
            search=self.config.search,
            attention=AttentionConfig() if self.start is None else self.start.attention,
            trained_on=trained_on,
            scores={"validation": dict(scores)},
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 with the reason on stderr, or 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a captioner. The same command resumes a killed run.",
    )
    parser.add_argument("config", type=Path, help="a TOML file, such as those in training/configs")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a setting, such as stages.0.epochs=2; may be repeated. A list of values, "
        "such as seed=[1,2,3], trains one run per value, each in its own folder",
    )
    parser.add_argument("--print-config", action="store_true", help="print all settings and exit")
    parser.add_argument("--folder", type=Path, help="folder of the run (default: runs/NAME)")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    parser.add_argument(
        "--log-every",
        type=at_least(0.0),
        metavar="SECONDS",
        default=0 if sys.stderr.isatty() else 60,
        help="log training progress every SECONDS seconds; 0 disables it (default: 60 if stderr is "
        "not a terminal, otherwise 0)",
    )
    args = parser.parse_args(argv)
    finished = []
    try:
        runs = expand(args.config, args.overrides)
        if args.print_config:
            print(json.dumps([to_table(config) for _, config in runs], indent=2))
            return 0
        with process_group(args.device) as (ranks, device):
            for label, config in runs:
                if config.threads:
                    torch.set_num_threads(config.threads)
                folder = args.folder or Path("runs") / config.name
                folder = folder.with_name(f"{folder.name}-{label}") if label else folder
                check_writable(folder, folder=True, option="--folder")
                run = Run(config, folder, device=device, ranks=ranks, log_every=args.log_every)
                run.train()
                finished.append((run.progress.best, folder / "best.safetensors"))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last save.", file=sys.stderr)
        return 130
    if ranks.first:
        for best, path in finished:
            print(f"best validation {describe_measure('CIDEr', best)}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

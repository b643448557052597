"""Train a captioner.

    python -m training.train training/configs/flickr8k_transformer.toml [--set key=value ...]

Settings, data, model; then stages of epochs of steps, each epoch followed by validation and saving.
Everything a run makes lies in one folder: `best.safetensors` and `last.safetensors` (checkpoints
anyone can caption with), `log.txt`, `tensorboard/`, and `resume.pt`, from which the same command
goes on after being killed, with the one before it, `resume.1.pt`.

    torchrun --nproc-per-node 4 -m training.train CONFIG

does the same on four GPUs: each takes its share of every batch.
"""

import argparse
import hashlib
import json
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
from captioner.errors import CaptionerError
from captioner.pytorch import TorchCaptioner
from data.batching import BatchLoader
from data.coco import digest_of
from data.dataset import derive_seed
from data.progress import duration, progress_bar
from data.ranks import Ranks
from training.evaluate import describe_captions
from training.metrics import score
from training.running.distributed import joined
from training.running.learner import Learner
from training.running.loaders import load_photos
from training.running.meter import Meter
from training.running.pictures import draw_overlays
from training.running.resume import RunState, restore
from training.running.run_folder import RESUME, RunFolder
from training.running.stage import build_stage
from training.running.start import choose_words, compile_model, start_model
from training.scoring.observing import caption_batches, join_likelihoods
from training.scoring.provenance import describe_machine, peak_memory
from training.settings import RunConfig, StageConfig, recipe
from training.sweeps import expand

REPORT_STEPS = 20
"""Steps between two points of the loss curve, which is their mean."""


class Run:
    """A training run: its model, its data and how far it has come.

    Args:
        config: its settings.
        path: its folder.
        device: what it calculates on.
        ranks: who shares it.
        log_every: seconds between two lines about the steps; 0 says none.
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
        begun = (path / RESUME).exists()  # and checked then
        self.train_photos, self.val_photos = load_photos(config, check=ranks.first and not begun)
        self.tokenizer = choose_words(config, self.train_photos.records)
        self.start = read_header(find_checkpoint(config.start_from)) if config.start_from else None
        identity = {
            **recipe(config),
            "captions": digest_of(self.train_photos.records, self.val_photos.records),
            "words": hashlib.sha256(self.tokenizer.to_json().encode()).hexdigest(),
        }
        self.folder = RunFolder(path, config, identity=identity, ranks=ranks)

    def make_model(self, resumed: Mapping[str, Any] | None = None) -> None:
        """Make the model as the settings ask for it, or as the run left it."""
        config = self.config
        torch.manual_seed(config.seed)
        if resumed is not None:
            config = replace(config, encoder_weights="none", start_from="")
        self.progress = RunState(**resumed["progress"] if resumed else {})
        self.model = start_model(config, words=len(self.tokenizer)).to(self.device)
        if resumed is not None:
            self.model.load_state_dict(resumed["model"])
        if config.compile:
            compile_model(self.model, backend=config.compile)

    def train(self) -> None:
        """Go through all stages from where the run stands."""
        self.make_model(resumed := self.folder.load_resume())
        progress, stages = self.progress, self.config.stages
        self.folder.open(first_step=progress.steps + 1)
        self._introduce()
        while progress.stage < len(stages):
            stage = stages[progress.stage]
            if not self._is_over(stage):
                self._train_stage(stage, resumed)
            if progress.epoch < stage.epochs:
                self.folder.log(
                    f"{stage.name}: no better for {progress.waited} "
                    f"{'validations' if stage.validate_steps else 'epochs'}, stopped early"
                )
            resumed = None
            progress.begin_stage(progress.stage + 1)
        self.folder.close()

    def _introduce(self) -> None:
        records = self.train_photos.records
        self.folder.log(
            f"{self.config.name}: {len(records)} training photos with "
            f"{sum(len(record.captions) for record in records)} captions, "
            f"{len(self.val_photos.records)} validation photos, {len(self.tokenizer)} words, "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f} M weights, "
            f"on {self.device}"
        )
        self.folder.log(f"machine: {describe_machine(self.device)}")

    def _is_over(self, stage: StageConfig) -> bool:
        return self.progress.epoch >= stage.epochs or self._is_patience_spent(stage)

    def _is_patience_spent(self, stage: StageConfig) -> bool:
        return 0 < stage.patience <= self.progress.waited

    def _are_steps_done(self, stage: StageConfig) -> bool:
        return 0 < stage.max_steps <= self.progress.stage_steps

    def _train_stage(self, stage: StageConfig, resumed: Mapping[str, Any] | None) -> None:
        """Train until the stage is over, from its beginning or from where it stood."""
        progress = self.progress
        if resumed is None and progress.stage and stage.begins_with == "best":
            self.model.load_state_dict(self.folder.best_of_stage())
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
        # Filling a cache of features may have drawn numbers; a stage must not depend on that.
        torch.manual_seed(derive_seed(self.config.seed, progress.stage, self.ranks.rank))
        if resumed is not None:
            restore(resumed, learner.parts, ranks=self.ranks)
            self.folder.log(
                f"going on after {progress.batches} batches of epoch {progress.epoch + 1}"
            )
        while not self._is_over(stage):
            self._train_epoch(learner, loader, val_loader)
            if progress.validated < progress.steps:
                self.folder.save_resume(progress, learner.parts)  # validation takes its time
                self._validate(learner, val_loader)
            done = self._are_steps_done(stage)
            progress.epoch, progress.batches = stage.epochs if done else progress.epoch + 1, 0
            if self._is_over(stage):
                learner.finish()
            self.folder.save_resume(progress, learner.parts)

    def _train_epoch(self, learner: Learner, loader: BatchLoader, val_loader: BatchLoader) -> None:
        progress, stage, folder = self.progress, learner.stage, self.folder
        earlier = sum(done.epochs for done in self.config.stages[: progress.stage])
        loader.set_epoch(earlier + progress.epoch, done=progress.batches)
        learner.prepare()
        title = f"{stage.name} {progress.epoch + 1}/{stage.epochs}"
        bar = tqdm(
            loader,
            desc=title,
            initial=progress.batches,
            total=len(loader),
            disable=None if self.ranks.first else True,
        )
        meter = Meter(learner.objective.measure, ranks=self.ranks)
        begun, saved, said = progress.batches, time.monotonic(), time.monotonic()
        batches = iter(bar)
        while not (self._are_steps_done(stage) or self._is_patience_spent(stage)):
            some = list(islice(batches, stage.accumulate))
            if not some:
                break
            numbers = learner.step([batch.to(self.device) for batch in some])
            meter.add(numbers, photos=sum(len(batch.image_ids) for batch in some))
            progress.batches += len(some)
            progress.steps += 1
            progress.stage_steps += 1
            if progress.steps % REPORT_STEPS == 0:
                means = meter.mean(REPORT_STEPS, step=progress.steps)
                bar.set_postfix({meter.measure: f"{means[meter.measure]:.3f}"})
                curves = {**means, "rate": learner.rate}
                folder.draw({f"train/{x}": y for x, y in curves.items()}, step=progress.steps)
            if stage.validate_steps and progress.stage_steps % stage.validate_steps == 0:
                learner.settle()
                self._validate(learner, val_loader)
                learner.prepare()
            now = time.monotonic()
            save, say = self.ranks.agree(
                (
                    now - saved > 60 * self.config.save_minutes,
                    0 < self.log_every <= now - said,
                )
            )
            if save:
                meter.mean(1, step=progress.steps)  # a run gone wrong must not be kept
                learner.settle()
                folder.save_resume(progress, learner.parts)
                saved = now
            if say:
                done = progress.batches
                left = (len(loader) - done) * meter.seconds / (done - begun)
                folder.log(
                    f"{title}  {done} of {len(loader)} batches  {self._describe(meter)}  "
                    f"{duration(left)} left in this epoch  rate {learner.rate:.1e}  "
                    f"{peak_memory(self.device) / 1e9:.1f} GB"
                )
                said = now
        learner.settle()
        if meter:
            folder.log(f"{title}  {self._describe(meter)}  {meter.seconds:.0f} s")

    def _describe(self, meter: Meter) -> str:
        means = meter.mean(step=self.progress.steps)
        return (
            f"{meter.measure} {means[meter.measure]:.3f}  objective {means['objective']:.3f}  "
            f"{meter.rate():.1f} photos/s"
        )

    def _validate(self, learner: Learner, loader: BatchLoader) -> None:
        """Caption the validation photos, read their captions, and keep the checkpoint."""
        progress, stage, model = self.progress, learner.stage, learner.result
        bar = progress_bar(loader, title="validation", quiet=not self.ranks.first)
        shares = self.ranks.gather(
            caption_batches(model, self.tokenizer, bar, self.config.search, read=True)
        )
        found = {image: text for captions, _ in shares for image, text in captions.items()}
        references = {record.image_id: record.captions for record in self.val_photos.records}
        captions = {image: found[image] for image in references}
        scores = {}
        if self.ranks.first:
            scores = {
                **score(references, captions),
                **describe_captions(captions),
                **join_likelihoods([likelihood for _, likelihood in shares]),
            }
        scores = self.ranks.agree(scores)
        self.folder.draw({f"val/{x}": y for x, y in scores.items()}, step=progress.steps)
        progress.validated = progress.steps
        progress.history.append({"stage": stage.name, "epoch": progress.epoch + 1, **scores})
        best, best_of_stage = progress.is_better(scores["CIDEr"])
        self.folder.log(
            f"{stage.name} {progress.epoch + 1}/{stage.epochs}  CIDEr {scores['CIDEr']:.4f}  "
            f"Bleu_4 {scores['Bleu_4']:.4f}  loss {scores['loss']:.3f}  "
            f"perplexity {scores['perplexity']:.1f}  "
            f"{scores['distinct_captions']} distinct captions"
            f"{'  best so far' if best else ''}  such as {next(iter(captions.values()))!r}"
        )
        header = self._header(scores)
        self.folder.save(model, header, best=best, best_of_stage=best_of_stage)
        overlays = draw_overlays(
            TorchCaptioner(model, header), self.val_photos, self.config.overlays
        )
        self.folder.show(overlays, step=progress.steps)

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
        description="Train a captioner; the same command goes on after being killed.",
    )
    parser.add_argument("config", type=Path, help="a TOML file, such as those in training/configs")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change one setting, such as stages.0.epochs=2; may be given several times. A list "
        "of values, such as seed=[1,2,3], makes a run of each, in a folder of its own",
    )
    parser.add_argument("--print-config", action="store_true", help="print all settings, and end")
    parser.add_argument("--folder", type=Path, help="where the run goes; runs/<name> by default")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    parser.add_argument(
        "--log-every",
        type=float,
        metavar="SECONDS",
        help="say how the steps go so often; 60 without a terminal, else 0, which says nothing",
    )
    args = parser.parse_args(argv)
    unasked = 0 if sys.stderr.isatty() else 60
    log_every = unasked if args.log_every is None else args.log_every
    ends = []
    try:
        runs = expand(args.config, args.overrides)
        if args.print_config:
            print(json.dumps([to_table(config) for _, config in runs], indent=2))
            return 0
        with joined(args.device) as (ranks, device):
            for label, config in runs:
                if config.threads:
                    torch.set_num_threads(config.threads)
                folder = args.folder or Path("runs") / config.name
                folder = folder.with_name(f"{folder.name}-{label}") if label else folder
                run = Run(config, folder, device=device, ranks=ranks, log_every=log_every)
                run.train()
                ends.append((run.progress.best, folder / "best.safetensors"))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from where it last saved.", file=sys.stderr)
        return 130
    if ranks.first:
        for best, path in ends:
            print(f"best validation CIDEr {best:.4f}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

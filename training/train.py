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
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from captioner.checkpoint.header import Header, read_header
from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import save_checkpoint
from captioner.config import AttentionConfig
from captioner.durable import explained
from captioner.errors import CaptionerError, ConfigError
from captioner.model import CaptionModel
from data.batching import BatchLoader
from data.dataset import derive_seed
from data.ranks import Ranks
from training.evaluate import caption_batches, describe_captions
from training.metrics import score
from training.objectives import Objective, build_objective
from training.objectives.distillation import load_teacher
from training.running.distributed import joined
from training.running.learner import Learner
from training.running.loaders import build_loaders, load_photos
from training.running.logbook import Logbook
from training.running.optim import choose_trained
from training.running.resume import RunState, load_resume, restore, save_resume
from training.running.start import choose_words, compile_model, start_model
from training.scoring.provenance import describe_machine
from training.settings import RunConfig, StageConfig, load_settings, recipe

REPORT_STEPS = 20
"""Steps between two points of the loss curve, which is their mean."""
RESUME = "resume.pt"
"""What a run goes on from."""


class Run:
    """A training run: its model, its data and its folder."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        *,
        device: torch.device,
        ranks: Ranks = Ranks(),  # noqa: B008  # frozen
    ) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.ranks = ranks
        self.train_photos, self.val_photos = load_photos(config)
        records = self.train_photos.records
        self.tokenizer = choose_words(config, records)
        start = read_header(find_checkpoint(config.start_from)) if config.start_from else None
        self.before = None if start is None else start.trained_on
        self.attention = AttentionConfig() if start is None else start.attention
        words = hashlib.sha256(self.tokenizer.to_json().encode()).hexdigest()
        self.identity = {**recipe(config), "photos": len(records), "words": words}
        self.resumed = ranks.agree(self._load_resume() if ranks.first else None)
        self.progress = RunState()
        torch.manual_seed(config.seed)
        if self.resumed is None:
            self.model = start_model(config, words=len(self.tokenizer))
        else:
            unread = replace(config, encoder_weights="none", start_from="")
            self.model = start_model(unread, words=len(self.tokenizer))
            self.model.load_state_dict(self.resumed["model"])
            self.progress = RunState(**self.resumed["progress"])
        self.model.to(device)
        if config.compile:
            compile_model(self.model, backend=config.compile)
        self.logbook = self._open_logbook() if ranks.first else None
        self.log(
            f"{config.name}: {len(records)} training photos with "
            f"{sum(len(record.captions) for record in records)} captions, "
            f"{len(self.val_photos.records)} validation photos, {len(self.tokenizer)} words, "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f} M weights, on {device}"
        )
        self.log(f"machine: {describe_machine(device)}")

    def train(self) -> None:
        """Go through all stages from where the run stands."""
        progress = self.progress
        while progress.stage < len(self.config.stages):
            stage = self.config.stages[progress.stage]
            if not self._is_over(stage):
                self._train_stage(stage)
            if progress.epoch < stage.epochs:
                self.log(f"{stage.name}: no better for {progress.waited} epochs, stopped early")
            self.resumed = None
            progress.stage, progress.epoch, progress.waited = progress.stage + 1, 0, 0
        if self.logbook is not None:
            self.logbook.close()

    def log(self, line: str) -> None:
        """Say it to whoever watches, and keep it."""
        if not self.ranks.first:
            return
        tqdm.write(line, file=sys.stderr)
        path = self.folder / "log.txt"
        with explained(path, option="--folder"), path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def _is_over(self, stage: StageConfig) -> bool:
        patience_spent = 0 < stage.patience <= self.progress.waited
        return self.progress.epoch >= stage.epochs or patience_spent

    def _train_stage(self, stage: StageConfig) -> None:
        progress = self.progress
        choose_trained(self.model, stage)
        loader, val_loader = build_loaders(
            self.config,
            stage,
            train=self.train_photos,
            val=self.val_photos,
            tokenizer=self.tokenizer,
            encoder=self.model.encoder,
            device=self.device,
            ranks=self.ranks,
        )
        objective = build_objective(
            self.model.decoder,
            stage,
            tokenizer=self.tokenizer,
            captions=[record.captions for record in self.train_photos.records],
            max_words=self.config.data.max_words,
            teacher=load_teacher(self.config, stage, model=self.model, tokenizer=self.tokenizer),
            average=self.ranks.average,
        )
        learner = Learner(
            self.model,
            objective,
            stage,
            steps=stage.epochs * math.ceil(len(loader) / stage.accumulate),
            ranks=self.ranks,
            precision=self.config.precision,
            shard=self.config.shard,
        )
        if objective.signature:
            progress.rewards[stage.name] = objective.signature
        # Filling a cache of features may have drawn numbers; a stage must not depend on that.
        torch.manual_seed(derive_seed(self.config.seed, progress.stage, self.ranks.rank))
        if self.resumed is not None:
            restore(self.resumed, learner.parts, ranks=self.ranks)
            self.log(f"going on after {progress.batches} batches of epoch {progress.epoch + 1}")
        while not self._is_over(stage):
            self._train_epoch(learner, loader)
            self._save_resume(learner)  # validation takes its time
            better = self._validate(learner, val_loader)
            progress.waited = 0 if better else progress.waited + 1
            progress.epoch, progress.batches = progress.epoch + 1, 0
            if self._is_over(stage):
                learner.finish()
            self._save_resume(learner)

    def _train_epoch(self, learner: Learner, loader: BatchLoader) -> None:
        progress, stage, objective = self.progress, learner.stage, learner.objective
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
        measures: list[Tensor] = []
        photos, started, saved = 0, time.monotonic(), time.monotonic()
        batches = iter(bar)
        while some := list(islice(batches, stage.accumulate)):
            measures.append(learner.step([batch.to(self.device) for batch in some]))
            progress.batches += len(some)
            progress.steps += 1
            photos += sum(len(batch.image_ids) for batch in some)
            if progress.steps % REPORT_STEPS == 0:
                measure, norm = self._average(measures[-REPORT_STEPS:], objective)
                bar.set_postfix({objective.measure: f"{measure:.3f}"})
                rate = {objective.measure: measure, "gradient_norm": norm, "rate": learner.rate}
                self._draw({f"train/{name}": value for name, value in rate.items()})
            if self.ranks.agree(time.monotonic() - saved > 60 * self.config.save_minutes):
                self._average(measures[-1:], objective)  # a run gone wrong must not be kept
                learner.settle()
                self._save_resume(learner)
                saved = time.monotonic()
        learner.settle()
        if measures:
            seconds = time.monotonic() - started
            measure, _ = self._average(measures, objective)
            self.log(
                f"{title}  {objective.measure} {measure:.3f}  "
                f"{sum(self.ranks.gather(photos)) / seconds:.1f} photos/s  {seconds:.0f} s"
            )

    def _average(self, measures: list[Tensor], objective: Objective) -> tuple[float, float]:
        """Measure and gradient norm, averaged over steps, once they are seen to be numbers.

        Asked only now and then: a GPU need not wait after every step.
        """
        measure, norm = self.ranks.mean(torch.stack(measures).mean(dim=0)).tolist()
        if not math.isfinite(measure) or not math.isfinite(norm):
            raise ConfigError(
                f"training went wrong by step {self.progress.steps}: the {objective.measure} is "
                f"{measure}, the norm of the gradient {norm}. Lower stages.learning_rate or "
                "stages.clip and start over."
            )
        return measure, norm

    def _validate(self, learner: Learner, loader: BatchLoader) -> bool:
        """Caption the validation photos; save the checkpoint, as the best one too if it is."""
        progress, stage, model = self.progress, learner.stage, learner.result
        quiet = None if self.ranks.first else True
        bar = tqdm(loader, desc="validation", leave=False, disable=quiet)
        shares = self.ranks.gather(caption_batches(model, self.tokenizer, bar, self.config.search))
        found = {image: caption for share in shares for image, caption in share.items()}
        references = {record.image_id: record.captions for record in self.val_photos.records}
        captions = {image: found[image] for image in references}
        scores = {}
        if self.ranks.first:
            scores = {**score(references, captions), **describe_captions(captions)}
        scores = self.ranks.agree(scores)
        self._draw({f"val/{name}": value for name, value in scores.items()})
        progress.history.append({"stage": stage.name, "epoch": progress.epoch + 1, **scores})
        better = scores["CIDEr"] > progress.best
        self.log(
            f"{stage.name} {progress.epoch + 1}/{stage.epochs}  CIDEr {scores['CIDEr']:.4f}  "
            f"Bleu_4 {scores['Bleu_4']:.4f}  {scores['distinct_captions']} distinct captions"
            f"{'  best so far' if better else ''}  such as {next(iter(captions.values()))!r}"
        )
        self._save("last.safetensors", model, scores)
        if better:
            progress.best = scores["CIDEr"]
            self._save("best.safetensors", model, scores)
        return better

    def _load_resume(self) -> dict[str, Any] | None:
        return load_resume(self.folder / RESUME, identity=self.identity, say=self.log)

    def _open_logbook(self) -> Logbook:
        with explained(self.folder, option="--folder"):
            return Logbook(
                self.folder,
                first_step=self.progress.steps + 1,
                project=self.config.wandb,
                name=self.config.name,
                settings=self.identity,
            )

    def _draw(self, curves: Mapping[str, float]) -> None:
        """Add a point to each of these curves."""
        if self.logbook is not None:
            with explained(self.folder, option="--folder"):
                self.logbook.add(curves, self.progress.steps)

    def _save(self, name: str, model: CaptionModel, scores: dict[str, float]) -> None:
        if not self.ranks.first:
            return
        trained_on = {
            "settings": recipe(self.config),
            "photos": len(self.train_photos.records),
            "steps": self.progress.steps,
            "history": self.progress.history,
        }
        if self.progress.rewards:
            trained_on["rewards"] = self.progress.rewards
        if self.before is not None:
            trained_on["before"] = self.before
        header = Header(
            name=self.config.name,
            model=self.config.model,
            preprocess=self.config.preprocess,
            tokenizer=self.tokenizer,
            search=self.config.search,
            attention=self.attention,
            trained_on=trained_on,
            scores={"validation": scores},
        )
        save_checkpoint(self.folder / name, model, header, half=True)

    def _save_resume(self, learner: Learner) -> None:
        save_resume(
            self.folder / RESUME,
            self.progress,
            identity=self.identity,
            parts=learner.parts,
            ranks=self.ranks,
            keep=self.config.keep,
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
        help="change one setting, such as stages.0.epochs=2; may be given several times",
    )
    parser.add_argument("--folder", type=Path, help="where the run goes; runs/<name> by default")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    args = parser.parse_args(argv)
    try:
        config = load_settings(args.config, args.overrides)
        if config.threads:
            torch.set_num_threads(config.threads)
        folder = args.folder or Path("runs") / config.name
        with joined(args.device) as (ranks, device):
            run = Run(config, folder, device=device, ranks=ranks)
            run.train()
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from where it last saved.", file=sys.stderr)
        return 130
    if ranks.first:
        print(f"best validation CIDEr {run.progress.best:.4f}: {folder / 'best.safetensors'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

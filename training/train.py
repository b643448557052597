"""Train a captioner.

    python -m training.train training/configs/flickr8k_transformer.toml [--set key=value ...]

Settings, data, model; then stages of epochs of steps, each epoch followed by validation and saving.
Everything a run makes lies in one folder: `best.safetensors` and `last.safetensors` (checkpoints
anyone can caption with), `log.txt`, `tensorboard/`, and `resume.pt`, from which the same command
goes on after being killed.
"""

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from captioner.checkpoint import Header, save_checkpoint
from captioner.errors import CaptionerError, ConfigError
from captioner.pipeline import find_device
from data.archives import ImageSource
from data.batching import Batch, BatchLoader, build_loader
from data.coco import Record
from data.dataset import CaptionDataset, draw
from data.features import FeatureDataset, View, cache_features
from training.evaluate import caption_batches, describe
from training.loss import coverage_loss, word_loss
from training.metrics import score
from training.optim import build_optimizer, build_schedule, choose_trained
from training.resume import Progress, load_resume, restore, save_resume
from training.settings import RunConfig, StageConfig, load_settings, recipe
from training.start import build_tokenizer, load_sources, start_model

REPORT_STEPS = 20
"""Steps between two points of the loss curve, which is their mean."""


class Run:
    """A training run: its model, its data and its folder."""

    def __init__(self, config: RunConfig, folder: Path, *, device: torch.device) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.train_records, self.train_photos = load_sources(config.data.train)
        self.val_records, self.val_photos = load_sources([config.data.val])
        self.tokenizer = build_tokenizer(config.data, self.train_records)
        words = hashlib.sha256(self.tokenizer.to_json().encode()).hexdigest()
        self.identity = {**recipe(config), "photos": len(self.train_records), "words": words}
        self.resumed = load_resume(folder / "resume.pt", identity=self.identity)
        self.progress = Progress()
        torch.manual_seed(config.seed)
        if self.resumed is None:
            self.model = start_model(config, words=len(self.tokenizer))
        else:
            unread = replace(config, encoder_weights="none")
            self.model = start_model(unread, words=len(self.tokenizer))
            self.model.load_state_dict(self.resumed["model"])
            self.progress = Progress(**self.resumed["progress"])
        self.model.to(device)
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=self.progress.steps + 1)
        self.log(
            f"{config.name}: {len(self.train_records)} training photos with "
            f"{sum(len(r.captions) for r in self.train_records)} captions, "
            f"{len(self.val_records)} validation photos, {len(self.tokenizer)} words, "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f} M weights, on {device}"
        )

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
        self.writer.close()

    def log(self, line: str) -> None:
        """Say it to whoever watches, and keep it."""
        tqdm.write(line, file=sys.stderr)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def _is_over(self, stage: StageConfig) -> bool:
        patience_spent = 0 < stage.patience <= self.progress.waited
        return self.progress.epoch >= stage.epochs or patience_spent

    def _train_stage(self, stage: StageConfig) -> None:
        progress = self.progress
        choose_trained(self.model, stage)
        loader, val_loader = self._loaders(stage)
        optimizer = build_optimizer(self.model, stage)
        schedule = build_schedule(optimizer, stage, steps=stage.epochs * len(loader))
        # Filling a cache of features may have drawn numbers; a stage must not depend on that.
        torch.manual_seed(draw(self.config.seed, progress.stage))
        if self.resumed is not None:
            restore(self.resumed, optimizer, schedule)
            self.log(f"going on after {progress.batches} batches of epoch {progress.epoch + 1}")
        while not self._is_over(stage):
            self._train_epoch(stage, loader, optimizer, schedule)
            self._save_resume(optimizer, schedule)  # validation takes its time
            better = self._validate(stage, val_loader)
            progress.waited = 0 if better else progress.waited + 1
            progress.epoch, progress.batches = progress.epoch + 1, 0
            self._save_resume(optimizer, schedule)

    def _train_epoch(
        self, stage: StageConfig, loader: BatchLoader, optimizer: AdamW, schedule: LambdaLR
    ) -> None:
        progress = self.progress
        earlier = sum(done.epochs for done in self.config.stages[: progress.stage])
        loader.set_epoch(earlier + progress.epoch, done=progress.batches)
        self.model.train()
        if stage.encoder == "frozen":
            self.model.encoder.eval()
        title = f"{stage.name} {progress.epoch + 1}/{stage.epochs}"
        bar = tqdm(loader, desc=title, initial=progress.batches, total=len(loader), disable=None)
        measures: list[Tensor] = []
        photos, started, saved = 0, time.monotonic(), time.monotonic()
        for batch in bar:
            measures.append(self._step(batch.to(self.device), stage, optimizer))
            schedule.step()
            progress.batches += 1
            progress.steps += 1
            photos += len(batch.image_ids)
            if progress.steps % REPORT_STEPS == 0:
                loss, norm = self._average(measures[-REPORT_STEPS:])
                bar.set_postfix(loss=f"{loss:.3f}")
                self.writer.add_scalar("train/loss", loss, progress.steps)
                self.writer.add_scalar("train/gradient_norm", norm, progress.steps)
                self.writer.add_scalar("train/rate", schedule.get_last_lr()[0], progress.steps)
            if time.monotonic() - saved > 60 * self.config.save_minutes:
                self._average(measures[-1:])  # a run gone wrong must not be kept
                self._save_resume(optimizer, schedule)
                saved = time.monotonic()
        if measures:
            seconds = time.monotonic() - started
            loss, _ = self._average(measures)
            self.log(f"{title}  loss {loss:.3f}  {photos / seconds:.1f} photos/s  {seconds:.0f} s")

    def _step(self, batch: Batch, stage: StageConfig, optimizer: AdamW) -> Tensor:
        """Learn from one batch; return the loss of its words and the norm of the gradient."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            seen = batch.inputs
            features = seen if seen.ndim == 3 else self.model.encoder(seen)  # cached, or pixels
            reading = self.model.decoder(
                features, batch.words[:, :, :-1], with_attention=stage.coverage > 0
            )
        pad_id = self.tokenizer.pad_id
        loss = total = word_loss(
            reading.logits, batch.words, pad_id=pad_id, label_smoothing=stage.label_smoothing
        )
        if stage.coverage > 0:
            penalty = coverage_loss(reading.attention, batch.words, pad_id=pad_id)
            total = loss + stage.coverage * penalty
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, stage.clip or math.inf)
        optimizer.step()
        return torch.stack([loss.detach(), norm])

    def _average(self, measures: list[Tensor]) -> tuple[float, float]:
        """Loss and gradient norm, averaged over steps, once they are seen to be numbers.

        Asked only now and then: a GPU need not wait after every step.
        """
        loss, norm = torch.stack(measures).mean(dim=0).tolist()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise ConfigError(
                f"training went wrong by step {self.progress.steps}: the loss is {loss}, the norm "
                f"of its gradient {norm}. Lower stages.learning_rate or stages.clip and start over."
            )
        return loss, norm

    def _validate(self, stage: StageConfig, loader: BatchLoader) -> bool:
        """Caption the validation photos; save the checkpoint, as the best one too if it is."""
        progress = self.progress
        bar = tqdm(loader, desc="validation", leave=False, disable=None)
        captions = caption_batches(self.model, self.tokenizer, bar, self.config.search)
        references = {record.image_id: record.captions for record in self.val_records}
        scores = {**score(references, captions), **describe(captions)}
        for name, value in scores.items():
            self.writer.add_scalar(f"val/{name}", value, progress.steps)
        self.writer.flush()
        progress.history.append({"stage": stage.name, "epoch": progress.epoch + 1, **scores})
        better = scores["CIDEr"] > progress.best
        self.log(
            f"{stage.name} {progress.epoch + 1}/{stage.epochs}  CIDEr {scores['CIDEr']:.4f}  "
            f"Bleu_4 {scores['Bleu_4']:.4f}  {scores['distinct_captions']} distinct captions"
            f"{'  best so far' if better else ''}  such as {next(iter(captions.values()))!r}"
        )
        self._save("last.safetensors", scores)
        if better:
            progress.best = scores["CIDEr"]
            self._save("best.safetensors", scores)
        return better

    def _loaders(self, stage: StageConfig) -> tuple[BatchLoader, BatchLoader]:
        """Batches to learn from and to validate on: pixels, or a frozen encoder's features."""
        train_set: CaptionDataset | FeatureDataset
        val_set: CaptionDataset | FeatureDataset
        train_set = self._dataset(self.train_records, self.train_photos, augment=stage.augment)
        val_set = self._dataset(self.val_records, self.val_photos, augment=False)
        if stage.encoder == "frozen":
            views: tuple[View, ...] = ("plain", "mirror") if stage.augment else ("plain",)
            train_set = self._cache(train_set, "train", views=views)
            val_set = self._cache(val_set, "val", views=("plain",))
        options: dict[str, Any] = {
            "batch_size": stage.batch_size,
            "pad_id": self.tokenizer.pad_id,
            "seed": self.config.seed,
            "workers": self.config.data.workers,
        }
        return (
            build_loader(train_set, shuffle=True, **options),
            build_loader(val_set, shuffle=False, **options),
        )

    def _dataset(
        self, records: list[Record], photos: ImageSource, *, augment: bool
    ) -> CaptionDataset:
        return CaptionDataset(
            records,
            photos,
            preprocess=self.config.preprocess,
            tokenizer=self.tokenizer,
            augment=augment,
            max_words=self.config.data.max_words,
            seed=self.config.seed,
        )

    def _cache(
        self, dataset: CaptionDataset, part: str, *, views: Sequence[View]
    ) -> FeatureDataset:
        return cache_features(
            self.model.encoder,
            dataset,
            Path(self.config.data.cache) / self.config.name / part,
            batch_size=64,
            device=self.device,
            views=views,
            workers=self.config.data.workers,
        )

    def _save(self, name: str, scores: dict[str, float]) -> None:
        header = Header(
            name=self.config.name,
            model=self.config.model,
            preprocess=self.config.preprocess,
            tokenizer=self.tokenizer,
            search=self.config.search,
            trained_on={
                "settings": recipe(self.config),
                "photos": len(self.train_records),
                "steps": self.progress.steps,
                "history": self.progress.history,
            },
            scores={"validation": scores},
        )
        save_checkpoint(self.folder / name, self.model, header, half=True)

    def _save_resume(self, optimizer: AdamW, schedule: LambdaLR) -> None:
        save_resume(
            self.folder / "resume.pt",
            self.progress,
            identity=self.identity,
            model=self.model,
            optimizer=optimizer,
            schedule=schedule,
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
        run = Run(config, folder, device=find_device(args.device))
        run.train()
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from where it last saved.", file=sys.stderr)
        return 130
    print(f"best validation CIDEr {run.progress.best:.4f}: {folder / 'best.safetensors'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

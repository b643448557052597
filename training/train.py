"""Train a captioner.

    python -m training.train training/configs/transformer.toml [--set key=value ...]

One file, one loop: settings, data, model, stages, steps, validation, saving. Everything a run makes
lies in one folder: `best.safetensors` and `last.safetensors` (checkpoints anyone can caption with),
`log.txt`, `tensorboard/`, and `resume.pt`, from which the same command goes on after being killed.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from captioner.checkpoint import Header, load_checkpoint, save_checkpoint
from captioner.config import to_table
from captioner.errors import CaptionerError, ConfigError
from captioner.model import CaptionModel, build_model
from captioner.tokenizer import Tokenizer
from data.archives import ImageSource
from data.batching import Batch, BatchLoader, build_loader
from data.coco import Record, load_records
from data.dataset import CaptionDataset
from data.features import FeatureDataset, View, cache_features
from training.evaluate import caption_batches, describe
from training.loss import coverage_loss, word_loss
from training.metrics import score
from training.optim import build_optimizer, build_schedule, choose_trained
from training.settings import RunConfig, SourceConfig, StageConfig, load_settings


@dataclass
class Progress:
    """How far a run has come; what `resume.pt` holds beside the tensors."""

    stage: int = 0
    epoch: int = 0
    batches: int = 0  # done in this epoch
    steps: int = 0  # done in the whole run
    best: float = -1.0  # validation CIDEr-D of best.safetensors
    waited: int = 0  # epochs of this stage without a better one
    history: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A training run: its model, its data and its folder."""

    def __init__(self, config: RunConfig, folder: Path, *, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        random.seed(config.seed)
        self.config = config
        self.folder = folder
        self.device = device
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)
        self.train_records, self.train_source = load_sources(config.data.train)
        self.val_records, self.val_source = load_sources([config.data.val])
        self.tokenizer = build_tokenizer(config, self.train_records)
        self.model = start_model(config, words=len(self.tokenizer)).to(device)
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.log(
            f"{config.name}: {len(self.train_records)} training photos with "
            f"{sum(len(r.captions) for r in self.train_records)} captions, "
            f"{len(self.val_records)} validation photos, {len(self.tokenizer)} words, "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f} M weights, on {device}"
        )

    def train(self) -> Progress:
        """Go through all stages from where the run stands; return how it ended."""
        resumed = self._read_resume()
        for index in range(self.progress.stage, len(self.config.stages)):
            self._train_stage(index, resumed)
            resumed = None
        self.writer.close()
        return self.progress

    def log(self, line: str) -> None:
        """Say it to whoever watches, and keep it."""
        tqdm.write(line, file=sys.stderr)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def _train_stage(self, index: int, resumed: dict[str, Any] | None) -> None:
        stage, progress = self.config.stages[index], self.progress
        choose_trained(self.model, stage)
        loader, val_loader = self._loaders(stage)
        optimizer = build_optimizer(self.model, stage)
        schedule = build_schedule(optimizer, stage, steps=stage.epochs * len(loader))
        if resumed is not None:
            optimizer.load_state_dict(resumed["optimizer"])
            schedule.load_state_dict(resumed["schedule"])
            torch.set_rng_state(resumed["random"])
        while progress.epoch < stage.epochs:
            self._train_epoch(stage, loader, optimizer, schedule)
            better = self._validate(stage, val_loader)
            progress.waited = 0 if better else progress.waited + 1
            progress.epoch, progress.batches = progress.epoch + 1, 0
            self._save_resume(optimizer, schedule)
            if stage.patience and progress.waited >= stage.patience:
                self.log(f"{stage.name}: no better for {progress.waited} epochs, stopped early")
                break
        progress.stage, progress.epoch, progress.waited = index + 1, 0, 0

    def _train_epoch(
        self, stage: StageConfig, loader: BatchLoader, optimizer: AdamW, schedule: LambdaLR
    ) -> None:
        progress = self.progress
        loader.set_epoch(progress.epoch, done=progress.batches)
        self.model.train()
        if stage.encoder == "frozen":
            self.model.encoder.eval()
        title = f"{stage.name} {progress.epoch + 1}/{stage.epochs}"
        bar = tqdm(loader, desc=title, initial=progress.batches, total=len(loader), disable=None)
        losses, photos, started, saved = [], 0, time.monotonic(), time.monotonic()
        for batch in bar:
            loss = self._step(batch.to(self.device), stage, optimizer)
            schedule.step()
            progress.batches += 1
            progress.steps += 1
            losses.append(loss)
            photos += len(batch.image_ids)
            if progress.steps % 20 == 0:
                recent = torch.stack(losses[-20:]).mean().item()
                bar.set_postfix(loss=f"{recent:.3f}")
                self.writer.add_scalar("train/loss", recent, progress.steps)
                self.writer.add_scalar("train/rate", schedule.get_last_lr()[0], progress.steps)
            if time.monotonic() - saved > 60 * self.config.save_minutes:
                self._save_resume(optimizer, schedule)
                saved = time.monotonic()
        if losses:
            seconds = time.monotonic() - started
            mean = torch.stack(losses).mean().item()
            self.log(f"{title}  loss {mean:.3f}  {photos / seconds:.1f} photos/s  {seconds:.0f} s")

    def _step(self, batch: Batch, stage: StageConfig, optimizer: AdamW) -> Tensor:
        """Learn from one batch; return its loss, detached."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            inputs = batch.inputs
            features = inputs.float() if inputs.ndim == 3 else self.model.encoder(inputs)
            reading = self.model.decoder(
                features, batch.words[:, :, :-1], with_attention=stage.coverage > 0
            )
        loss = word_loss(
            reading.logits,
            batch.words,
            pad_id=self.tokenizer.pad_id,
            label_smoothing=stage.label_smoothing,
        )
        total = loss
        if stage.coverage > 0:
            penalty = coverage_loss(reading.attention, batch.words, pad_id=self.tokenizer.pad_id)
            total = loss + stage.coverage * penalty
        if not torch.isfinite(total):
            raise ConfigError(
                f"the loss became {total.item()} at step {self.progress.steps}; lower "
                "stages.learning_rate or stages.clip, and start from the last checkpoint."
            )
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        if stage.clip > 0:
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, stage.clip)
        optimizer.step()
        return loss.detach()

    def _validate(self, stage: StageConfig, loader: BatchLoader) -> bool:
        """Caption the validation photos; save the checkpoint, as the best one too if it is."""
        progress = self.progress
        bar = tqdm(loader, desc="validation", leave=False, disable=None)
        captions = caption_batches(self.model, self.tokenizer, bar, self.config.search)
        references = {r.image_id: r.captions for r in self.val_records}
        scores = {**score(references, captions), **describe(captions)}
        for name, value in scores.items():
            self.writer.add_scalar(f"val/{name}", value, progress.steps)
        better = scores["CIDEr"] > progress.best
        progress.history.append({"stage": stage.name, "epoch": progress.epoch + 1, **scores})
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
        config = self.config
        train_set = self._dataset(self.train_records, self.train_source, augment=stage.augment)
        val_set = self._dataset(self.val_records, self.val_source, augment=False)
        datasets: list[CaptionDataset | FeatureDataset] = [train_set, val_set]
        if stage.encoder == "frozen":
            views: tuple[View, ...] = ("plain", "mirror") if stage.augment else ("plain",)
            datasets = [
                self._cache(train_set, "train", views=views),
                self._cache(val_set, "val", views=("plain",)),
            ]
        train_loader, val_loader = (
            build_loader(
                dataset,
                batch_size=stage.batch_size,
                shuffle=shuffle,
                pad_id=self.tokenizer.pad_id,
                seed=config.seed,
                workers=config.data.workers,
            )
            for dataset, shuffle in zip(datasets, (True, False), strict=True)
        )
        return train_loader, val_loader

    def _dataset(
        self, records: list[Record], source: ImageSource, *, augment: bool
    ) -> CaptionDataset:
        return CaptionDataset(
            records,
            source,
            preprocess=self.config.preprocess,
            tokenizer=self.tokenizer,
            augment=augment,
            max_words=self.config.data.max_words,
            seed=self.config.seed,
        )

    def _cache(
        self, dataset: CaptionDataset, part: str, *, views: Sequence[View]
    ) -> FeatureDataset:
        name = f"{self.config.model.encoder.backbone}-{self.config.preprocess.height}-{part}"
        return cache_features(
            self.model.encoder,
            dataset,
            Path(self.config.data.cache) / name,
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
                "settings": to_table(self.config),
                "steps": self.progress.steps,
                "photos": len(self.train_records),
            },
            scores={"validation": scores},
        )
        save_checkpoint(self.folder / name, self.model, header, half=True)

    def _save_resume(self, optimizer: AdamW, schedule: LambdaLR) -> None:
        """Write all that is needed to go on, whole or not at all."""
        path = self.folder / "resume.pt"
        state = {
            "progress": asdict(self.progress),
            "settings": repr(self.config),
            "model": self.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "random": torch.get_rng_state(),
        }
        unfinished = path.with_suffix(".unfinished")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def _read_resume(self) -> dict[str, Any] | None:
        """Take up where a killed run stopped, if it was this one."""
        path = self.folder / "resume.pt"
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != repr(self.config):
            raise ConfigError(
                f"{path} belongs to a run with other settings. Give this run another --folder, "
                f"or delete {self.folder} to start over."
            )
        self.model.load_state_dict(state["model"])
        self.progress = Progress(**state["progress"])
        state["random"] = state["random"].cpu()
        stage = self.progress.stage
        if self.progress.epoch >= self.config.stages[stage].epochs:
            self.progress.stage, self.progress.epoch = stage + 1, 0
            self.progress.waited = 0
            return None
        self.log(
            f"resuming at stage {self.config.stages[stage].name}, epoch "
            f"{self.progress.epoch + 1}, batch {self.progress.batches + 1}"
        )
        return state


def load_sources(sources: Sequence[SourceConfig]) -> tuple[list[Record], ImageSource]:
    """Read the captions of several sources, and find their photos."""
    records: list[Record] = []
    for source in sources:
        records += load_records(Path(source.annotations), split=source.split)[: source.limit]
    return records, ImageSource([path for source in sources for path in source.images])


def build_tokenizer(config: RunConfig, records: Sequence[Record]) -> Tokenizer:
    """Learn the vocabulary from the training captions."""
    captions = [caption for record in records for caption in record.captions]
    if config.data.words == "bpe":
        return Tokenizer.train_bpe(captions, vocabulary=config.data.vocabulary)
    return Tokenizer.train_words(captions, min_count=config.data.min_count)


def start_model(config: RunConfig, *, words: int) -> CaptionModel:
    """Make the model, with the encoder weights the settings ask for."""
    given = config.encoder_weights
    weights: Path | bool = {"hub": True, "none": False}.get(given, Path(given))
    ours = None
    if isinstance(weights, Path):
        with suppress(CaptionerError):
            ours, _ = load_checkpoint(weights)
    model = build_model(
        config.model,
        preprocess=config.preprocess,
        words=words,
        encoder_weights=False if ours is not None else weights,
    )
    if ours is not None:
        model.encoder.load_state_dict(ours.encoder.state_dict())
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 with the reason on stderr, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("config", type=Path, help="a TOML file, such as those in training/configs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--folder", type=Path, help="where the run goes; runs/<name> by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    try:
        config = load_settings(args.config, args.overrides)
        if config.threads:
            torch.set_num_threads(config.threads)
        folder = args.folder or Path("runs") / config.name
        run = Run(config, folder, device=torch.device(args.device))
        progress = run.train()
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    print(f"best validation CIDEr {progress.best:.4f}: {folder / 'best.safetensors'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

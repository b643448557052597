"""Settings of a training run, from a TOML file and `--set` overrides."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from captioner.checkpoint.header import read_header
from captioner.checkpoint.shipped import find_checkpoint
from captioner.config import ModelConfig, PreprocessConfig, SearchConfig, from_table, to_table
from captioner.errors import ConfigError
from captioner.schema import SET, beside, check_used

OBJECTIVES = {
    "words": "training.objectives:CrossEntropyObjective",
    "cider": "training.objectives:SelfCriticalObjective",
}
"""Objective -> its class, imported when used; docs/extending.md shows how to add one."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One set of captions and its photos."""

    annotations: str
    """Captions file in any format that `data.coco` reads."""
    images: tuple[str, ...]
    """Folders or tar shards with the photos."""
    split: str | None = None
    """Split to use; none uses all photos."""
    boxes: str = ""
    """File with boxes of the objects that captions name, in the format of Flickr30k Entities; for
    training only."""
    limit: int | None = None
    """Use only this many photos, from the start."""

    def __post_init__(self) -> None:
        if not self.images:
            raise ConfigError(f"images of {self.annotations} is empty; name a folder or archive.")
        if self.limit is not None:
            _at_least(1, self, "data source", "limit")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training and validation data."""

    train: tuple[SourceConfig, ...]
    """Training captions; the vocabulary comes from these alone."""
    val: SourceConfig
    """Validation captions, which select the best checkpoint."""
    overlap: Literal["refused", "allowed"] = "refused"
    """Whether photos of `val` may also be in `train`; allow it only to overfit on purpose."""
    words: Literal["words", "bpe"] = "words"
    """Word-level tokens, or subwords by byte-pair encoding (BPE)."""
    min_count: int = beside(5, words="words")
    """Word level: rarer words become the unknown token."""
    vocabulary: int = beside(8000, words="bpe")
    """Subwords: size of the vocabulary."""
    max_words: int = 30
    """Maximum length of training captions in tokens; longer ones are cut."""
    cache: str = "cache"
    """Folder for cached features of frozen encoders; runs with equal features share the files."""
    workers: int = 2
    """Worker processes that read photos."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError("data.train is empty; a run needs at least one source of captions.")
        _at_least(1, self, "data", "min_count", "vocabulary", "max_words")
        _at_least(0, self, "data", "workers")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A stage of training, with its own objective and learning-rate schedule."""

    name: str
    """Name of the stage in logs."""
    epochs: int
    """Passes over the training photos."""
    max_steps: int = 0
    """Maximum number of optimizer steps; 0 runs all epochs."""
    validate_steps: int = 0
    """Also validate after every so many steps, `max_steps` at most; each validation counts for
    `patience` as an epoch does. 0 validates only after epochs."""
    begins_with: Literal["best", "last"] = "best"
    """Initial weights: the previous stage's `best` by validation, or its `last`. Refused in the
    first stage."""
    objective: str = "words"
    """`words` trains with cross-entropy on human captions; `cider` is self-critical training (SCST)
    on the CIDEr-D of sampled captions, which needs a decoder trained with `words` and uses no
    dropout."""
    samples: int = beside(5, objective="cider")
    """Sampled captions per photo."""
    draws: Literal["samples", "beam"] = beside("samples", objective="cider")
    """`samples` draws captions token by token; `beam` takes the candidates of a beam search (Cornia
    et al. 2020, section 3.3, arXiv:1912.08226)."""
    temperature: float = beside(1.0, draws="samples", objective="cider")
    """Sampling temperature. Label smoothing leaves some probability on every token, which a
    temperature below 1 suppresses."""
    bleu: float = beside(0.0, objective="cider")
    """Weight of BLEU-4 (0 to 1) in the reward, beside CIDEr-D (0 to 10)."""
    hallucination_penalty: float = beside(0.0, objective="cider")
    """Subtracted from the reward for each thing a caption names that no reference names: COCO's
    objects and, where a source has boxes, all nouns (CHAIR: Rohrbach et al. 2018,
    arXiv:1809.02156)."""
    distinctiveness: float = beside(0.0, objective="cider")
    """Weight of the CIDEr-D against references of other photos in the batch, which is subtracted
    from the reward (CIDErBtw: Wang et al. 2020, arXiv:2007.06877)."""
    encoder: Literal["frozen", "trained"] = "frozen"
    """Frozen features are computed once and cached; a trained encoder reads pixels in every
    epoch."""
    frozen_layers: float = beside(0.0, encoder="trained")
    """Fraction of a trained encoder's layers, from the input on, that stay frozen."""
    checkpointing: bool = beside(False, encoder="trained")
    """Recompute a trained encoder's activations in the backward pass: less memory, more time."""
    batch_size: int = 32
    """Photos per batch, each with all its captions."""
    accumulate: int = 1
    """Gradient accumulation: batches per optimizer step."""
    ema: float = 0.0
    """Decay of an exponential moving average (EMA) of the weights, such as 0.999. The average is
    validated, saved and passed on to the next stage; 0 keeps none."""
    learning_rate: float = 5e-4
    """Peak learning rate of the decoder."""
    encoder_learning_rate: float = beside(2e-5, encoder="trained")
    """Peak learning rate of the encoder."""
    layer_decay: float = beside(1.0, encoder="trained")
    """Layer-wise learning-rate decay: the rate of each encoder layer as a fraction of the next
    layer's."""
    weight_decay: float = 0.01
    """Weight decay of AdamW, for matrices only."""
    warmup: float = 0.05
    """Fraction of the steps over which the learning rate rises to its peak; then it follows a
    cosine."""
    final_rate: float = 0.0
    """Learning rate at the end, as a fraction of the peak."""
    label_smoothing: float = beside(0.1, objective="words")
    """Probability spread over the vocabulary (Szegedy et al. 2016, section 7, arXiv:1512.00567)."""
    scheduled_sampling: float = beside(0.0, objective="words")
    """Probability, rising to this value at the end of the stage, of replacing an input token by the
    model's own sample (Bengio et al. 2015, arXiv:1506.03099)."""
    teachers: tuple[str, ...] = beside((), objective="words")
    """Checkpoints for knowledge distillation, with the same vocabulary; the probabilities of
    several are averaged."""
    teacher_weight: float = beside(0.5, teachers=SET)
    """Weight of the distillation loss; the cross-entropy gets the rest."""
    teacher_temperature: float = beside(1.0, teachers=SET)
    """Distillation temperature, which divides both models' logits (Hinton et al. 2015,
    arXiv:1503.02531)."""
    coverage: float = beside(0.0, objective="words")
    """Weight of the doubly stochastic attention penalty, lambda of Xu et al. 2015, equation 14
    (arXiv:1502.03044)."""
    grounding: float = beside(0.0, objective="words")
    """Weight of the loss on attention outside boxes; some of data.train must have boxes."""
    clip: float = 1.0
    """Gradient clipping: maximum norm; 0 disables it."""
    augment: bool = True
    """Random crops, horizontal flips and colour jitter; with cached features, flips only."""
    randaugment: int = beside(0, encoder="trained", augment=True)
    """RandAugment operations per photo, in addition (Cubuk et al. 2020, arXiv:1909.13719)."""
    randaugment_magnitude: int = beside(9, randaugment=SET)
    """Magnitude of these operations, from 0 to 30."""
    patience: int = 0
    """Early stopping: end the stage after this many epochs without a better validation CIDEr-D; 0
    disables it."""

    def count_epoch_steps(self, batches: int) -> int:
        """Count the optimizer steps of an epoch of this many batches."""
        return -(-batches // self.accumulate)

    def count_steps(self, batches: int) -> int:
        """Count the optimizer steps of the stage, of epochs of this many batches."""
        steps = self.epochs * self.count_epoch_steps(batches)
        return min(steps, self.max_steps or steps)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(
                f"stages.objective is {self.objective!r}; choose from {', '.join(OBJECTIVES)}."
            )
        _at_least(1, self, "stages", "epochs", "batch_size", "accumulate")
        _at_least(2, self, "stages", "samples")  # the others are the baseline
        _at_least(0, self, "stages", "weight_decay", "coverage", "grounding", "clip", "patience")
        _at_least(0, self, "stages", "max_steps", "validate_steps")
        _at_least(0, self, "stages", "bleu", "hallucination_penalty", "distinctiveness")
        _at_least(0, self, "stages", "randaugment", "randaugment_magnitude")
        for name in ("learning_rate", "encoder_learning_rate", "temperature", "layer_decay"):
            _above_0(self, "stages", name)
        _above_0(self, "stages", "teacher_temperature")
        for name in ("frozen_layers", "warmup", "final_rate", "layer_decay", "scheduled_sampling"):
            _in_0_to_1(self, "stages", name)
        _in_0_to_1(self, "stages", "teacher_weight")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"stages.{name} is {getattr(self, name)}; it must be in [0, 1).")
        if self.randaugment_magnitude > 30:
            raise ConfigError(
                f"stages.randaugment_magnitude is {self.randaugment_magnitude}; it must be 30 or "
                "less."
            )
        check_used(self, where="stages", of=f" of stage {self.name!r}")
        if self.randaugment and self.grounding:
            raise ConfigError(
                f"stages.randaugment of stage {self.name!r} moves objects in a photo, and the "
                "boxes of stages.grounding would not follow; set one of them to 0."
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A complete training run."""

    name: str
    """Name of the checkpoint, and of the run's folder."""
    data: DataConfig
    """Captions and photos."""
    stages: tuple[StageConfig, ...]
    """Stages, in order; `begins_with` says which weights each starts from."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder and decoder."""
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    """Preprocessing of photos."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Decoding settings of validation captions, and defaults of the checkpoint. Training captions
    follow the prompt, which carries no loss."""
    encoder_weights: str = "hub"
    """`hub` downloads timm's pretrained weights, `none` initialises at random; otherwise a
    safetensors file of the backbone, or a checkpoint of captioner whose encoder is used."""
    start_from: str = ""
    """Checkpoint to fine-tune: a name or path. Its weights and vocabulary are kept, and so are
    settings of model, preprocess and search that are not given here. Settings of model (except
    dropout) and preprocess that are given must equal the checkpoint's. Refused beside it:
    `encoder_weights`, and `words`, `min_count` and `vocabulary` of data."""
    seed: int = 0
    """Seed of the initial weights, the order of photos, dropout and sampling."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of forward and backward pass; weights stay float32. `auto` is bfloat16 on a GPU,
    else float32; float16 uses loss scaling, for GPUs without bfloat16."""
    compile: str = ""
    """Backend of torch.compile for encoder and decoder, such as `inductor`; empty disables it."""
    threads: int = 0
    """CPU threads; 0 uses PyTorch's default."""
    save_minutes: float = 10.0
    """Minutes between two saves; a killed run loses at most this much."""
    wandb: str = ""
    """Weights & Biases project that also receives the curves; empty sends nothing anywhere."""
    shard: bool = False
    """With several GPUs, shard weights, gradients and optimizer state across them (FSDP) while the
    encoder is trained, for encoders that are too large otherwise. Validation still needs one full
    copy of the weights."""
    overlays: int = 4
    """Validation photos shown in TensorBoard with caption and attention maps."""
    keep: int = 2
    """Number of resume files to keep, in case the newest is damaged."""

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name == "..":
            raise ConfigError(
                f"name is {self.name!r}; it names a folder, so it must not contain slashes."
            )
        if not self.stages:
            raise ConfigError("stages is empty; a run needs at least one.")
        for name in ("seed", "threads", "save_minutes", "overlays"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if self.keep < 1:
            raise ConfigError(f"keep is {self.keep}; it must be 1 or more.")
        for stage in self.stages:
            if stage.grounding and not any(source.boxes for source in self.data.train):
                raise ConfigError(
                    f"stages.grounding of {stage.name!r} is {stage.grounding}, but no data.train "
                    "has boxes; set boxes in one, or set grounding to 0."
                )
        longest = self.model.decoder.longest
        for where, words in (("data", self.data.max_words), ("search", self.search.max_words)):
            if longest is not None and words > longest:
                raise ConfigError(
                    f"{where}.max_words is {words}, but the decoder has positions for {longest}; "
                    f"lower it, or raise model.decoder.max_positions to {words + 1}."
                )


def load_settings(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Load the settings of a run from a TOML file.

    Args:
        path: the TOML file.
        overrides: `key=value` each, such as `stages.0.epochs=2`; the value is parsed as TOML, or
            else taken as text. `key=` removes a setting.

    Raises:
        ConfigError: the file is missing or not TOML, or a setting is unknown or out of range.
        CheckpointError: the checkpoint to start from is missing or damaged.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such settings file; see training/configs/.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        _override(table, override)
    start = table.get("start_from")
    if isinstance(start, str) and start:
        header = read_header(find_checkpoint(start))
        for name in ("model", "preprocess"):
            table[name] = _merge(to_table(getattr(header, name)), table.get(name, {}))
        given = table.get("search", {})
        search = _merge(to_table(header.search), given)
        table["search"] = from_table(SearchConfig, search, where=f"{path.name}.search", given=given)
    return from_table(RunConfig, table, where=path.name)


def _merge(theirs: Any, given: Any) -> Any:
    """Merge settings: those given here override the checkpoint's."""
    if not isinstance(theirs, dict) or not isinstance(given, dict):
        return given
    if given.get("kind", theirs.get("kind")) != theirs.get("kind"):
        return given  # another kind of decoder
    return theirs | {name: _merge(theirs.get(name), value) for name, value in given.items()}


def recipe(config: RunConfig) -> dict[str, Any]:
    """Return the settings that affect the trained weights, as plain values."""
    table = to_table(config)
    for name in ("threads", "save_minutes", "overlays", "keep", "shard", "wandb", "compile"):
        del table[name]
    for stage in table["stages"]:
        stage.pop("checkpointing", None)
    for name in ("cache", "workers"):
        del table["data"][name]
    return table


def _at_least(least: int, settings: object, where: str, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value < least:
            raise ConfigError(f"{where}.{name} is {value}; it must be {least} or more.")


def _above_0(settings: object, where: str, name: str) -> None:
    if getattr(settings, name) <= 0:
        raise ConfigError(f"{where}.{name} is {getattr(settings, name)}; it must be above 0.")


def _in_0_to_1(settings: object, where: str, name: str) -> None:
    if not 0 <= getattr(settings, name) <= 1:
        raise ConfigError(f"{where}.{name} is {getattr(settings, name)}; it must be in [0, 1].")


def _override(table: dict[str, Any], override: str) -> None:
    """Set one value of a nested table; numbers in the key are list indices."""
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r} needs the form key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"] if text.strip() else None
    except tomllib.TOMLDecodeError:
        value = text
    *path, last = key.strip().split(".")
    place: Any = table
    for name in path:
        place = place[_key(place, name, override)]
    found = _key(place, last, override)
    if value is None:
        del place[found]
    else:
        place[found] = value


def _key(place: Any, name: str, override: str) -> str | int:
    """Return a part of the key as list index or table key; create a missing table."""
    if isinstance(place, list):
        if not name.isdigit() or int(name) >= len(place):
            raise ConfigError(f"--set {override!r}: {name!r} must be a number below {len(place)}.")
        return int(name)
    if not isinstance(place, dict):
        raise ConfigError(f"--set {override!r}: there is no table to put {name!r} in.")
    place.setdefault(name, {})
    return name

"""Frozen settings of a training run, read from a TOML file and `--set` overrides."""

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
    "words": "training.objectives:WordObjective",
    "cider": "training.objectives:SelfCriticalObjective",
}
"""What a stage can learn from -> the class, which brings in torch; docs/extending.md adds one."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One set of captions and where its photos lie."""

    annotations: str
    """Captions file in any format that `data.coco` reads."""
    images: tuple[str, ...]
    """Folders or tar shards that hold the photos."""
    split: str | None = None
    """Take the photos of this split; none takes all of them."""
    boxes: str = ""
    """File with boxes of what the captions name, in the form of Flickr30k Entities."""
    limit: int | None = None
    """Take only so many photos, from the start."""

    def __post_init__(self) -> None:
        if not self.images:
            raise ConfigError(f"images of {self.annotations} is empty; name a folder or archive.")
        if self.limit is not None:
            _at_least(1, self, "data source", "limit")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is learned from and what is measured on."""

    train: tuple[SourceConfig, ...]
    """Training captions; the vocabulary comes from these alone."""
    val: SourceConfig
    """Captions that choose the best checkpoint."""
    overlap: Literal["refused", "allowed"] = "refused"
    """Whether photos of `val` may be learned from as well, as where a model is to be overfitted."""
    words: Literal["words", "bpe"] = "words"
    """Word-level tokens, or subwords by byte-pair encoding."""
    min_count: int = beside(5, words="words")
    """Word level: rarer words become unknown."""
    vocabulary: int = beside(8000, words="bpe")
    """Subwords: size of the vocabulary."""
    max_words: int = 30
    """Longer captions are cut, in tokens."""
    cache: str = "cache"
    """Folder for the features of frozen encoders; runs share what they can, and nothing else."""
    workers: int = 2
    """Processes that read photos."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError("data.train is empty; a run needs one source of captions at least.")
        _at_least(1, self, "data", "min_count", "vocabulary", "max_words")
        _at_least(0, self, "data", "workers")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stretch of training with its own schedule."""

    name: str
    """Shown in the log."""
    epochs: int
    """Passes over the training photos."""
    max_steps: int = 0
    """End the stage after so many steps, should they be fewer; 0 does all epochs."""
    validate_steps: int = 0
    """Validate every so many steps, too, which then count for `patience` as epochs do; 0 validates
    after epochs alone."""
    begins_with: Literal["best", "last"] = "best"
    """Weights that a stage but the first begins with: those of the best epoch of the one before, or
    of its last."""
    objective: str = "words"
    """Learn the `words` people wrote; or `cider`, self-critically, from the CIDEr-D of drawn
    captions, which wants a decoder that has learned the first, and uses no dropout."""
    samples: int = beside(5, objective="cider")
    """Captions drawn for each photo by the objective `cider`."""
    draws: Literal["samples", "beam"] = beside("samples", objective="cider")
    """Drawn word by word; or the best that beam search finds (Cornia et al. 2020, section 3.3,
    arXiv:1912.08226)."""
    temperature: float = beside(1.0, draws="samples", objective="cider")
    """Of those draws. Label smoothing leaves a little probability to every word; below 1, it is
    not drawn from."""
    bleu: float = beside(0.0, objective="cider")
    """Weight of their BLEU-4, from 0 to 1, beside their CIDEr-D, from 0 to 10."""
    hallucination_penalty: float = beside(0.0, objective="cider")
    """Subtracted from the reward for each thing a caption names that no reference names: COCO's
    objects and, where a source has boxes, all nouns (CHAIR: Rohrbach et al. 2018,
    arXiv:1809.02156)."""
    distinctiveness: float = beside(0.0, objective="cider")
    """Weight of the CIDEr-D against references of other photos in the batch, which is subtracted
    from the reward (CIDErBtw: Wang et al. 2020, arXiv:2007.06877)."""
    encoder: Literal["frozen", "trained"] = "frozen"
    """Frozen features are computed once and cached; a trained encoder reads pixels every time."""
    frozen_layers: float = beside(0.0, encoder="trained")
    """Fraction of a trained encoder's layers, from the input on, that stay as they are."""
    checkpointing: bool = beside(False, encoder="trained")
    """Compute a trained encoder's activations anew on the way back: less memory, more time."""
    batch_size: int = 32
    """Photos a batch; each brings all its captions."""
    accumulate: int = 1
    """Batches a step: learns as from one batch of all their photos, in the memory of one."""
    ema: float = 0.0
    """Decay of a moving average of the weights, such as 0.999, which is then what is validated and
    saved, and what the next stage starts from; 0 keeps none."""
    learning_rate: float = 5e-4
    """Peak rate of the decoder."""
    encoder_learning_rate: float = beside(2e-5, encoder="trained")
    """Peak rate of the encoder."""
    layer_decay: float = beside(1.0, encoder="trained")
    """Each layer of the encoder learns at this fraction of the rate of the one after it."""
    weight_decay: float = 0.01
    """AdamW's decay of matrices; vectors are left alone."""
    warmup: float = 0.05
    """Fraction of the steps in which the rate rises to its peak; then it falls as a cosine."""
    final_rate: float = 0.0
    """What the rate falls to, as a fraction of its peak."""
    label_smoothing: float = beside(0.1, objective="words")
    """Probability spread over all words (Szegedy et al. 2016, section 7, arXiv:1512.00567)."""
    scheduled_sampling: float = beside(0.0, objective="words")
    """Probability, reached at the end of the stage, that a word read is the model's own (Bengio et
    al. 2015, arXiv:1506.03099)."""
    teachers: tuple[str, ...] = beside((), objective="words")
    """Checkpoints with the same words, the mean of whose probabilities is learned from as well."""
    teacher_weight: float = beside(0.5, teachers=SET)
    """Share of the teacher in the loss; the rest is that of the words people wrote."""
    teacher_temperature: float = beside(1.0, teachers=SET)
    """Divides both models' scores before they are compared (Hinton et al. 2015,
    arXiv:1503.02531)."""
    coverage: float = beside(0.0, objective="words")
    """Weight of the doubly stochastic penalty, lambda of Xu et al. 2015, equation 14."""
    grounding: float = beside(0.0, objective="words")
    """Weight of the loss of attention outside boxes; some of data.train must have boxes."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 leaves it."""
    augment: bool = True
    """Crop, flip and recolour photos; with cached features, flips only."""
    randaugment: int = beside(0, encoder="trained", augment=True)
    """Changes made to a photo beside these, drawn by RandAugment (Cubuk et al. 2020,
    arXiv:1909.13719)."""
    randaugment_magnitude: int = beside(9, randaugment=SET)
    """How strong they are, from 0 to 30."""
    patience: int = 0
    """Stop the stage after so many epochs without a better validation CIDEr-D; 0 never stops."""

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ConfigError(
                f"stages.objective is {self.objective!r}; choose from {', '.join(OBJECTIVES)}."
            )
        _at_least(1, self, "stages", "epochs", "batch_size", "accumulate")
        _at_least(2, self, "stages", "samples")  # each is weighed against the others
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
                f"stages.randaugment of stage {self.name!r} moves what is in a photo, and the "
                "boxes of stages.grounding would not follow; set one of them to 0."
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One whole training run."""

    name: str
    """Name of the checkpoint and of the run's folder."""
    data: DataConfig
    """Captions and photos."""
    stages: tuple[StageConfig, ...]
    """Done in order; each says with which weights of the one before it begins."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder and decoder."""
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    """How photos become the encoder's input."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Decoding settings of validation captions, which the checkpoint recommends. Captions are
    learned behind the prompt, which itself is not."""
    encoder_weights: str = "hub"
    """`hub` asks timm for pretrained weights, `none` starts at random, else a safetensors file
    of the backbone, or a checkpoint of ours whose encoder is taken."""
    start_from: str = ""
    """A checkpoint to go on from, as `find_checkpoint` takes it. Its words are taken over, and of
    model, preprocess and search whatever is not given here; `encoder_weights` says nothing then.
    What is given of the model, but for its dropout, and of preprocess must be the same."""
    seed: int = 0
    """Of the first weights, the order of photos, dropout and draws."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the arithmetic; weights stay float32. `auto` takes bfloat16 on a GPU, else float32;
    float16 scales the loss, for GPUs without bfloat16."""
    compile: str = ""
    """Backend of torch.compile for encoder and decoder, such as `inductor`; none leaves them."""
    threads: int = 0
    """CPU threads; 0 leaves it to torch."""
    save_minutes: float = 10.0
    """A run that is killed loses at most this much."""
    wandb: str = ""
    """Project of Weights & Biases that gets the curves, too; empty sends nothing anywhere."""
    shard: bool = False
    """On several GPUs, share weights, gradients and optimizer out among them while the encoder
    learns, for encoders that are too large else; one more copy of the weights is validated with."""
    overlays: int = 4
    """Validation photos that TensorBoard shows with caption and attention after each validation."""
    keep: int = 2
    """Files to go on from that are kept, the newest ones; should one be damaged, the one before
    it is there."""

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name == "..":
            raise ConfigError(f"name is {self.name!r}; it names a folder, so choose plain letters.")
        if not self.stages:
            raise ConfigError("stages is empty; a run needs one at least.")
        for name in ("seed", "threads", "save_minutes", "overlays"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if self.keep < 1:
            raise ConfigError(f"keep is {self.keep}; it must be 1 or more.")
        for stage in self.stages:
            if stage.grounding and not any(source.boxes for source in self.data.train):
                raise ConfigError(
                    f"stages.grounding of {stage.name!r} is {stage.grounding}, but no data.train "
                    "has boxes; name a file there, or set it to 0."
                )
        longest = self.model.decoder.longest
        for where, words in (("data", self.data.max_words), ("search", self.search.max_words)):
            if longest is not None and words > longest:
                raise ConfigError(
                    f"{where}.max_words is {words}, but the decoder has positions for {longest}; "
                    f"lower it, or raise model.decoder.max_positions to {words + 1}."
                )


def load_settings(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's settings from a TOML file.

    Args:
        path: the TOML file.
        overrides: `key=value` each, such as `stages.0.epochs=2`; the value is read as TOML, or as
            text where it is none. `key=` takes a setting out.

    Raises:
        ConfigError: the file is missing or no TOML, or a setting is unknown or out of range.
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
            table[name] = _laid_over(to_table(getattr(header, name)), table.get(name, {}))
        given = table.get("search", {})
        search = _laid_over(to_table(header.search), given)
        table["search"] = from_table(SearchConfig, search, where=f"{path.name}.search", given=given)
    return from_table(RunConfig, table, where=path.name)


def _laid_over(theirs: Any, given: Any) -> Any:
    """Return a table of settings with those that are given in place of the others."""
    if not isinstance(theirs, dict) or not isinstance(given, dict):
        return given
    if given.get("kind", theirs.get("kind")) != theirs.get("kind"):
        return given  # of another decoder
    return theirs | {name: _laid_over(theirs.get(name), value) for name, value in given.items()}


def recipe(config: RunConfig) -> dict[str, Any]:
    """All settings that change what is learned, as plain values; not where, or how fast."""
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
    """Set one value of a nested table; numbers in the key are places in a list."""
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
    """Turn a part of the key into what this list or table is asked by; make it if need be."""
    if isinstance(place, list):
        if not name.isdigit() or int(name) >= len(place):
            raise ConfigError(f"--set {override!r}: {name!r} must be a number below {len(place)}.")
        return int(name)
    if not isinstance(place, dict):
        raise ConfigError(f"--set {override!r}: there is no table to put {name!r} in.")
    place.setdefault(name, {})
    return name

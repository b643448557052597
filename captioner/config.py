"""Frozen settings of model, preprocessing and decoding, and their conversion from tables.

A table (TOML file, checkpoint header) becomes settings through `from_table`, which refuses unknown
names and wrong types; each settings class refuses values out of range. Nothing here needs torch.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from captioner.decoders import DECODERS, DecoderConfig, TransformerConfig
from captioner.decoders.settings import check_heads, check_sizes
from captioner.errors import ConfigError, require
from captioner.schema import SET, beside, check_used, why_idle

Settings = TypeVar("Settings")

_IN_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
    dict: "a table",
}


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """How a photo becomes the encoder's input. Only `crop` discards a part of it."""

    height: int = 224
    """Input height in pixels."""
    width: int = 224
    """Input width in pixels."""
    fit: Literal["squash", "letterbox", "crop"] = "squash"
    """`squash` ignores the aspect ratio; `letterbox` keeps it and pads with the mean colour; `crop`
    keeps it and shows the middle, as CLIP does."""
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    """Filter used when resizing; always antialiased."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted per colour channel, in fractions of full brightness."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divided by per colour channel, in fractions of full brightness."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "height", "width", where="preprocess")
        require(min(self.std) > 0, f"preprocess.std is {self.std}; every value must be above 0.")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Layers behind a backbone in which its regions meet a task in words, as in Florence-2."""

    width: int
    """Width of the output features."""
    layers: int
    """Transformer blocks."""
    heads: int
    """Attention heads; they divide `width`."""
    feedforward_width: int
    """Hidden width of the feed-forward layers."""
    max_positions: int
    """Maximum number of regions, mean and task tokens together."""
    tokens: int
    """Tokens of the task, special ones included."""
    sides: int = 50
    """Maximum number of rows, and of columns, of regions."""
    dropout: float = 0.1
    """Dropout after each sublayer of a block."""

    def __post_init__(self) -> None:
        check_sizes(self, where="task")
        check_heads(self, where="task")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which timm backbone reads the photo."""

    backbone: str = "vit_tiny_patch16_224"
    """Name of a timm model that has `forward_intermediates`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `timm.create_model`, such as `{pad_type = "same"}`."""
    levels: int = 1
    """Number of feature maps used, counted from the last: stages of a CNN (more give finer regions)
    or blocks of a ViT."""
    class_token: bool = False
    """Keep the class token of a ViT, as a row of features before those of the regions."""
    eps: float | None = None
    """Epsilon of the layer norms; None keeps timm's."""
    task: TaskConfig | None = None
    """Layers that mix regions with a task (Florence-2); None: no such layers."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "levels", where="encoder")
        plain = self.levels == 1 and not self.class_token and self.eps is None
        require(
            self.task is None or plain,
            "encoder.task cannot be combined with levels, class_token or eps; leave them out.",
        )
        require(
            not self.class_token or self.levels == 1,
            f"encoder.levels is {self.levels}, but encoder.class_token needs a single level; "
            "choose 1, or leave out class_token.",
        )
        require(
            self.eps is None or 0 < self.eps < 1,
            f"encoder.eps is {self.eps}; it must be between 0 and 1.",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Encoder and decoder of one captioner."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=TransformerConfig)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Decoding settings."""

    method: Literal["beam", "greedy", "sample"] = "beam"
    """Beam search; `greedy`: the likeliest token at each step; `sample`: a random one."""
    beam: int = beside(3, method="beam")
    """Beam width: hypotheses per photo."""
    max_words: int = 24
    """Maximum length of a caption in tokens, without the end token."""
    length_penalty: float = beside(0.0, method="beam")
    """Candidates are ranked by log-probability / length^penalty; above 0 favours longer
    captions."""
    temperature: float = beside(1.0, method="sample")
    """Divides the logits before sampling; lower is less random."""
    top_k: int = beside(0, method="sample")
    """Sample from this many likeliest tokens; 0: from all."""
    top_p: float = beside(1.0, method="sample")
    """Nucleus sampling: sample from the likeliest tokens up to this total probability."""
    seed: int = beside(0, method="sample")
    """Seed of sampling; the same seed and photo give the same caption."""
    no_repeat: int = 0
    """n-gram blocking: no n-gram of this many tokens appears twice; 0 disables it. 1 would forbid
    a second "a"."""
    forbid: tuple[str, ...] = ()
    """Words or phrases that captions must not contain."""
    require: tuple[str, ...] = ()
    """Words or phrases that captions must contain, in any order; beam search only."""
    no_end: tuple[str, ...] = ()
    """Words that must not end a caption, such as "a" and "with"."""
    prompt: str = ""
    """Words that the model continues, such as "a picture of"; not part of the caption."""
    groups: int = beside(1, method="beam")
    """Groups of diverse beam search, each penalised for words chosen by earlier ones; they divide
    the beam. 1 is plain beam search."""
    diversity: float = beside(0.5, method="beam", groups=SET)
    """Penalty on a token's log-probability for every hypothesis of an earlier group that has it at
    the same position."""
    agreement: float = beside(0.0, method="beam")
    """Reranking for fewer invented objects: penalty for each rarer token, times the probability of
    the candidates without it; such as 0.3 with a beam of 10."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "beam", "max_words", "groups", where="search")
        require(
            0 < self.temperature < math.inf,
            f"search.temperature is {self.temperature}; it must be above 0 "
            "and finite. For the likeliest caption use greedy or beam search.",
        )
        require(
            math.isfinite(self.length_penalty),
            f"search.length_penalty is {self.length_penalty}; it must be finite.",
        )
        require(
            -(2**63) <= self.seed < 2**63, f"search.seed is {self.seed}; it must fit into 64 bits."
        )
        require(0 < self.top_p <= 1, f"search.top_p is {self.top_p}; it must be in (0, 1].")
        _at_least(self, 0, "top_k", "no_repeat", where="search")
        require(
            not self.require or self.method == "beam",
            f"search.require is {list(self.require)}, which needs beam search; search.method is "
            f"{self.method!r}.",
        )
        require(
            self.beam % self.groups == 0,
            f"search.beam is {self.beam} and search.groups is {self.groups}; groups must divide "
            "beam.",
        )
        for name in ("diversity", "agreement"):
            value = getattr(self, name)
            require(
                0 <= value < math.inf,
                f"search.{name} is {value}; it must be 0 or more, and finite.",
            )
        require(
            not self.require or self.groups == 1,
            f"search.require is {list(self.require)}, which divides the beam itself; leave out "
            f"search.groups = {self.groups}.",
        )
        check_used(self, where="search")


AttentionMethod = Literal["layer", "mean", "rollout", "contrast", "evidence", "gradient"]
"""What attention can be shown by."""
WITHOUT_HEADS: tuple[AttentionMethod, ...] = ("rollout", "evidence", "gradient")
"""Methods that take neither a layer nor a head."""
OF_CAPTIONS = tuple(name for name in get_args(AttentionMethod) if name != "gradient")
"""Methods that every caption knows, so that a checkpoint may recommend them."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Which of a model's attention is shown. A recurrent decoder has one layer and one head."""

    method: AttentionMethod = "layer"
    """`layer`: attention of one layer; `mean`: over all layers; `rollout`: through all layers of a
    Transformer; `contrast`: one layer minus what all words share; `evidence`: regions on which the
    last layer's heads agree and which raise the word's score; `gradient`: regions on which its
    score depends (PyTorch only, and in Python after `Captioner.with_gradients`)."""
    layer: int | None = None
    """Layer, counted from 1; the last one by default."""
    head: int | None = None
    """Head, counted from 1; the mean over heads by default."""

    def __post_init__(self) -> None:
        for name in ("layer", "head"):
            value = getattr(self, name)
            require(
                value is None or value >= 1,
                f"attention.{name} is {value}; {name}s are counted from 1.",
            )
        require(
            self.layer is None or self.method in ("layer", "contrast"),
            f"attention.method is {self.method!r}, which uses "
            f"{'the last layer' if self.method == 'evidence' else 'all layers'}; "
            f"leave out attention.layer = {self.layer}.",
        )
        require(
            self.head is None or self.method not in WITHOUT_HEADS,
            f"attention.method is {self.method!r}, which uses all heads; "
            f"leave out attention.head = {self.head}.",
        )


def _at_least(settings: Any, least: int, *names: str, where: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(value >= least, f"{where}.{name} is {value}; it must be {least} or more.")


def from_table(
    settings: type[Settings],
    table: dict[str, Any],
    *,
    where: str,
    given: Collection[str] | None = None,
) -> Settings:
    """Build frozen settings from a table, refusing what they do not know and what does nothing.

    Args:
        settings: a dataclass; its fields may be dataclasses, one of them a `DecoderConfig`, whose
            `kind` says which of `DECODERS` it is.
        table: plain values by name.
        where: what to call the table in an error, such as `lstm.toml: [model]`.
        given: names of the values that somebody asked for; of the others, those that do nothing
            are left out. None: all were asked for.

    Raises:
        ConfigError: an unknown name (with the nearest known one), a missing or mistyped value, one
            that does nothing beside the others.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table of settings, not {table!r}.")
    known = {f.name: f for f in fields(settings)}  # type: ignore[arg-type]
    types = get_type_hints(settings)
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
            raise ConfigError(f"{where}: unknown setting {name!r}; {hint}")
    for name, f in known.items():
        required = f.default is MISSING and f.default_factory is MISSING
        if required and name not in table:
            raise ConfigError(f"{where}: {name!r} is missing.")
    values = {
        name: _convert(types[name], value, where=f"{where}.{name}") for name, value in table.items()
    }
    asked = table.keys() if given is None else given
    idle = [name for name in values if name not in asked and why_idle(settings, values, name)]
    built = settings(**{name: value for name, value in values.items() if name not in idle})
    check_used(built, asked, where=where)
    return built


def to_table(settings: Any) -> dict[str, Any]:
    """Turn settings back into plain values, as in JSON, those left out that do nothing.

    `from_table` reads them again.
    """
    table: dict[str, Any] = _plain(settings)
    return table


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        values = {f.name: getattr(value, f.name) for f in fields(value)}
        return {n: _plain(x) for n, x in values.items() if not why_idle(type(value), values, n)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _convert(kind: Any, value: Any, *, where: str) -> Any:
    """Check one value against its annotated type; lists become tuples and tables settings."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is DecoderConfig:
        kind = _decoder_of(value, where=where)
    if is_dataclass(kind) and isinstance(value, kind):  # type: ignore[arg-type]
        return value
    if is_dataclass(kind):
        return from_table(kind, value, where=where)  # type: ignore[arg-type]
    if origin in (Union, UnionType):
        [other] = (choice for choice in args if choice is not NoneType)
        return None if value is None else _convert(other, value, where=where)
    if origin is tuple and isinstance(value, list | tuple):
        return _convert_items(args, value, where=where)
    if origin is Literal:
        names = ", ".join(map(str, args))
        require(value in args, f"{where} is {value!r}; choose from {names}.")
    elif kind is not Any:
        plain = origin or kind
        if plain is float and type(value) is int:
            try:
                value = float(value)
            except OverflowError:
                value = math.inf  # refused below
        right = isinstance(value, plain) and isinstance(value, bool) == (plain is bool)
        require(right, f"{where} is {value!r}; it must be {_IN_WORDS[plain]}.")
        # TOML can write both; no setting can use them.
        lost = isinstance(value, float) and not math.isfinite(value)
        require(not lost, f"{where} is {value!r}; it must be finite.")
    return value


def _convert_items(kinds: tuple[Any, ...], values: Sequence[Any], *, where: str) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(values)
    require(
        len(kinds) == len(values),
        f"{where} is {list(values)}; it needs {len(kinds)} values, not {len(values)}.",
    )
    pairs = zip(kinds, values, strict=True)
    return tuple(_convert(k, v, where=f"{where}.{i}") for i, (k, v) in enumerate(pairs))


def _decoder_of(value: Any, *, where: str) -> type[DecoderConfig]:
    require(isinstance(value, dict), f"{where} must be a table of settings, not {value!r}.")
    require("kind" in value, f"{where}: 'kind' is missing; choose from {', '.join(DECODERS)}.")
    return DECODERS[_convert(Literal[tuple(DECODERS)], value["kind"], where=f"{where}.kind")]

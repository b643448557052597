"""Header of a checkpoint: settings, vocabulary, scores. Read without torch.

A checkpoint is one `.safetensors` file. Beside the tensors it holds a JSON text, the header:

    {"format": 2, "name": ..., "model": {...}, "preprocess": {...}, "search": {...},
     "attention": {...}, "tokenizer": {...}, "marks": {...}, "trained_on": {...}, "scores": {...},
     "parameters": ..., "confidence": {...}}

`marks` is present only if the vocabulary is pretrained, `confidence` only if the checkpoint is
calibrated, and `attention` only if its default view differs from `AttentionConfig()`.

`format` increases when older programs could not read the file. Headers of older formats are
migrated step by step by the functions in `MIGRATIONS`.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PureWindowsPath
from posixpath import normpath
from typing import Any

from safetensors import SafetensorError, safe_open

from captioner.checkpoint.confidence import ConfidenceConfig
from captioner.config import (
    WITHOUT_HEADS,
    AttentionConfig,
    ModelConfig,
    PreprocessConfig,
    SearchConfig,
    Settings,
    from_table,
    to_table,
)
from captioner.errors import CaptionerError, CheckpointError, ConfigError, wrap_library_errors
from captioner.pretrained.families import find_origin, read_pretrained
from captioner.pretrained.files import is_pretrained
from captioner.words.constraints import Constraints, constraints_of
from captioner.words.tokenizer import TASKS, Marks, Tokenizer

FORMAT = 2
"""Format that is written, and the newest that is read."""
METADATA_KEY = "captioner"
"""Key of the header among the file's metadata."""
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: dict}
"""Functions that convert a header to the next format, by format. Format 2 has more settings of
encoders and decoders, whose defaults are what format 1 implied."""

_OUTSIDE = re.compile(r"/|file:/|(\.\.|~[\w.-]*)(/|$)|[A-Za-z]:(\S|$)")
"""Start of a path that leaves the working directory, after normalisation."""
_PLAIN: dict[str, type] = {"name": str, "trained_on": dict, "scores": dict, "parameters": int}


@dataclass(frozen=True, kw_only=True)
class Header:
    """Everything in a checkpoint except its weights."""

    name: str
    """Name of the checkpoint, such as `vit-tiny-transformer`."""
    model: ModelConfig
    """Encoder and decoder."""
    preprocess: PreprocessConfig
    """Preprocessing of photos."""
    tokenizer: Tokenizer
    """Vocabulary, in the order of the decoder's word table."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Recommended decoding settings."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """Recommended view of attention."""
    trained_on: dict[str, Any] = field(default_factory=dict)
    """Data set, split and recipe; for information only."""
    scores: dict[str, Any] = field(default_factory=dict)
    """Scores by data set and metric, as fractions; for information only."""
    parameters: int = 0
    """Number of parameters, encoder included; counted by `save_checkpoint`."""
    confidence: ConfidenceConfig | None = None
    """Confidence settings; None if it is not calibrated, or an ensemble."""
    members: tuple["Header", ...] = ()
    """Headers of an ensemble's members; never saved."""

    @property
    def longest(self) -> int | None:
        """Longest caption in tokens that every decoder can generate; None for no limit."""
        limits = [own.model.decoder.longest for own in self.members or (self,)]
        return min((limit for limit in limits if limit is not None), default=None)

    def search_with(self, search: SearchConfig | None = None, **changes: Any) -> SearchConfig:
        """Override single settings of a search, by default of the recommended one.

        Raises:
            ConfigError: a setting is unknown, out of range or has no effect; captions of that
                length exceed the decoder's limit; or a required word is not in the vocabulary.
        """
        return self.plan(search, **changes)[0]

    def view_with(self, **changes: Any) -> AttentionConfig:
        """Override single settings of the recommended view.

        Another method starts from the defaults, and so do layer and head if the recommended method
        has neither.

        Raises:
            ConfigError: a setting is out of range, or conflicts with another.
        """
        fixed = self.attention.method in WITHOUT_HEADS
        anew = "method" in changes or (fixed and changes)
        return replace(AttentionConfig() if anew else self.attention, **changes)

    def plan(
        self, search: SearchConfig | None = None, **changes: Any
    ) -> tuple[SearchConfig, Constraints]:
        """Return what `search_with` returns, and its constraints as token ids."""
        table = to_table(search or self.search) | changes
        chosen = from_table(SearchConfig, table, where="search", given=changes)
        constraints = self._constraints_of(chosen)
        prompt = len(constraints.prefix) - 1
        if self.longest is not None and chosen.max_words + prompt > self.longest:
            besides = f", {prompt} of the prompt included" if prompt else ""
            raise ConfigError(
                f"search.max_words is {chosen.max_words}; {self.name} writes "
                f"{self.longest} at most{besides}."
            )
        return chosen, constraints

    def _constraints_of(self, search: SearchConfig) -> Constraints:
        """Convert the words of a search to token ids; a task goes to an encoder that has tasks."""
        encoder, asked = self.model.encoder, TASKS.get(search.prompt)
        if asked is None or encoder.task is None or self.members:
            return constraints_of(search, self.tokenizer)
        marks = self.tokenizer.marks
        task = (*marks.then, *self.tokenizer.encode(asked), marks.end)
        return replace(constraints_of(replace(search, prompt=""), self.tokenizer), task=task)


def join_headers(headers: Sequence[Header]) -> Header:
    """Join the headers of an ensemble; preprocessing and decoding settings are the first one's.

    A single header is returned as it is.

    Raises:
        ConfigError: vocabularies or inputs differ, or a member is an ensemble.
    """
    first, *others = headers
    if not others:
        return first
    for header in headers:
        if header.members:
            raise ConfigError(f"{header.name} is an ensemble itself; give its members.")
    for other in others:
        if not other.tokenizer.is_same(first.tokenizer):
            raise ConfigError(
                f"{first.name} and {other.name} have different vocabularies "
                f"({len(first.tokenizer)} and {len(other.tokenizer)} words), so they cannot form "
                "an ensemble; choose checkpoints that were trained with the same vocabulary."
            )
        _require_alike(first, other)
    return replace(
        first,
        name=" + ".join(header.name for header in headers),
        attention=AttentionConfig(),  # of members side by side, each a head of one layer
        trained_on={},
        scores={},
        parameters=sum(header.parameters for header in headers),
        confidence=None,  # each member's was fitted to what it says alone
        members=tuple(headers),
    )


def _require_alike(first: Header, other: Header) -> None:
    """Check that members need the same input; colour normalisation may differ.

    With letterboxing it may not: each model pads with its own mean colour.
    """
    for setting in fields(PreprocessConfig):
        one, another = (getattr(header.preprocess, setting.name) for header in (first, other))
        colours = setting.name in ("mean", "std") and first.preprocess.fit != "letterbox"
        if one != another and not colours:
            raise ConfigError(
                f"{first.name} and {other.name} need different input (preprocess.{setting.name} is "
                f"{one!r} and {another!r}), but an ensemble reads each photo once; choose "
                "checkpoints that take the same input."
            )


def read_header(path: Path | str) -> Header:
    """Read a checkpoint's header, without its weights.

    Args:
        path: a file, or the folder of a pretrained captioner; see `captioner.pretrained`.

    Raises:
        CheckpointError: the file does not exist, is not a checkpoint, is damaged, or has a newer
            format.
    """
    path = Path(path)
    if is_pretrained(path):
        return _read_pretrained(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {problem}; give the path of a .safetensors checkpoint.")
    with (
        wrap_library_errors(
            CheckpointError,
            lambda error: (
                f"{path}: not a whole safetensors file ({error}); "
                "it may be truncated or of another type; download or save it again."
            ),
            of=(SafetensorError, OSError),
        ),
        safe_open(path, framework="numpy") as file,
    ):
        metadata = file.metadata() or {}
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path}: holds weights, but no captioner header; give a checkpoint that training or "
            "`captioner convert` has written."
        )
    return parse_header(metadata[METADATA_KEY], where=str(path))


def _read_pretrained(folder: Path) -> Header:
    """Make the header of a pretrained captioner from its own files."""
    origin, (family, tokenizer) = find_origin(folder), read_pretrained(folder)
    return Header(
        name=origin["pretrained"].rpartition("/")[2],
        model=family.model,
        preprocess=family.photos,
        tokenizer=tokenizer,
        search=family.search,
        attention=family.attention,
        trained_on=dict(origin),
    )


def format_header(header: Header) -> str:
    """Serialise a header as JSON in the current format.

    Paths in `trained_on` and `scores` that leave the working directory are reduced to file names.
    """
    marks, attention = header.tokenizer.marks, header.attention
    table = {
        "format": FORMAT,
        "name": header.name,
        "model": to_table(header.model),
        "preprocess": to_table(header.preprocess),
        "search": to_table(header.search),
        **({} if attention == AttentionConfig() else {"attention": to_table(attention)}),
        "tokenizer": json.loads(header.tokenizer.to_json()),
        **({} if marks == Marks() else {"marks": to_table(marks)}),
        "trained_on": _without_folders(header.trained_on),
        "scores": _without_folders(header.scores),
        "parameters": header.parameters,
    }
    if header.confidence is not None:
        table["confidence"] = to_table(header.confidence)
    return json.dumps(table, ensure_ascii=False)


def _without_folders(table: Any) -> Any:
    """Reduce paths out of the working directory to file names; elsewhere they mean nothing."""
    if isinstance(table, dict):
        return {_without_folders(name): _without_folders(value) for name, value in table.items()}
    if isinstance(table, list | tuple):
        return [_without_folders(value) for value in table]
    if isinstance(table, str) and _OUTSIDE.match(normpath(table.replace("\\", "/"))):
        name = PureWindowsPath(table).name  # after either kind of slash
        return "" if name in ("..", table) else name
    return table


def parse_header(text: str, *, where: str) -> Header:
    """Parse a header, of the current or an older format.

    Args:
        text: JSON text of the header.
        where: name of the file in error messages.

    Raises:
        CheckpointError: the text is not a header, has a newer format, or its settings are invalid.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where}: its header is not JSON ({error}); download or save the checkpoint again."
        ) from error
    table = _migrate(table, where=where)
    try:
        for key, kind in _PLAIN.items():
            if not isinstance(table[key], kind):
                raise ConfigError(f"{key} is {table[key]!r}; it must be of type {kind.__name__}.")
        return Header(
            name=table["name"],
            model=from_table(ModelConfig, table["model"], where="model"),
            preprocess=from_table(PreprocessConfig, table["preprocess"], where="preprocess"),
            search=from_table(SearchConfig, table["search"], where="search", given=()),
            attention=from_table(AttentionConfig, table.get("attention", {}), where="attention"),
            tokenizer=Tokenizer.from_json(
                json.dumps(table["tokenizer"]), _optional(Marks, table, "marks")
            ),
            trained_on=table["trained_on"],
            scores=table["scores"],
            parameters=table["parameters"],
            confidence=_optional(ConfidenceConfig, table, "confidence"),
        )
    except KeyError as error:
        raise CheckpointError(
            f"{where}: its header lacks {error}; download or save the checkpoint again."
        ) from error
    except (CaptionerError, RecursionError) as error:
        raise CheckpointError(f"{where}: its header is damaged: {error}") from error


def _optional(settings: type[Settings], table: dict[str, Any], name: str) -> Settings | None:
    """Read settings that a header may lack."""
    found = table.get(name)
    return None if found is None else from_table(settings, found, where=name)


def _migrate(table: Any, *, where: str) -> dict[str, Any]:
    """Migrate a header to the current format, one version at a time."""
    number = table.get("format") if isinstance(table, dict) else None
    if type(number) is not int or number < 1:
        raise CheckpointError(
            f"{where}: its header gives no format number; download or save the checkpoint again."
        )
    if number > FORMAT:
        raise CheckpointError(
            f"{where}: has format {number}, but this version reads formats up to {FORMAT}; "
            "upgrade it: pip install --upgrade captioner"
        )
    for step in range(number, FORMAT):
        table = MIGRATIONS[step](table)
    return dict(table)

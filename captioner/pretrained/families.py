"""Reads a checkpoint's header from config.json and its companions, without weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captioner.config import AttentionConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.errors import CheckpointError, ConfigError
from captioner.pretrained.blip import read_blip
from captioner.pretrained.configuration import Section
from captioner.pretrained.family import Family
from captioner.pretrained.files import CONFIG, read_json
from captioner.pretrained.florence import read_florence
from captioner.pretrained.git import read_git
from captioner.pretrained.keys import Rule
from captioner.pretrained.photos import read_photos
from captioner.pretrained.vision_encoder_decoder import read_vision_encoder_decoder
from captioner.pretrained.vocabulary import read_vocabulary
from captioner.words.tokenizer import Tokenizer

FAMILIES: dict[str, Callable[[Section], Family]] = {
    "blip": read_blip,
    "florence2": read_florence,
    "git": read_git,
    "vision-encoder-decoder": read_vision_encoder_decoder,
}
"""Functions that read a configuration, by `model_type`."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The header of a pretrained model."""

    name: str
    """OWNER/NAME of its repository, or the folder's name."""
    commit: str | None
    """Commit of the repository; None outside the hub's cache."""
    model: ModelConfig
    preprocess: PreprocessConfig
    tokenizer: Tokenizer
    search: SearchConfig
    attention: AttentionConfig
    rules: tuple[Rule, ...]
    """Rules that rename its weights."""


def read_pretrained(folder: Path) -> Pretrained:
    """Read the settings and vocabulary of a pretrained captioner.

    Raises:
        CheckpointError: the model type is not supported, or a file is missing or damaged.
    """
    repository, commit = _in_cache(folder.absolute())
    try:
        family = _read_family(folder)
        tokenizer = read_vocabulary(folder, family.vocabulary)
        family = family.finish(family, tokenizer) if family.finish else family
        return Pretrained(
            name=repository or folder.absolute().name,
            commit=commit,
            model=family.model,
            preprocess=read_photos(folder, family.photos, any_size=family.any_size),
            tokenizer=tokenizer,
            search=family.search,
            attention=family.attention,
            rules=family.rules,
        )
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def require_family(folder: Path) -> None:
    """Check that a folder's model type is supported.

    Raises:
        CheckpointError: it is not, or config.json is invalid.
    """
    _read_family(folder)


def _read_family(folder: Path) -> Family:
    where = str(folder / CONFIG)
    config = read_json(folder, CONFIG)
    if config is None:
        raise CheckpointError(f"{where}: no such file; fetch it again.")
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(
            f"{where}: model_type {kind!r} is not supported; choose from {', '.join(FAMILIES)}, or "
            "a checkpoint from `captioner push`."
        )
    return FAMILIES[kind](Section(config, where=where))


def _in_cache(folder: Path) -> tuple[str | None, str | None]:
    """Parse repository and commit from .../models--OWNER--NAME/snapshots/COMMIT."""
    whose, _, repository = folder.parent.parent.name.partition("models--")
    if folder.parent.name != "snapshots" or whose or not repository:
        return None, None
    return repository.replace("--", "/", 1), folder.name

"""Reads a checkpoint's header from config.json and its companions, without weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from captioner.errors import CheckpointError, ConfigError
from captioner.pretrained.blip import read_blip
from captioner.pretrained.configuration import Section
from captioner.pretrained.family import Family
from captioner.pretrained.files import CONFIG, read_json
from captioner.pretrained.florence import read_florence
from captioner.pretrained.git import read_git
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


def read_pretrained(folder: Path) -> tuple[Family, Tokenizer]:
    """Read the settings and vocabulary of a pretrained captioner.

    Raises:
        CheckpointError: the model type is not supported, or a file is missing or damaged.
    """
    try:
        family = read_family(folder)
        tokenizer = read_vocabulary(folder, family.vocabulary)
        family = family.finish(family, tokenizer) if family.finish else family
        photos = read_photos(folder, family.photos, any_size=family.any_size)
        return replace(family, photos=photos), tokenizer
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def read_family(folder: Path) -> Family:
    """Read config.json alone.

    Raises:
        CheckpointError: it is invalid, or its model type is not supported.
    """
    where = str(folder / CONFIG)
    config = read_json(folder, CONFIG)
    if config is None:
        raise CheckpointError(f"{where}: no such file; download it again.")
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(
            f"{where}: model_type {kind!r} is not supported; choose from {', '.join(FAMILIES)}, or "
            "a checkpoint from `captioner push`."
        )
    return FAMILIES[kind](Section(config, where=where))


def find_origin(folder: Path) -> dict[str, str]:
    """Return where a pretrained captioner is from: OWNER/NAME and commit, or the folder's name.

    The hub's cache has it at .../models--OWNER--NAME/snapshots/COMMIT.
    """
    folder = folder.absolute()
    whose, _, repository = folder.parent.parent.name.partition("models--")
    if folder.parent.name != "snapshots" or whose or not repository:
        return {"pretrained": folder.name}
    return {"pretrained": repository.replace("--", "/", 1), "commit": folder.name}

"""Reads the files of a pretrained captioner; code in its folder is never read."""

import json
from pathlib import Path
from typing import Any

from captioner.errors import CheckpointError

CONFIG = "config.json"
"""Present in every such folder."""

SETTINGS = (
    CONFIG,
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
"""Configuration and tokenizer files that may be read."""

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Weight files and indices of sharded weights, in order of preference."""

_MOST_BYTES = 2**26


def is_pretrained(folder: Path) -> bool:
    """Whether a folder was saved by transformers, whatever its model."""
    return (folder / CONFIG).is_file()


def read_json(folder: Path, name: str) -> dict[str, Any] | None:
    """Read a JSON object; None if the file does not exist.

    Raises:
        CheckpointError: the file is damaged, too large or not an object.
    """
    text = read_text(folder, name)
    if text is None:
        return None
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{folder / name}: is not JSON ({error}); download or save it again."
        ) from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{folder / name}: is not a JSON object; download or save it again.")
    return table


def read_text(folder: Path, name: str) -> str | None:
    """Read a text file; None if it does not exist.

    Raises:
        CheckpointError: the file cannot be read, is too large or not text.
    """
    path = folder / name
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); download it again.") from error
    if len(text) > _MOST_BYTES:
        raise CheckpointError(f"{path}: is too large for such a file; download it again.")
    return text


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files.

    Raises:
        CheckpointError: there are none, or a shard is missing.
    """
    for name in WEIGHTS:
        if not (folder / name).is_file():
            continue
        if not name.endswith(".json"):
            return [folder / name]
        return [folder / part for part in _parts(folder, name)]
    raise CheckpointError(f"{folder}: has no weights; expected one of {', '.join(WEIGHTS)}.")


def has_weights(folder: Path) -> bool:
    """Whether all weight files exist."""
    try:
        return bool(weight_files(folder))
    except CheckpointError:
        return False


def parts_of(table: dict[str, Any] | None, *, where: str) -> list[str]:
    """Return the distinct files that an index lists.

    Raises:
        CheckpointError: it lists none, or a path outside the folder.
    """
    named = (table or {}).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    plain = all(isinstance(name, str) and Path(name).name == name for name in names)
    if not names or not plain:
        raise CheckpointError(f"{where}: lists no weight files in its folder; download it again.")
    return sorted(set(names))


def _parts(folder: Path, index: str) -> list[str]:
    names = parts_of(read_json(folder, index), where=str(folder / index))
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: missing, but listed in {index}; fetch it.")
    return names

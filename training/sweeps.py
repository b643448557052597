"""Sweeps: a list among the overrides of a run stands for one run per value."""

import itertools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.errors import ConfigError
from training.settings import RunConfig, load_settings


def expand(path: Path, overrides: Sequence[str] = ()) -> list[tuple[str, RunConfig]]:
    """Load the settings of one run, or of all runs of a sweep.

    Args:
        path: the TOML file.
        overrides: `key=value` each. A list where the setting takes a single value, such as
            `seed=[1, 2, 3]`, stands for one run per value; several lists, for all combinations.

    Returns:
        For each run, a label such as `seed-1`, empty for a single run, and its settings.

    Raises:
        ConfigError: as `load_settings` does.
    """
    choices = [_choices(path, override) for override in overrides]
    runs = []
    for chosen in itertools.product(*choices):
        config = load_settings(path, chosen)
        varied = [own for own, values in zip(chosen, choices, strict=True) if len(values) > 1]
        runs.append(("-".join(map(_label, varied)), config))
    return runs


def _choices(path: Path, override: str) -> list[str]:
    """Return the override itself, or one per value if the setting does not take a list."""
    key, _, value = override.partition("=")
    values = _parse(value)
    if not isinstance(values, list) or not values:
        return [override]
    try:
        load_settings(path, [override])
    except ConfigError:
        single = [f"{key}={_format(one)}" for one in values]
        try:
            for one in single:
                load_settings(path, [one])
        except ConfigError:
            return [override]  # loading it reports the error
        return single
    return [override]


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _label(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key.rpartition('.')[2]}-{value.strip(chr(39))}".replace("/", "_")

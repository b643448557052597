"""Lists among the overrides of a run: one run for each of their values."""

import itertools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.errors import ConfigError
from training.settings import RunConfig, load_settings


def expand(path: Path, overrides: Sequence[str] = ()) -> list[tuple[str, RunConfig]]:
    """Read the settings of one run, or of all runs of a sweep.

    Args:
        path: the TOML file.
        overrides: `key=value` each. `seed=[1, 2, 3]`, a list where a setting takes single values,
            stands for three runs; several lists, for all combinations.

    Returns:
        For each run, what tells it from the others, such as `seed-1`, and its settings; of a
        single run that is empty.

    Raises:
        ConfigError: as `load_settings` does.
    """
    choices = [_choices(path, override) for override in overrides]
    runs = []
    for chosen in itertools.product(*choices):
        config = load_settings(path, chosen)
        varied = [own for own, among in zip(chosen, choices, strict=True) if len(among) > 1]
        runs.append(("-".join(map(_label, varied)), config))
    return runs


def _choices(path: Path, override: str) -> list[str]:
    """Return the override itself, or one for each value of a list that is no value of its own."""
    key, _, value = override.partition("=")
    values = _parse(value)
    if not isinstance(values, list) or not values:
        return [override]
    try:
        load_settings(path, [override])
    except ConfigError:
        alone = [f"{key}={_format(one)}" for one in values]
        try:
            for one in alone:
                load_settings(path, [one])
        except ConfigError:
            return [override]  # whose own error says what is wrong
        return alone
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

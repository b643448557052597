"""Refuses settings without effect, beyond those that each stage checks itself."""

from dataclasses import fields
from typing import Any

from captioner.errors import ConfigError
from training.settings import RunConfig


def refuse_unused(config: RunConfig) -> None:
    """Refuse settings that do nothing in a new run; a run begun with some can still resume.

    Boxes of data.train without a stage that uses them are no fault: they describe the data, and a
    sweep over `grounding` includes 0.

    Raises:
        ConfigError: a setting does nothing.
    """
    first = config.stages[0]
    if first.begins_with != "best":
        raise ConfigError(
            f"stages.begins_with of stage {first.name!r} is {first.begins_with!r}, which does "
            "nothing in the first stage; leave it out."
        )
    for stage in config.stages:
        if 0 < stage.max_steps < stage.validate_steps:
            raise ConfigError(
                f"stages.validate_steps of stage {stage.name!r} is {stage.validate_steps}, which "
                f"does nothing while max_steps is {stage.max_steps}; leave it out, or set it to "
                "less than that."
            )
    if config.data.val.boxes:
        raise ConfigError(
            f"data.val.boxes is {config.data.val.boxes!r}, which does nothing, since only training "
            "uses boxes; leave it out."
        )
    if config.start_from:
        _refuse_replaced(config, "", "encoder_weights", start=config.start_from)
        for name in ("words", "min_count", "vocabulary"):
            _refuse_replaced(config.data, "data.", name, start=config.start_from)


def _refuse_replaced(settings: Any, where: str, name: str, *, start: str) -> None:
    """Refuse a setting for which the checkpoint of `start_from` has its own."""
    value = getattr(settings, name)
    if value != next(f.default for f in fields(settings) if f.name == name):
        raise ConfigError(
            f"{where}{name} is {value!r}, which does nothing while start_from is {start!r}, whose "
            f"weights and vocabulary are kept; leave it out (--set {where}{name}=), or leave out "
            "start_from."
        )

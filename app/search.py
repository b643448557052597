"""Inputs for the decoding settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_origin, get_type_hints

import gradio as gr

from captioner import Captioner, CaptionerError, SearchConfig
from captioner.schema import explain, why_idle

_METHODS = [("Beam search", "beam"), ("Greedy", "greedy"), ("Sampling", "sample")]
_FIXED = ("no_end", "prompt", "agreement")
"""Settings fixed to the checkpoint's defaults."""
_NAMES = [setting.name for setting in fields(SearchConfig) if setting.name not in _FIXED]
_KINDS = get_type_hints(SearchConfig)
_LABELS = {
    "method": "Method",
    "beam": "Beam width",
    "max_words": "Maximum length",
    "length_penalty": "Length penalty",
    "temperature": "Temperature",
    "top_k": "Top-k",
    "top_p": "Top-p",
    "seed": "Seed",
    "no_repeat": "No-repeat n-gram size",
    "forbid": "Forbidden words",
    "require": "Required words",
    "groups": "Beam groups",
    "diversity": "Diversity penalty",
}
"""Labels of the settings on the page."""
_RANGES = {
    "beam": (1, 10, 1),
    "length_penalty": (0, 2, 0.1),
    "groups": (1, 10, 1),
    "diversity": (0, 3, 0.1),
    "temperature": (0.1, 2, 0.05),
    "top_k": (0, 100, 1),
    "top_p": (0.05, 1, 0.05),
    "no_repeat": (0, 4, 1),
}
"""Minimum, maximum and step of the sliders, widened to include the model's default."""
_LONGEST = 40
"""Upper limit of the maximum length, in tokens."""
_LONGEST_LIST = 200
"""Maximum length of a list of words, in characters."""

_DIVIDE = """(beam, groups) => {
  let parts = Math.min(groups, beam);
  while (beam % parts) parts--;
  return parts;
}"""


def search_inputs(captioners: Mapping[str, Captioner]) -> dict[str, gr.components.Component]:
    """Lay out the decoding method and its settings; app.css hides those of other methods.

    Returns:
        An input for each setting of `SearchConfig` except the fixed ones, by name and in order,
        with the first model's defaults.
    """
    best = next(iter(captioners.values())).header.search
    limits = (captioner.header.longest for captioner in captioners.values())
    longest = min([_LONGEST, *(limit for limit in limits if limit is not None)])
    ranges = {**_RANGES, "max_words": (1, longest, 1)}

    def make(name: str) -> Any:
        value, text = getattr(best, name), explain(SearchConfig)[name]
        options: dict[str, Any] = {"label": _LABELS[name], "info": text}
        if name == "method":
            return gr.Radio(_METHODS, value=value, label=_LABELS[name])
        if _is_list(name):
            options["info"] += " Separate with commas."
            words = ", ".join(value)
            return gr.Textbox(words, placeholder="none", max_length=_LONGEST_LIST, **options)
        if name not in ranges:
            return gr.Number(value, precision=0, **options)
        low, high, step = ranges[name]
        return gr.Slider(min(low, value), max(high, value), value, step=step, **options)

    made = {"method": make("method")}
    with gr.Column(elem_classes="for-beam"):
        for name in ("beam", "length_penalty", "groups", "diversity", "require"):
            made[name] = make(name)
    with gr.Column(elem_classes="for-sample"):
        for name in ("temperature", "top_k", "top_p", "seed"):
            made[name] = make(name)
    for name in ("max_words", "forbid", "no_repeat"):
        made[name] = make(name)
    dividing = [made["beam"], made["groups"]]  # the groups must divide the beam
    gr.on([made["beam"].change, made["groups"].change], None, dividing, made["groups"], js=_DIVIDE)
    return {name: made[name] for name in _NAMES}


def describe_settings() -> str:
    """Describe the settings as the `Args` of a docstring, one line each."""
    return "\n".join(
        f"            {name}: {explain(SearchConfig)[name]}"
        + " Separate with commas." * _is_list(name)
        for name in _NAMES
    )


def name_labels(message: str) -> str:
    """Replace names of settings in an error by the labels of the page."""
    for name, label in _LABELS.items():
        message = re.sub(rf"\bsearch\.{name}\b", f"“{label}”", message)
    return message


def search_settings(
    values: Sequence[Any], *, defaults: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Convert the values of `search_inputs` to arguments of `Captioner.caption`.

    Args:
        values: values in order. Those without effect are omitted, since the page hides them.
        defaults: values of an API request that chooses none. With them, a setting without effect
            is omitted only if it has a default value; otherwise it was chosen, and is an error.

    Raises:
        CaptionerError: a value is not a number or not a text.
    """
    named = _named(values)
    unchosen = named if defaults is None else _named(defaults)
    plain = {setting.name: setting.default for setting in fields(SearchConfig)}
    idle = {name for name in named if why_idle(SearchConfig, named, name)}
    if named["method"] != "beam":
        idle.add("require")
    return {n: x for n, x in named.items() if n not in idle or x not in (unchosen[n], plain[n])}


def _named(values: Sequence[Any]) -> dict[str, Any]:
    method, *others = values
    return {
        "method": method,
        **{name: _read(name, x) for name, x in zip(_NAMES[1:], others, strict=True)},
    }


def _read(name: str, value: Any) -> float | tuple[str, ...]:
    try:
        if _is_list(name):
            return tuple(part.strip() for part in (value or "").split(",") if part.strip())
        return int(value or 0) if _KINDS[name] is int else float(value)
    except (AttributeError, OverflowError, TypeError, ValueError):
        kind = "a text" if _is_list(name) else "a number"
        raise CaptionerError(f"{name} is {value!r}; it must be {kind}.") from None


def _is_list(name: str) -> bool:
    """Whether a setting is a list of words, separated by commas."""
    return get_origin(_KINDS[name]) is tuple

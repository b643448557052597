"""Decoding settings, as inputs."""

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
_LONGEST_LIST = 200
"""Characters."""

_DIVIDE = """(beam, groups) => {
  let parts = Math.min(groups, beam);
  while (beam % parts) parts--;
  return parts;
}"""


def search_inputs(captioners: Mapping[str, Captioner]) -> dict[str, gr.components.Component]:
    """Lay out the method, and below it what that method uses; app.css hides the rest.

    Returns:
        An input for each setting of `SearchConfig` but the fixed ones, by name and in its order,
        set to what the first model likes best.
    """
    best = next(iter(captioners.values())).header.search
    limits = (captioner.header.longest for captioner in captioners.values())
    longest = min([_LONGEST, *(limit for limit in limits if limit is not None)])
    ranges = {**_RANGES, "max_words": (1, longest, 1)}

    def make(name: str) -> Any:
        value, text = getattr(best, name), explain(SearchConfig)[name]
        told: dict[str, Any] = {"label": _LABELS[name], "info": text}
        if name == "method":
            return gr.Radio(_METHODS, value=value, label=_LABELS[name])
        if _is_list(name):
            told["info"] += " Separate with commas."
            words = ", ".join(value)
            return gr.Textbox(words, placeholder="none", max_length=_LONGEST_LIST, **told)
        if name not in ranges:
            return gr.Number(value, precision=0, **told)
        low, high, step = ranges[name]
        return gr.Slider(min(low, value), max(high, value), value, step=step, **told)

    made = {"method": make("method")}
    with gr.Column(elem_classes="for-beam"):
        for name in ("beam", "length_penalty", "groups", "diversity", "require"):
            made[name] = make(name)
    with gr.Column(elem_classes="for-sample"):
        for name in ("temperature", "top_k", "top_p", "seed"):
            made[name] = make(name)
    for name in ("max_words", "forbid", "no_repeat"):
        made[name] = make(name)
    dividing = [made["beam"], made["groups"]]  # only what divides the beam can be chosen
    gr.on([made["beam"].change, made["groups"].change], None, dividing, made["groups"], js=_DIVIDE)
    return {name: made[name] for name in _NAMES}


def describe_settings() -> str:
    """Describe the settings as arguments of a function, a line each."""
    return "\n".join(
        f"            {name}: {explain(SearchConfig)[name]}"
        + " Separate with commas." * _is_list(name)
        for name in _NAMES
    )


def name_labels(message: str) -> str:
    """Call settings in an error as the page does."""
    for name, label in _LABELS.items():
        message = re.sub(rf"\bsearch\.{name}\b", f"“{label}”", message)
    return message


def search_settings(
    values: Sequence[Any], *, sent_unasked: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Name the values of `search_inputs`, for `Captioner.caption`.

    Args:
        values: in order. The page hides those that do nothing, and they are left out.
        sent_unasked: what programs send that choose nothing; what does nothing and is neither this
            nor the default of `SearchConfig`, they have asked for: it stays, and will be refused.

    Raises:
        CaptionerError: one is no number or no text.
    """
    named = _named(values)
    unasked = named if sent_unasked is None else _named(sent_unasked)
    plain = {setting.name: setting.default for setting in fields(SearchConfig)}
    idle = {name for name in named if why_idle(SearchConfig, named, name)}
    if named["method"] != "beam":
        idle.add("require")
    return {n: x for n, x in named.items() if n not in idle or x not in (unasked[n], plain[n])}


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
        what = "a text" if _is_list(name) else "a number"
        raise CaptionerError(f"{name} is {value!r}; it must be {what}.") from None


def _is_list(name: str) -> bool:
    """Whether a setting is words, typed with commas between them."""
    return get_origin(_KINDS[name]) is tuple

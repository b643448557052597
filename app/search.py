"""Decoding settings, as inputs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import gradio as gr

from captioner import Captioner, CaptionerError, SearchConfig
from captioner.schema import why_idle

_METHODS = [("Beam search", "beam"), ("Greedy", "greedy"), ("Sampling", "sample")]
_FIXED = ("no_end", "prompt", "agreement")
"""Settings that stay what the checkpoint recommends."""
_NAMES = [setting.name for setting in fields(SearchConfig) if setting.name not in _FIXED]
_WHOLE = ("beam", "max_words", "top_k", "seed", "no_repeat", "groups")
"""Settings that are whole numbers, whatever a browser makes of them."""
_LISTS = ("forbid", "require")
"""Settings that are words, typed with commas between them."""
_LABELS = {
    "method": "Method",
    "beam": "Beam",
    "max_words": "Longest sentence",
    "length_penalty": "Length penalty",
    "temperature": "Temperature",
    "top_k": "Top-k",
    "top_p": "Top-p",
    "seed": "Seed",
    "no_repeat": "No repeats",
    "forbid": "Forbidden words",
    "require": "Required words",
    "groups": "Groups",
    "diversity": "Diversity",
}
"""What the page calls the settings."""
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
    made: dict[str, Any] = {}
    made["method"] = gr.Radio(_METHODS, value=best.method, label="Method")
    with gr.Column(elem_classes="for-beam"):
        made["beam"] = _slider(best.beam, 1, 10, 1, label="Beam", info="Width of beam search.")
        made["length_penalty"] = _slider(
            best.length_penalty,
            *(0, 2, 0.1),
            label="Length penalty",
            info="Above 0, longer sentences may win.",
        )
        made["groups"] = _slider(
            best.groups,
            *(1, 10, 1),
            label="Groups",
            info="Parts of the beam, penalised for each other's words; they divide it.",
        )
        made["diversity"] = _slider(
            best.diversity, *(0, 3, 0.1), label="Diversity", info="How strong that penalty is."
        )
        made["require"] = _words(best.require, label="Required words")
    with gr.Column(elem_classes="for-sample"):
        made["temperature"] = _slider(
            best.temperature,
            *(0.1, 2, 0.05),
            label="Temperature",
            info="Below 1 is safer, above 1 is bolder.",
        )
        made["top_k"] = _slider(
            best.top_k,
            *(0, 100, 1),
            label="Top-k",
            info="Draw from this many likeliest words; 0 is all.",
        )
        made["top_p"] = _slider(
            best.top_p,
            *(0.05, 1, 0.05),
            label="Top-p",
            info="Draw from the likeliest words that together have this probability.",
        )
        made["seed"] = gr.Number(
            best.seed, precision=0, label="Seed", info="The same seed draws the same sentence."
        )
    made["max_words"] = _slider(
        best.max_words, 1, longest, 1, label="Longest sentence", info="In tokens."
    )
    made["forbid"] = _words(best.forbid, label="Forbidden words")
    made["no_repeat"] = _slider(
        *(best.no_repeat, 0, 4, 1),
        label="No repeats",
        info="No run of so many words is said twice; 0 lets all repeat.",
    )
    dividing = [made["beam"], made["groups"]]  # only what divides the beam can be chosen
    gr.on([made["beam"].change, made["groups"].change], None, dividing, made["groups"], js=_DIVIDE)
    return {name: made[name] for name in _NAMES}


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
        if name in _LISTS:
            return tuple(part.strip() for part in (value or "").split(",") if part.strip())
        return int(value or 0) if name in _WHOLE else float(value)
    except (AttributeError, OverflowError, TypeError, ValueError):
        what = "a text" if name in _LISTS else "a number"
        raise CaptionerError(f"{name} is {value!r}; it must be {what}.") from None


def _words(best: Sequence[str], *, label: str) -> gr.Textbox:
    return gr.Textbox(
        ", ".join(best),
        label=label,
        placeholder="none",
        info="Words, with commas between them.",
        max_length=_LONGEST_LIST,
    )


def _slider(
    best: float, low: float, high: float, step: float, *, label: str, info: str
) -> gr.Slider:
    """Offer a range, widened if what a model likes best lies outside."""
    return gr.Slider(min(low, best), max(high, best), best, step=step, label=label, info=info)

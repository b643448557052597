"""Keeps sample, model and decoding settings in the page's address, so links reproduce them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from app.payload import write_script

_KEEP = """(...values) => {{
  {script}
  const settings = {settings};
  if (!window.addressIsRead) return;
  const named = (of) => Object.fromEntries(settings.map(({{ name }}, n) => [name, of(n)]));
  keepInAddress(named((n) => values[n]), named((n) => settings[n].initial));
}}"""

_READ = """() => {{
  {script}
  addEventListener("hashchange", () => location.reload());
  return readSettings({settings});
}}"""

_BEGIN = """() => {{
  {script}
  const names = {settings}.map(({{ name }}) => name);
  const given = fromAddress();
  window.addressIsRead = true;
  const samples = [...document.querySelectorAll(".samples [data-name]")];
  const sample = samples.find((button) => button.dataset.name === given.get("sample"));
  if (sample || names.some((name) => given.has(name))) (sample ?? samples[0]).click();
}}"""


def keep_in_address(app: gr.Blocks, inputs: Mapping[str, gr.components.Component]) -> None:
    """Keep inputs in the address, and restore them when the page is opened.

    Args:
        app: the page.
        inputs: inputs by their names in the address.
    """
    known = {
        "script": write_script("address"),
        "settings": json.dumps([_describe(name, made) for name, made in inputs.items()]),
    }
    components: Sequence[Any] = list(inputs.values())
    gr.on([made.change for made in components], None, components, js=_KEEP.format(**known))
    read = app.load(None, None, components, js=_READ.format(**known))
    read.then(None, js=_BEGIN.format(**known))


def _describe(name: str, made: Any) -> dict[str, Any]:
    """Return the default and the limits of an input, for `readSettings`."""
    described = {"name": name, "initial": made.value}
    if isinstance(made, gr.Radio):
        described["choices"] = [value for _, value in made.choices]
    elif isinstance(made, gr.Slider):
        described |= {"min": made.minimum, "max": made.maximum}
    elif isinstance(made, gr.Textbox):
        described["max"] = made.max_length
    return described

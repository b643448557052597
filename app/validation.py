"""Explains invalid API requests; Gradio reports them only on the server's console."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

_LONGEST_VALUE = 60
"""Maximum length of a value quoted in an error, in characters."""


def explain_invalid_requests(app: gr.Blocks) -> None:
    """Name invalid values in the answers to API requests, without details of the server."""
    preprocess = getattr(app, "preprocess_data", None)
    if preprocess is None:  # undocumented: see docs/private_names.md
        return

    async def preprocess_or_explain(
        event: Any, values: list[Any], *args: Any, **options: Any
    ) -> Any:
        try:
            return await preprocess(event, values, *args, **options)
        except gr.Error as error:
            error.print_exception = False  # the caller's mistake, not the server's
            raise
        except Exception as error:
            message = escape(find_invalid_value(event.inputs, values), quote=False)
            raise gr.Error(message, print_exception=False) from error

    setattr(app, "preprocess_data", preprocess_or_explain)  # noqa: B010


def find_invalid_value(inputs: Sequence[Any], values: Sequence[Any]) -> str:
    """Return an error message that names the first invalid value of a request.

    Args:
        inputs: Gradio components, in order.
        values: the values sent for them.
    """
    way_out = "; see /gradio_api/info for the parameters."
    if len(values) < len(inputs):
        return f"{len(values)} of {len(inputs)} values were sent{way_out}"
    for component, value in zip(inputs, values, strict=False):
        name = str(getattr(component, "label", None) or type(component).__name__).lower()
        shown = repr(value)
        shown = shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}..."
        number = isinstance(value, int | float) and abs(value) < 2**63
        if isinstance(component, gr.Slider | gr.Number) and not number:
            return f"{name} is {shown}; it must be a number{way_out}"
        path = value.get("path") if isinstance(value, dict) else None
        if (
            isinstance(component, gr.Image)
            and value is not None
            and not (path and isinstance(path, str))
        ):
            return f"{name} is {shown}; it must be an uploaded file or an address{way_out}"
    return f"invalid request{way_out}"

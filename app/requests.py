"""What is wrong with a request that no page makes, but a program may.

Gradio tells the caller nothing of such errors, and the console everything.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

_LONGEST = 60
"""Letters of a value that are sent back to whom it came from."""


def explain_requests(app: gr.Blocks) -> None:
    """Name the value that is not understood; what Gradio knows of this machine stays here."""
    preprocess = getattr(app, "preprocess_data", None)
    if preprocess is None:  # Gradio does not document it
        return

    async def preprocess_or_explain(
        event: Any, values: list[Any], *args: Any, **options: Any
    ) -> Any:
        try:
            return await preprocess(event, values, *args, **options)
        except gr.Error as error:
            error.print_exception = False  # a caller's mistake, not ours
            raise
        except Exception as error:
            message = escape(find_fault(event.inputs, values), quote=False)
            raise gr.Error(message, print_exception=False) from error

    setattr(app, "preprocess_data", preprocess_or_explain)  # noqa: B010


def find_fault(inputs: Sequence[Any], values: Sequence[Any]) -> str:
    """Say which value an input cannot take.

    Args:
        inputs: Gradio's components, in order.
        values: what was sent for them.
    """
    shown = "; /gradio_api/info says what is expected."
    if len(values) < len(inputs):
        return f"{len(values)} values were sent, and {len(inputs)} are needed{shown}"
    for component, value in zip(inputs, values, strict=False):
        name = str(getattr(component, "label", None) or type(component).__name__).lower()
        told = repr(value)
        told = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
        number = isinstance(value, int | float) and abs(value) < 2**63
        if isinstance(component, gr.Slider | gr.Number) and not number:
            return f"{name} is {told}; it must be a number{shown}"
        if isinstance(component, gr.Image) and value is not None and not _is_file(value):
            return f"{name} is {told}; it must be an uploaded file or an address{shown}"
    return f"the request is not understood{shown}"


def _is_file(value: Any) -> bool:
    """Whether a program speaks of a file as Gradio does, and the file was uploaded or may be."""
    return isinstance(value, dict) and isinstance(value.get("path"), str) and bool(value["path"])

"""What programs may call: `/caption`."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.controls import (
    as_message,
    photo_input,
    read_upload,
    search_controls,
    search_settings,
)
from captioner import Captioner, CaptionerError


def build_api(captioners: Mapping[str, Captioner]) -> None:
    """Offer `/caption` to programs."""
    photo = photo_input(visible=False, label="photo")
    names = list(captioners)
    checkpoint = gr.Dropdown(names, value=names[0], visible=False, label="checkpoint")
    search = search_controls(captioners, visible=False)
    result = gr.JSON(visible=False, label="result")

    def caption(  # noqa: PLR0917  # Gradio passes arguments by position
        photo: str | None,
        checkpoint: str,
        method: str,
        beam: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> dict[str, Any]:
        """Caption a photo.

        Args:
            photo: an image file.
            checkpoint: name of the model.
            method: how the sentence is looked for: beam, greedy or sample.
            beam: captions that beam search keeps in play.
            temperature: sampling, below 1 is safer, above 1 is bolder.
            top_p: sampling keeps the likeliest words that together have this probability.
            seed: of sampling; the same seed and photo give the same caption.

        Returns:
            The caption with its log-probability, and for every word its probability and the
            attention over the regions of the photo, row by row from the top left.
        """
        if photo is None:
            raise gr.Error("Give a photo.", print_exception=False)
        try:
            source, name = read_upload(photo)
            prepared = captioners[checkpoint].prepare(source, name=name)
            changes = search_settings(method, beam, temperature, top_p, seed)
            return captioners[checkpoint].caption(prepared, **changes).to_dict()
        except CaptionerError as error:
            raise as_message(error) from error

    gr.Button(visible=False).click(
        caption,
        [photo, checkpoint, *search],
        result,
        api_name="caption",
        concurrency_id="model",
        concurrency_limit=1,
    )

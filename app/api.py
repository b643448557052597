"""What programs may call: `/describe` in words; `/caption`, `/read` and `/paint_out` in numbers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gradio as gr

from app.controls import MODEL_EVENT, as_message, open_upload, photo_input, read_upload
from app.picking import PHOTO_PIXELS
from app.search import describe_settings, search_inputs, search_settings
from app.whatif import tell_change
from app.wording import describe
from captioner import Caption, Captioner, CaptionerError

_SIDES = ("top", "left", "bottom", "right")


def build_api(captioners: Mapping[str, Captioner]) -> None:
    """Offer the endpoints; over MCP each is a tool with the name of its function."""
    with gr.Column(visible=False):
        photo = photo_input(label="photo")
        names = list(captioners)
        checkpoint = gr.Dropdown(names, value=names[0], label="checkpoint")
        search = search_inputs(captioners).values()
        unasked = [component.value for component in search]
        attention = gr.Checkbox(value=False, label="attention")
        sentence = gr.Textbox(label="sentence")
        goes_on = gr.Checkbox(value=False, label="complete")
        own = gr.Textbox("", label="sentence")
        sides = [gr.Number(n // 2, label=side) for n, side in enumerate(_SIDES)]
        result = gr.JSON(label="result")
        description = gr.Textbox(label="description")

    @contextmanager
    def asking(photo: str | None, checkpoint: str | None) -> Iterator[tuple[str, Captioner]]:
        try:
            if photo is None:
                raise CaptionerError("Give a photo.")
            if checkpoint is None:
                raise CaptionerError(f"checkpoint is missing; choose from {', '.join(names)}.")
            yield photo, captioners[checkpoint]
        except CaptionerError as error:
            raise as_message(error) from error

    def answer(
        photo: str | None, checkpoint: str | None, ask: Callable[[Captioner, Any], Caption]
    ) -> Caption:
        with asking(photo, checkpoint) as (path, model):
            source, name = read_upload(path)
            return replace(ask(model, model.prepare(source, name=name)), image=name)

    def describe_photo(photo: str | None, checkpoint: str) -> str:
        """Caption a photo; say for each word its probability and where the model attended.

        The model is small, and its caption may be wrong.

        Args:
            photo: an image file: its http(s) address, or its content as a data: URI in base64.
            checkpoint: name of the model.

        Returns:
            The caption, a line for each of its words, and captions that were nearly as likely.
        """
        return describe(answer(photo, checkpoint, lambda model, p: model.caption(p)))

    def caption_photo_in_numbers(  # noqa: D417, PLR0917  # by position, and explained below
        photo: str | None,
        checkpoint: str,
        method: str,
        beam: int,
        max_words: int,
        length_penalty: float,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        no_repeat: int,
        forbid: str,
        require: str,
        groups: int,
        diversity: float,
        attention: bool,
    ) -> dict[str, Any]:
        """Caption a photo; return what is known of each word, as JSON.

        Args:
            photo: an image file: its http(s) address, or its content as a data: URI in base64.
            checkpoint: name of the model.
            {settings}
            attention: whether to return each word's attention too, some two hundred numbers.

        Returns:
            The caption; for every word its probability.
        """
        values = (
            *(method, beam, max_words, length_penalty, temperature, top_k, top_p, seed),
            *(no_repeat, forbid, require, groups, diversity),
        )

        def ask(model: Captioner, prepared: Any) -> Caption:
            return model.caption(prepared, **search_settings(values, sent_unasked=unasked))

        caption = answer(photo, checkpoint, ask)
        return _to_table(caption, attention=attention)

    doc = caption_photo_in_numbers.__doc__ or ""
    caption_photo_in_numbers.__doc__ = doc.replace("            {settings}", describe_settings())

    def read_sentence(
        photo: str | None, sentence: str, checkpoint: str, complete: bool, attention: bool
    ) -> dict[str, Any]:
        """Read a sentence of your own about a photo as if the model had written it, as JSON.

        Args:
            photo: an image file: its http(s) address, or its content as a data: URI in base64.
            sentence: of words that the model knows.
            checkpoint: name of the model.
            complete: whether the sentence is only begun, and the model writes the rest.
            attention: whether to return each word's attention too, some two hundred numbers.

        Returns:
            The sentence; for every word its probability, and the likeliest words in its place.
        """

        def read(model: Captioner, prepared: Any) -> Caption:
            ask = model.complete if complete else model.read_sentence
            return ask(prepared, sentence or "")

        return _to_table(answer(photo, checkpoint, read), attention=attention)

    def paint_out_part(  # noqa: PLR0917  # Gradio passes arguments by position
        photo: str | None,
        sentence: str,
        checkpoint: str,
        top: float,
        left: float,
        bottom: float,
        right: float,
    ) -> dict[str, Any]:
        """Paint out a part of a photo, and see which words depended on it, as JSON.

        The part is filled with the colours around it; the whole photo unless you say otherwise.

        Args:
            photo: an image file: its http(s) address, or its content as a data: URI in base64.
            sentence: of words that the model knows; empty is the caption that it writes.
            checkpoint: name of the model.
            top: where the part begins, as a share of the photo's height, from 0 to 1.
            left: where it begins, as a share of the width.
            bottom: where it ends, as a share of the height.
            right: where it ends, as a share of the width.

        Returns:
            For every word its probability with the part and without; the caption without it.
        """
        box = (float(top), float(left), float(bottom), float(right))
        with asking(photo, checkpoint) as (path, model):
            upload = open_upload(path, size=PHOTO_PIXELS)
            try:
                told = tell_change(model, upload.picture, sentence, box)
            except ValueError as error:
                raise CaptionerError(str(error)) from error
            return told | {"image": upload.name}

    queued: dict[str, Any] = MODEL_EVENT | {"api_visibility": "public"}
    for name, ask, given, told in (
        ("describe", describe_photo, [checkpoint], description),
        ("caption", caption_photo_in_numbers, [checkpoint, *search, attention], result),
        ("read", read_sentence, [sentence, checkpoint, goes_on, attention], result),
        ("paint_out", paint_out_part, [own, checkpoint, *sides], result),
    ):
        gr.Button(visible=False).click(ask, [photo, *given], told, api_name=name, **queued)


def _to_table(caption: Caption, *, attention: bool) -> dict[str, Any]:
    """Write a caption for programs."""
    table = caption.to_dict(attention=attention)
    for written, word in zip(table["words"], caption.words, strict=True):
        if word.rivals:
            written["rivals"] = [rival._asdict() for rival in word.rivals]
    return table

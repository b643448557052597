"""The HTTP API, which is also the MCP tools: `/describe`, `/caption`, `/read` and `/paint_out`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gradio as gr
from PIL import Image

from app.controls import MODEL_EVENT, open_upload, page_error, photo_input, read_upload
from app.occlusion import Box, occlude
from app.plain_text import describe
from app.search import describe_settings, search_inputs, search_settings
from app.selection import PHOTO_PIXELS
from captioner import Caption, Captioner, CaptionerError

_SIDES = ("top", "left", "bottom", "right")


def build_api(captioners: Mapping[str, Captioner]) -> None:
    """Add the endpoints to the app; the name of a function is the name of its MCP tool."""
    with gr.Column(visible=False):
        photo = photo_input(label="photo")
        names = list(captioners)
        checkpoint = gr.Dropdown(names, value=names[0], label="checkpoint")
        search = search_inputs(captioners).values()
        defaults = [component.value for component in search]
        attention = gr.Checkbox(value=False, label="attention")
        sentence = gr.Textbox(label="sentence")
        complete = gr.Checkbox(value=False, label="complete")
        optional_sentence = gr.Textbox("", label="sentence")
        sides = [gr.Number(n // 2, label=side) for n, side in enumerate(_SIDES)]
        result = gr.JSON(label="result")
        description = gr.Textbox(label="description")

    @contextmanager
    def checked(photo: str | None, checkpoint: str | None) -> Iterator[tuple[str, Captioner]]:
        try:
            if photo is None:
                raise CaptionerError("photo is missing; upload a file, or give its address.")
            if checkpoint is None:
                raise CaptionerError(f"checkpoint is missing; choose from {', '.join(names)}.")
            yield photo, captioners[checkpoint]
        except CaptionerError as error:
            raise page_error(error) from error

    def run(
        photo: str | None, checkpoint: str | None, task: Callable[[Captioner, Any], Caption]
    ) -> Caption:
        with checked(photo, checkpoint) as (path, model):
            source, name = read_upload(path)
            return replace(task(model, model.prepare(source, name=name)), image=name)

    def describe_photo(photo: str | None, checkpoint: str) -> str:
        """Caption a photo, and describe the probability and attention of each word as text.

        The model is small, and its caption may be wrong.

        Args:
            photo: an image file: its http(s) address, or its content as a base64 data: URI.
            checkpoint: name of the model.

        Returns:
            The caption, a line for each word, and the other candidates with their scores.
        """
        return describe(run(photo, checkpoint, lambda model, p: model.caption(p)))

    def caption_photo(  # noqa: D417, PLR0917  # Gradio passes positions; settings are added below
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
        """Caption a photo; return its words with their probabilities as JSON.

        Args:
            photo: an image file: its http(s) address, or its content as a base64 data: URI.
            checkpoint: name of the model.
            {settings}
            attention: whether to also return each word's attention map, some 200 weights.

        Returns:
            The caption, and the probability of each word.
        """
        values = (
            *(method, beam, max_words, length_penalty, temperature, top_k, top_p, seed),
            *(no_repeat, forbid, require, groups, diversity),
        )

        def task(model: Captioner, prepared: Any) -> Caption:
            return model.caption(prepared, **search_settings(values, defaults=defaults))

        return _to_json(run(photo, checkpoint, task), attention=attention)

    doc = caption_photo.__doc__ or ""
    caption_photo.__doc__ = doc.replace("            {settings}", describe_settings())

    def read_sentence(
        photo: str | None, sentence: str, checkpoint: str, complete: bool, attention: bool
    ) -> dict[str, Any]:
        """Score your own sentence about a photo with the model (teacher forcing), as JSON.

        Args:
            photo: an image file: its http(s) address, or its content as a base64 data: URI.
            sentence: a sentence of words in the model's vocabulary.
            checkpoint: name of the model.
            complete: whether the model continues the sentence.
            attention: whether to also return each word's attention map, some 200 weights.

        Returns:
            The sentence; for each word its probability, and the likeliest alternatives.
        """

        def task(model: Captioner, prepared: Any) -> Caption:
            score = model.complete if complete else model.read_sentence
            return score(prepared, sentence or "")

        return _to_json(run(photo, checkpoint, task), attention=attention)

    def paint_out_region(  # noqa: PLR0917  # Gradio passes arguments by position
        photo: str | None,
        sentence: str,
        checkpoint: str,
        top: float,
        left: float,
        bottom: float,
        right: float,
    ) -> dict[str, Any]:
        """Paint out a region of a photo, and return which words depend on it as JSON (occlusion).

        The region is filled with the colours around it. The default is the whole photo.

        Args:
            photo: an image file: its http(s) address, or its content as a base64 data: URI.
            sentence: a sentence of words in the model's vocabulary; empty: the model's caption.
            checkpoint: name of the model.
            top: top edge of the region, as a fraction of the photo's height.
            left: left edge, as a fraction of the width.
            bottom: bottom edge, as a fraction of the height.
            right: right edge, as a fraction of the width.

        Returns:
            The probability of each word with and without the region, and a new caption.
        """
        box = (float(top), float(left), float(bottom), float(right))
        with checked(photo, checkpoint) as (path, model):
            upload = open_upload(path, size=PHOTO_PIXELS)
            return _occlusion_to_json(model, upload.picture, sentence, box) | {"image": upload.name}

    queued: dict[str, Any] = MODEL_EVENT | {"api_visibility": "public"}
    for name, endpoint, inputs, output in (
        ("describe", describe_photo, [checkpoint], description),
        ("caption", caption_photo, [checkpoint, *search, attention], result),
        ("read", read_sentence, [sentence, checkpoint, complete, attention], result),
        ("paint_out", paint_out_region, [optional_sentence, checkpoint, *sides], result),
    ):
        gr.Button(visible=False).click(endpoint, [photo, *inputs], output, api_name=name, **queued)


def _to_json(caption: Caption, *, attention: bool) -> dict[str, Any]:
    """Return a caption as JSON values, with the alternatives of each word."""
    table = caption.to_dict(attention=attention)
    for written, word in zip(table["words"], caption.words, strict=True):
        if word.rivals:
            written["rivals"] = [rival._asdict() for rival in word.rivals]
    return table


def _occlusion_to_json(
    captioner: Captioner, photo: Image.Image, sentence: str, box: Box
) -> dict[str, Any]:
    """Return what painting out a box does to a sentence, or else to the photo's caption."""
    whole = captioner.prepare(photo)
    text = sentence or captioner.caption(whole).text
    before = captioner.read_sentence(whole, text, rivals=0)
    try:
        after = occlude(captioner, photo, text, box)
    except ValueError as error:
        raise CaptionerError(str(error)) from error
    return {
        "checkpoint": before.checkpoint,
        "caption": before.text,
        "caption_without": after.recaptioned.text,
        "box": box,
        "words": [
            {"word": word.text, "probability": word.probability, "without": without.probability}
            for word, without in zip(before.words, after.rescored.words, strict=True)
        ],
    }

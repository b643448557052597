"""A few validation photos, captioned by the run's checkpoint, with attention maps."""

from collections.abc import Sequence
from pathlib import Path

from captioner.overlay import Style
from captioner.overlay.figure import draw_figure, text
from captioner.photo import load_photo
from captioner.pytorch import TorchCaptioner
from data.coco import Record, load_records
from data.image_source import ImageSource

_LONGEST = 480
"""Longer side of a photo on the page, in pixels."""


def choose(records: Sequence[Record], number: int) -> list[Record]:
    """Choose evenly spaced photos: the same ones for every run on the same data."""
    number = min(number, len(records))
    return [records[index * len(records) // number] for index in range(number)]


def draw_samples(
    checkpoint: Path,
    *,
    annotations: Path,
    images: Sequence[str],
    split: str | None,
    number: int,
    device: str,
) -> list[str]:
    """Caption a few photos and return a piece of HTML for each.

    Raises:
        CaptionerError: checkpoint, captions or photos cannot be read.
    """
    captioner = TorchCaptioner.load(checkpoint, device=device)
    source = ImageSource(images)
    figures = []
    for place, record in enumerate(choose(load_records(annotations, split=split), number)):
        content = source.read(record.image)
        caption = captioner.caption(content)
        people = "".join(f"<li>{text(said)}</li>" for said in record.captions)
        about = (
            f"<details><summary>{text(record.image)}: human captions</summary>"
            f'<ul dir="auto">{people}</ul></details>\n'
        )
        photo = load_photo(content, name=record.image)
        figures.append(
            draw_figure(
                photo, caption, style=Style(), longest=_LONGEST, name=f"p{place}", about=about
            )
        )
    return figures

"""A few validation photos: what the run's checkpoint says of them, and where it looked."""

from collections.abc import Sequence
from pathlib import Path

from captioner.overlay import Style
from captioner.overlay.figure import draw_figure, text
from captioner.photo import load_photo
from captioner.pytorch import TorchCaptioner
from data.coco import Record, load_records
from data.image_source import ImageSource

_LONGEST = 480
"""Longer side of a photo on the page, pixels."""


def choose(records: Sequence[Record], number: int) -> list[Record]:
    """Take so many, evenly spaced, so that the same ones show for all runs on the same photos."""
    number = min(number, len(records))
    return [records[place * len(records) // number] for place in range(number)]


def draw_samples(
    checkpoint: Path,
    *,
    annotations: Path,
    images: Sequence[str],
    split: str | None,
    number: int,
    device: str,
) -> list[str]:
    """Caption a few photos; each gives a part of the page.

    Raises:
        CaptionerError: checkpoint, captions or photos are not as they should be.
    """
    captioner = TorchCaptioner.load(checkpoint, device=device)
    source = ImageSource(images)
    figures = []
    for place, record in enumerate(choose(load_records(annotations, split=split), number)):
        content = source.read(record.image)
        caption = captioner.caption(content)
        people = "".join(f"<li>{text(said)}</li>" for said in record.captions)
        about = (
            f"<details><summary>{text(record.image)}: what people said</summary>"
            f'<ul dir="auto">{people}</ul></details>\n'
        )
        photo = load_photo(content, name=record.image)
        figures.append(
            draw_figure(
                photo, caption, style=Style(), longest=_LONGEST, name=f"p{place}", about=about
            )
        )
    return figures

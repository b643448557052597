"""Validation photos with their captions and attention maps, as images for TensorBoard."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from captioner.model.modes import evaluating
from captioner.overlay import contact_sheet
from captioner.photo import load_reduced
from captioner.pytorch import TorchCaptioner
from training.running.loaders import CaptionedPhotos

_SIZE = (320, 320)
"""Minimum height and width of the decoded photos, in pixels."""


def draw_overlays(
    captioner: TorchCaptioner, photos: CaptionedPhotos, number: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield name and contact sheet, (H, W, 3), of `number` evenly spaced photos.

    Raises:
        ImageError: a photo cannot be read.
    """
    records = photos.records
    with evaluating(captioner.model):
        for index in range(min(number, len(records))):
            record = records[index * len(records) // number]
            content = photos.source.read(record.image)
            caption = captioner.caption(captioner.prepare(content, name=record.image))
            photo, _ = load_reduced(content, at_least=_SIZE, name=record.image)
            yield record.image, np.asarray(contact_sheet(photo, caption))

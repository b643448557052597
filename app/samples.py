"""Sample photos, including one that is a known failure case."""

import json
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from app.payload import data_uri

_FOLDER = Path(__file__).parent.parent / "data" / "samples"
_THUMBNAIL_PIXELS = (160, 160)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A photo to try the app with."""

    name: str
    """File name without extension."""
    credit: str
    """Photographer and licence."""
    failure: bool = False
    """Whether it is a known failure case of the models."""

    @property
    def path(self) -> Path:
        """Path of the file."""
        return _FOLDER / f"{self.name}.jpg"


_CC_BY = "Flickr photo {}, CC BY 2.0"

SAMPLES = (
    Sample(name="horses", credit=_CC_BY.format(8392128987)),
    Sample(name="skateboarder", credit=_CC_BY.format(7802093280)),
    Sample(name="gull", credit=_CC_BY.format(100911501)),
    Sample(name="kites", credit=_CC_BY.format(443807489)),
    Sample(name="street", credit=_CC_BY.format(267588789)),
    Sample(name="plate", credit=_CC_BY.format(5560942229)),
    Sample(name="photographer", credit="Lav Varshney, CC0"),
    Sample(name="rocket", credit="SpaceX, public domain", failure=True),
)
"""A fresh page shows the first one."""

PICK = """element.addEventListener("click", (event) => {
  const sample = event.target.closest("button")?.dataset.sample;
  if (sample !== undefined) trigger("pick", { sample: Number(sample) });
});"""
"""Script of the buttons of `draw_samples`."""


def name_sample(path: Path) -> str:
    """Return the name of the sample at a path; empty for any other photo."""
    return next((sample.name for sample in SAMPLES if sample.path == path), "")


@cache
def read_annotations(sample: str) -> dict[str, Any] | None:
    """Return the human annotations of a sample, if it has any.

    Returns:
        `captions`; `boxes` by category, each (top, left, bottom, right) as fractions of height and
        width; `names`, the words that name each category in captions.
    """
    table = json.loads((_FOLDER / "annotations.json").read_text(encoding="utf-8"))
    found: dict[str, Any] | None = table["photos"].get(sample)
    if found is None:
        return None
    names = {thing: words.split() for thing, words in table["names"].items()}
    return found | {"names": {thing: names.get(thing, [thing]) for thing in found["boxes"]}}


def draw_samples() -> str:
    """Return the HTML of a button for each sample, with its credit."""
    buttons = "".join(
        f'<li><button type="button" data-sample="{n}" data-name="{sample.name}" '
        f'title="{escape(sample.credit)}" '
        f'aria-label="{sample.name}{", a known failure" * sample.failure}">'
        f'<img src="{_thumbnail(sample.path)}" alt="">'
        f"{'<span>a failure</span>' * sample.failure}</button></li>"
        for n, sample in enumerate(SAMPLES)
    )
    return (
        f'<h2>Examples</h2><ul class="samples">{buttons}</ul>'
        '<p class="credit">Photos: Flickr (CC BY 2.0), Lav Varshney (CC0), SpaceX (public domain). '
        "None is in the training data; the models fail on the marked one.</p>"
    )


def _thumbnail(path: Path) -> str:
    with Image.open(path) as photo:
        photo.thumbnail(_THUMBNAIL_PIXELS)
        return data_uri(photo.convert("RGB"))

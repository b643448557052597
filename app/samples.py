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
    """Of the file, without its ending."""
    credit: str
    """Who took it, and under which licence it is shown."""
    failure: bool = False
    """Whether the models are known to be wrong about it."""

    @property
    def path(self) -> Path:
        """The file."""
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
"""The first one is the demo of a fresh page."""

PICK = """element.addEventListener("click", (event) => {
  const sample = event.target.closest("button")?.dataset.sample;
  if (sample !== undefined) trigger("pick", { sample: Number(sample) });
});"""
"""Script of what `draw_samples` wrote."""


def name_sample(path: Path) -> str:
    """Return the name of the sample that lies there; nothing for any other photo."""
    return next((sample.name for sample in SAMPLES if sample.path == path), "")


@cache
def read_people(sample: str) -> dict[str, Any] | None:
    """Return what people said about a sample, if anything: captions, and boxes by what they name.

    A box is top, left, bottom and right, as shares of height and width; `names` holds the words of
    captions for each thing that has boxes.
    """
    table = json.loads((_FOLDER / "people.json").read_text(encoding="utf-8"))
    said: dict[str, Any] | None = table["photos"].get(sample)
    if said is None:
        return None
    names = {thing: words.split() for thing, words in table["names"].items()}
    return said | {"names": {thing: names.get(thing, [thing]) for thing in said["boxes"]}}


def draw_samples() -> str:
    """Draw a button for each sample, with its credit."""
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
        "None of them is in the training data; the model fails on the marked one.</p>"
    )


def _thumbnail(path: Path) -> str:
    with Image.open(path) as photo:
        photo.thumbnail(_THUMBNAIL_PIXELS)
        return data_uri(photo.convert("RGB"))

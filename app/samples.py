"""Sample photos: those the models are right about, and one they are not, marked as such."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

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


def draw_samples() -> str:
    """Draw a button for each sample, with its credit."""
    buttons = "".join(
        f'<li><button type="button" data-sample="{n}" title="{escape(sample.credit)}" '
        f'aria-label="{sample.name}{", a known failure" * sample.failure}">'
        f'<img src="{_thumbnail(sample.path)}" alt="">'
        f"{'<span>a failure</span>' * sample.failure}</button></li>"
        for n, sample in enumerate(SAMPLES)
    )
    return (
        f'<h2>Or try one of these</h2><ul class="samples">{buttons}</ul>'
        '<p class="credit">Photos: Flickr (CC BY 2.0), Lav Varshney (CC0), SpaceX (public domain). '
        "The model has not seen them before; it is wrong about the one marked.</p>"
    )


def _thumbnail(path: Path) -> str:
    with Image.open(path) as photo:
        photo.thumbnail(_THUMBNAIL_PIXELS)
        return data_uri(photo.convert("RGB"))

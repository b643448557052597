"""The app on this machine, with models that a test chooses."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app import build
from captioner.caption import Caption
from captioner.pipeline import Captioner, Prepared
from tests.captions import one_hot, word
from ui import launch_options

PLANTED = {"red": (0, 0), "green": (0, 3), "blue": (3, 0), "yellow": (3, 3)}
"""Words of `PlantedCaptioner`, and the region of a grid of 4 x 4 it looks at for each."""


class PlantedCaptioner(Captioner):
    """Says the same of every photo, and looks at known places."""

    def stream(self, photo: Prepared, **changes) -> Iterator[Caption]:
        words = [word(text, one_hot((4, 4), *place)) for text, place in PLANTED.items()]
        for count in range(1, 5):
            yield Caption(
                image=None,
                text=" ".join(list(PLANTED)[:count]),
                words=tuple(words[:count]),
                log_probability=-1.0,
                candidates=(),
                geometry=photo.geometry,
                checkpoint="planted",
                search=self.header.search,
            )


@contextmanager
def serve(captioners: Mapping[str, Captioner], **settings) -> Iterator[str]:
    """Serve the app as `ui.py` does, on a free port; give its address."""
    app = build(captioners, **settings)
    options = launch_options(host="127.0.0.1", port=None, mcp=False)
    _, url, _ = app.launch(**options, prevent_thread_lock=True, quiet=True)
    try:
        yield url
    finally:
        app.close(verbose=False)

"""The app in a process of its own, for Gradio leaves event loops and sockets open behind it.

`python -m tests.serving FOLDER` serves six apps as `ui.py` does, prints their addresses as JSON,
and stops when its input ends:

    toys       the models of conftest.py, for language models too
    planted    a model that says the same of every photo, and looks at known places
    doubted    the same, which doubts a word, the caption and the photo; the other; both together
    slow       a model that waits until FOLDER/go exists; one request may wait
    paced      a model that notes the height of each photo in FOLDER/paced, and goes no further than
               the number of photos in FOLDER/allowed, if that exists
    locked     the first toy, for those who know a password
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

import httpx

from app import build
from app.ensemble import LazyEnsemble
from captioner.photo.framing import Prepared
from captioner.pytorch import TorchCaptioner
from captioner.result.caption import Caption
from captioner.result.confidence import Judgement
from captioner.words.tokenizer import Tokenizer
from tests.captions import one_hot, word
from tests.conftest import CAPTIONS, TOYS
from ui import launch_options

PLANTED = {"red": (0, 0), "green": (0, 3), "blue": (3, 0), "yellow": (3, 3)}
"""What the planted model says, and the region of 4 x 4 it looks at for each word."""


class Planted(TorchCaptioner):
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


class Doubted(Planted):
    """The same, with one word doubtful, of a picture that is hardly a photo."""

    def stream(self, photo: Prepared, **changes) -> Iterator[Caption]:
        for caption in super().stream(photo, **changes):
            words = [replace(word, doubtful=word.text == "blue") for word in caption.words]
            yield replace(
                caption, words=tuple(words), judgement=Judgement(0.25, "low", 0.125, False)
            )


class Slow(TorchCaptioner):
    folder: Path

    def caption(self, *args, **changes) -> Caption:
        (self.folder / "started").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.05)
        return super().caption(*args, **changes)


class Paced(TorchCaptioner):
    folder: Path

    def caption(self, photo: Prepared, **changes) -> Caption:
        with (self.folder / "paced").open("a") as notes:
            print(photo.geometry.height, file=notes)
        number = len((self.folder / "paced").read_text().split())
        with suppress(FileNotFoundError):
            while number > int((self.folder / "allowed").read_text() or 0):
                time.sleep(0.02)
        return super().caption(photo, **changes)


def uploaded(url: str, photo: Path) -> dict[str, object]:
    """Upload a photo and return how to speak of it."""
    files = {"files": (photo.name, photo.read_bytes())}
    (path,) = httpx.post(f"{url}gradio_api/upload", files=files, timeout=120).json()
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def main(folder: Path) -> None:
    tokenizer = Tokenizer.train_words(CAPTIONS, min_count=1)
    toys = [TorchCaptioner(*make(tokenizer)) for make in TOYS.values()]
    slow = Slow(*TOYS["lstm"](tokenizer))
    paced = Paced(*TOYS["lstm"](tokenizer))
    slow.folder = paced.folder = folder
    one, other = (kind(*TOYS["transformer"](tokenizer)) for kind in (Doubted, Planted))
    one.header, other.header = (replace(one.header, name=name) for name in ("doubted", "planted"))
    together = LazyEnsemble([one, other], lambda: other)
    doubted = {own.header.name: own for own in (one, other, together)}
    apps = {
        "toys": build({toy.header.name: toy for toy in toys}),
        "planted": build({"planted": Planted(*TOYS["transformer"](tokenizer))}),
        "doubted": build(doubted),
        "slow": build({"slow": slow}, queue=1),
        "paced": build({"paced": paced}),
        "locked": build({"locked": toys[0]}),
    }
    urls = {}
    for name, app in apps.items():
        options = launch_options(host="127.0.0.1", port=None, mcp=name == "toys")
        options["auth"] = ("ann", "b:c") if name == "locked" else None
        with redirect_stdout(sys.stderr):  # what it says of MCP, it says even if quiet
            _, urls[name], _ = app.launch(**options, prevent_thread_lock=True, quiet=True)
    print(json.dumps(urls), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

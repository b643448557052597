"""Runs of `captioner folder` that die: at every system call that writes, one after the other.

`python -m tests.crashes FOLDER MODE` does it with captions that need no model, and without torch.
It prints how many crashes were survived, or ends with an error that names the call.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace

from captioner.folder.inputs import Filter, find_photos
from captioner.folder.job import Job
from captioner.folder.journal import Journal
from captioner.folder.progress import Progress
from captioner.folder.targets import Target
from captioner.folder.wording import Wording
from tests.photos import noise

PHOTOS = ("a.jpg", "b.png", "broken.jpg", "c.jpg", "sub/d.jpg")
KINDS = {
    "skip": ("txt",),
    "overwrite": ("txt", "xmp"),
    "append": ("txt", "xmp", "photo"),
    "prepend": ("txt",),
}
CALLS = ("fsync", "ftruncate", "mkdir", "open", "pwrite", "replace", "unlink", "write")


class Engine:
    """Captions photos by their names, two at a time."""

    def run(self, photos):
        batch = []
        for photo in photos:
            seen = SimpleNamespace(text=f"this is {photo.name}", log_probability=-1.5)
            batch.append((photo, "it is broken." if "broken" in photo.name else seen))
            if len(batch) == 2:
                yield batch
                batch = []
        if batch:
            yield batch


def prepare(folder: Path, mode: str) -> None:
    """Lay out photos, some of them with a sidecar."""
    (folder / "sub").mkdir(parents=True)
    for name in PHOTOS:
        noise(8, 8).save(folder / name)
        os.utime(folder / name, (0, 0))
    if mode != "skip":
        (folder / "b.txt").write_text("old b\n")
        (folder / "sub/d.txt").write_text("old d")


def work(folder: Path, mode: str, *, retry: bool = False) -> None:
    """One run over the folder."""
    with Journal(folder / "captions.jsonl", {"mode": "crash"}) as journal:
        progress = Progress("quiet")
        progress.failed = lambda name, reason: None  # type: ignore[method-assign]
        job = Job(
            journal,
            Engine,  # type: ignore[arg-type]
            wording=Wording(),
            targets=[Target(kind=kind, existing=mode) for kind in KINDS[mode]],  # type: ignore[arg-type]
            words=False,
            retry_failed=retry,
            progress=progress,
            root=folder,
        )
        with suppress(KeyboardInterrupt):
            job.run(find_photos(folder, Filter()))
        journal.tidy()


def dies(run: Callable[[], None], *, at: int, gently: bool = False) -> bool:
    """Whether a process that does this dies, when the given call is its last.

    Gently, it is interrupted there as if by Ctrl-C, and ends as it likes.
    """
    child = os.fork()
    if not child:
        calls = count(1)
        for name in CALLS:
            setattr(os, name, _deadly(getattr(os, name), name, calls, at, gently))
        with suppress(KeyboardInterrupt):
            run()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, f"call {at}: an error, see above"
    return os.WIFSIGNALED(status)


def _deadly(call: Callable, name: str, calls: Iterator[int], at: int, gently: bool) -> Callable:
    def counted(*arguments, **options):
        if next(calls) == at:
            if name == "write":  # half of it gets through
                file, content = arguments
                call(file, bytes(content)[: len(content) // 2])
            if gently:
                raise KeyboardInterrupt
            os.kill(os.getpid(), 9)
        return call(*arguments, **options)

    return counted


def contents(folder: Path) -> dict[str, object]:
    """Every file: its bytes, or the journal's lines in order of the photos."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = sorted(lines, key=lambda line: line["image"])
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def main(folder: Path, mode: str) -> None:
    prepare(folder / "whole", mode)
    work(folder / "whole", mode)
    work(folder / "whole", mode, retry=True)
    expected = contents(folder / "whole")
    assert len(expected["captions.jsonl"]) == len(PHOTOS), expected
    for number in count(1):
        place = folder / str(number)
        prepare(place, mode)
        died = dies(lambda place=place: work(place, mode), at=number)
        gentle = folder / f"{number}-interrupted"
        prepare(gentle, mode)
        dies(lambda place=gentle: work(place, mode), at=number, gently=True)
        work(gentle, mode)
        assert contents(gentle) == expected, (number, contents(gentle), expected)
        dies(lambda place=place: work(place, mode), at=number % 7 + 1)  # and again while recovering
        work(place, mode)
        dies(lambda place=place: work(place, mode, retry=True), at=number)
        work(place, mode)
        assert contents(place) == expected, (number, contents(place), expected)
        if not died:
            print(number - 1)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""Runs of `captioner folder` that die: at every system call that writes, one after the other.

`python -m tests.crashes FOLDER MODE` does it with captions that need no model, and without torch.
It prints how many crashes were survived, or ends with an error that names the call.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace

from captioner.errors import CaptionerError
from captioner.folder.job import Job
from captioner.folder.journal.journal import Journal
from captioner.folder.outputs.edits import read_edits, remember_tables
from captioner.folder.outputs.tables import write_table
from captioner.folder.outputs.template import CaptionTemplate
from captioner.folder.progress import Progress
from captioner.folder.sidecars.targets import Target
from captioner.folder.sources.filters import Filter
from captioner.folder.sources.inputs import find_photos
from captioner.result.confidence import Judgement
from tests.photos import noise

PHOTOS = ("a.jpg", "b.png", "broken.jpg", "c.jpg", "sub/d.jpg")
KINDS = {
    "skip": ("txt",),
    "overwrite": ("txt", "xmp"),
    "append": ("txt", "xmp", "photo"),
    "prepend": ("txt",),
    "missing": ("txt", "xmp", "photo"),
    "replaced": ("txt", "xmp", "photo"),
    "edited": ("txt", "xmp", "photo"),
    "repair": (),
}
FINISHED = ("missing", "replaced", "edited", "repair")
"""Modes in which a run that is over is followed by another one; the others are of the first run."""
CALLS = ("fsync", "ftruncate", "mkdir", "open", "pwrite", "replace", "unlink", "write")


class Engine:
    """Captions photos by their names, two at a time."""

    def run(self, photos):
        batch = []
        for photo in photos:
            again = " again" if os.stat(photo.path).st_mtime else ""
            seen = SimpleNamespace(
                text=f"this is {photo.name}{again}",
                log_probability=-1.5,
                judgement=Judgement(),
            )
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
    if mode not in ("skip", *FINISHED):
        (folder / "b.txt").write_text("old b\n")
        (folder / "sub/d.txt").write_text("old d")
    if mode in FINISHED:
        work(folder, mode, kinds=() if mode == "missing" else KINDS[mode])
    if mode == "replaced":
        for name in ("b.png", "sub/d.jpg"):
            noise(16, 16).save(folder / name)
            os.utime(folder / name, (9999, 9999))
        (folder / "b.txt").write_text("written by hand")
    if mode == "edited":
        table = folder / "captions.csv"
        table.write_bytes(table.read_bytes().replace(b"captioned,this is", b"captioned,that was"))
    if mode == "repair":
        journal = folder / "captions.jsonl"
        journal.write_bytes(journal.read_bytes().replace(b'"b.png"', b"5", 1))


def work(
    folder: Path, mode: str, *, retry: bool = False, kinds: tuple[str, ...] | None = None
) -> None:
    """One run over the folder."""
    existing = "skip" if mode in FINISHED else mode
    kinds = KINDS[mode] if kinds is None else kinds
    tables = [folder / "captions.csv"] if mode == "edited" else []
    path = folder / "captions.jsonl"
    with Journal(path, {"mode": "crash"}, repair=mode == "repair") as journal:
        progress = Progress("quiet")
        progress.failed = lambda name, reason: None  # type: ignore[method-assign]
        job = Job(
            journal,
            Engine,  # type: ignore[arg-type]
            template=CaptionTemplate(),
            targets=[Target(kind=kind, existing=existing) for kind in kinds],  # type: ignore[arg-type]
            words=False,
            retry_failed=retry,
            progress=progress,
            root=folder,
        )
        with suppress(KeyboardInterrupt):
            job.updater.keep(read_edits(tables, journal.index).items())
            job.run(find_photos(folder, Filter()))
        job.updater.keep(read_edits(tables, journal.index).items())
        journal.tidy()
        for table in tables:
            write_table(table, path, words=False)
        remember_tables(tables, path)


def dies(run: Callable[[], None], *, at: int, by: str = "kill") -> bool:
    """Whether a process that does this dies, when the given call is its last.

    It is killed there, or interrupted as if by Ctrl-C (`key`), or the disk is full (`full`), and it
    ends as it likes.
    """
    child = os.fork()
    if not child:
        calls = count(1)
        for name in CALLS:
            setattr(os, name, _deadly(getattr(os, name), name, calls, at, by))
        with suppress(KeyboardInterrupt, CaptionerError):
            run()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, f"call {at}: an error, see above"
    return os.WIFSIGNALED(status)


def _deadly(call: Callable, name: str, calls: Iterator[int], at: int, by: str) -> Callable:
    def counted(*arguments, **options):
        if next(calls) == at:
            if name == "write":  # half of it gets through
                file, content = arguments
                call(file, bytes(content)[: len(content) // 2])
            if by == "key":
                raise KeyboardInterrupt
            if by == "full" and name in ("unlink", "ftruncate"):  # they need no room
                return call(*arguments, **options)
            if by == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), 9)
        return call(*arguments, **options)

    return counted


def contents(folder: Path) -> dict[str, object]:
    """Every file: its bytes, or the journal's lines in order of the photos."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "captions.damaged.jsonl":  # a run killed in between may set more aside
            found[name] = path.read_bytes().splitlines()[0]
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = sorted(lines, key=lambda line: str(line["image"]))
        elif path.suffix == ".csv":
            found[name] = sorted(path.read_bytes().splitlines())
        elif path.name == "captions.tables.json":  # the order of the rows may differ
            found[name] = "there"
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def _differences(folder: Path, expected: dict[str, object]) -> dict[str, object]:
    found = contents(folder)
    return {
        name: (found.get(name), expected.get(name))
        for name in {**found, **expected}
        if found.get(name) != expected.get(name)
    }


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
        for by in ("key", "full"):
            other = folder / f"{number}-{by}"
            prepare(other, mode)
            dies(lambda place=other: work(place, mode), at=number, by=by)
            work(other, mode)
            assert contents(other) == expected, (number, by, _differences(other, expected))
        dies(lambda place=place: work(place, mode), at=number % 7 + 1)  # and again while recovering
        work(place, mode)
        dies(lambda place=place: work(place, mode, retry=True), at=number)
        work(place, mode)
        assert contents(place) == expected, (number, _differences(place, expected))
        if not died:
            print(number - 1)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

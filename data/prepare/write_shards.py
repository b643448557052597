"""Writes tar shards, resuming after a kill.

In a shard, each photo is followed by a JSON file of the same name with its captions, as in
WebDataset. Beside the shards are `captions.jsonl`, all captions in a format that training reads,
and `manifest.json`, the settings of the shards and their sizes in bytes.

A shard is renamed into place once it is complete and fsynced. A killed run resumes with the first
missing shard, unless a photo was replaced since; the same photos and settings always give the same
shards.
"""

import io
import json
import multiprocessing
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioner.errors import DataError
from data.coco import Record
from data.image_source import ImageSource
from data.prepare.shard_plan import (
    PlannedShard,
    ShardSettings,
    describe_record,
    fingerprint,
    plan_shards,
)
from data.prepare.shrink import pack_photo

FORMAT = 2


def write_shards(
    records: Sequence[Record],
    source: ImageSource,
    output: Path,
    *,
    settings: ShardSettings,
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Write the missing shards, then the captions and the manifest.

    Args:
        records: photos, captions and splits.
        source: the photos.
        output: folder for the shards, created if missing.
        settings: settings of the shards.
        workers: worker processes; 1 writes in this process.
        say: called with a line for every shard.

    Raises:
        DataError: a photo is missing or cannot be read, the folder holds shards of other photos or
            settings, or it cannot be written to.
    """
    source.require(record.image for record in records)
    shards = plan_shards(records, settings)
    key = {"format": FORMAT, **asdict(settings), "records": fingerprint(records, source)}
    with _explained(output):
        output.mkdir(parents=True, exist_ok=True)
        _claim(output, key)
        for left in output.glob(".*.unfinished"):
            left.unlink()
        missing = [shard for shard in shards if not (output / shard.name).exists()]
        if len(missing) < len(shards):
            say(f"{len(shards) - len(missing)} of {len(shards)} shards exist already")
        done = len(shards) - len(missing)
        for shard, size in _write_all(missing, source, output, settings, workers):
            done += 1
            say(
                f"{shard.name}  {len(shard.records)} photos, {size / 1e6:.1f} MB  "
                f"{done}/{len(shards)}"
            )
        _write_captions(shards, output)
        made = [
            {
                "name": shard.name,
                "split": shard.split,
                "photos": len(shard.records),
                "captions": sum(len(record.captions) for record in shard.records),
                "bytes": (output / shard.name).stat().st_size,
            }
            for shard in shards
        ]
        _replace(output / "manifest.json", _json({**key, "shards": made}))


def _claim(output: Path, key: dict[str, Any]) -> None:
    """Check that existing shards come from the same photos and settings."""
    manifest = output / "manifest.json"
    if not manifest.exists():
        if any(output.glob("*.tar")):
            raise DataError(
                f"{output} holds archives that were not made by data.prepare; choose another "
                "folder with --output."
            )
        _replace(manifest, _json(key))
        return
    try:
        there = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{manifest} is damaged ({error}); delete {output} and start over."
        ) from error
    other = [name for name in key if there.get(name) != key[name]]
    if other:
        what = "captions or photos" if other == ["records"] else ", ".join(other)
        raise DataError(
            f"{output} holds shards made with other {what}; choose another folder with --output, "
            "or delete this one."
        )


_task: tuple[ImageSource, Path, ShardSettings] | None = None
"""Arguments of a worker process, sent once."""


def _write_all(
    shards: Sequence[PlannedShard],
    source: ImageSource,
    output: Path,
    settings: ShardSettings,
    workers: int,
) -> Iterator[tuple[PlannedShard, int]]:
    """Write shards, concurrently with several workers; yield each with its size in bytes."""
    if workers <= 1 or len(shards) <= 1:
        for shard in shards:
            yield shard, _write(shard, source, output, settings)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(shards)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(source, output, settings),
    )
    try:
        waiting: list[tuple[PlannedShard, Future[int]]] = [
            (shard, pool.submit(_write_here, shard)) for shard in shards
        ]
        for shard, future in waiting:
            yield shard, future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A worker process was killed, perhaps because memory ran out. The same command resumes "
            "after the complete shards; fewer --workers need less memory."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(*task: Any) -> None:
    global _task  # noqa: PLW0603  # one per process
    _task = task
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_here(shard: PlannedShard) -> int:
    assert _task is not None
    return _write(shard, *_task)


def _write(shard: PlannedShard, source: ImageSource, output: Path, settings: ShardSettings) -> int:
    """Write one shard; return its size in bytes."""
    path = output / shard.name
    with (
        _whole(path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for record, key in zip(shard.records, shard.keys, strict=True):
            content, suffix = pack_photo(
                source.read(record.image),
                name=record.image,
                short_side=settings.short_side,
                quality=settings.quality,
            )
            _add(tar, f"{key}.{suffix}", content)
            _add(tar, f"{key}.json", _json(describe_record(record)))
    return path.stat().st_size


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # fixed date and owner, for reproducible archives
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_captions(shards: Sequence[PlannedShard], output: Path) -> None:
    """Write the captions with the photos' names in the shards, in the order of the shards."""
    lines = []
    for shard in shards:
        with tarfile.open(output / shard.name) as tar:
            names = [n for n in tar.getnames() if not n.endswith(".json")]
        for record, name in zip(shard.records, names, strict=True):
            lines.append(
                json.dumps({**describe_record(record), "image": name}, ensure_ascii=False) + "\n"
            )
    _replace(output / "captions.jsonl", "".join(lines).encode())


def _json(table: dict[str, Any]) -> bytes:
    return json.dumps(table, ensure_ascii=False, indent=1).encode()


@contextmanager
def _whole(path: Path) -> Iterator[io.BufferedWriter]:
    """Yield a file that gets its name once it is written and fsynced."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    with _whole(path) as file:
        file.write(content)


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{output} cannot be written: {error.strerror or error}. Make room or choose another "
            "folder; the same command resumes after the complete shards."
        ) from error

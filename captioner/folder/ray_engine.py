"""Photos into captions on a Ray cluster, or on all cores of this machine.

    RayEngine.run     photos -> chunks -> Ray Data -> outcomes, in the order of the photos
    _Worker           an actor that holds the model: one a GPU, or one a core

Ray Data starts a worker that dies anew and gives it its chunk again. A chunk reaches the journal as
a whole or not at all, so nothing is lost and nothing is written twice.
"""

import os
import pickle
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from captioner.errors import CaptionerError, MissingExtraError
from captioner.folder.inputs import Photo

if TYPE_CHECKING:
    from captioner.folder.engine import Engine

LoadEngine = Callable[..., "Engine"]
"""Makes a worker's engine from the checkpoints' files and a number of `threads` that decode."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""What is set for Ray unless the user has set it: the command shows progress by itself."""
_ONLY_HERE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Lets a cluster begun on this machine listen on 127.0.0.1 alone; Ray has no other name for it."""
_OBJECTS = 512 * 2**20
"""Bytes of shared memory for a cluster begun on this machine; what does not fit goes to disk."""

_PATIENCE = 20
"""Seconds that a cluster has to answer."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a worker tells of a caption: what is written of it, without the tensors."""

    text: str
    """The sentence."""
    log_probability: float
    """Of the sentence: natural logarithm."""
    words: list[dict[str, Any]] | None
    """As in `Caption.to_dict`; None if they are not written."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as of a Caption."""
        return {"words": self.words}


class RayEngine:
    """Captions photos on the cluster that RAY_ADDRESS names, or on one begun for this run.

    The other machines see the photos under the same paths. The checkpoints are sent to them.

    Args:
        checkpoints: files of the model, or of the members of an ensemble.
        load_engine: what a worker makes its engine with.
        words: whether captions come with probability and attention of every word.
        gpus: whether models run on GPUs where there are some.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self, checkpoints: Sequence[Path], load_engine: LoadEngine, *, words: bool, gpus: bool
    ) -> None:
        self.checkpoints = checkpoints
        self.load_engine = load_engine
        self.words = words
        self.gpus = gpus
        _import_ray()

    def run(self, photos: Iterable[Photo]) -> Iterator[list[tuple[Photo, Told | str]]]:
        """Yield the outcomes in the order of the photos, a chunk at a time.

        Raises:
            CaptionerError: there is no such cluster, or it fails.
        """
        ray, data, arrow = _import_ray()
        with _cluster(ray):
            try:
                chunks, sent = [], 0
                for chunk in _chunks(photos):
                    sent += len(chunk)
                    chunks.append(ray.put(arrow.table({"photos": [pickle.dumps(chunk)]})))
                if not chunks:
                    return
                returned = 0
                for row in self._dataset(ray, data, chunks).iter_rows():
                    outcomes = pickle.loads(row["outcomes"])
                    returned += len(outcomes)
                    yield outcomes
            except ray.exceptions.RayError as error:
                raise CaptionerError(
                    f"the Ray cluster failed: {_reason(error)}; what is written so far is kept, "
                    "and the same command goes on from there."
                ) from error
            if returned != sent:
                raise CaptionerError(
                    f"the Ray cluster returned {returned} of {sent} photos; run the same command "
                    "again to caption the others."
                )

    def _dataset(self, ray: Any, data: Any, chunks: list[Any]) -> Any:
        """Describe the work to Ray Data, which begins when the first row is asked for."""
        there = ray.cluster_resources()
        cores = max(1, int(there.get("CPU", 1)))
        gpus = int(there.get("GPU", 0)) if self.gpus else 0
        workers = gpus or cores
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True  # whose text file it is, the order decides
        return data.from_arrow_refs(chunks).map(
            _Worker,
            fn_constructor_kwargs={
                "checkpoints": [checkpoint.read_bytes() for checkpoint in self.checkpoints],
                "load_engine": self.load_engine,
                "threads": max(1, cores // workers),
                "words": self.words,
            },
            compute=data.ActorPoolStrategy(size=min(workers, len(chunks))),
            **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
        )


class _Worker:
    """Holds the model in a process of its own."""

    def __init__(
        self, *, checkpoints: list[bytes], load_engine: LoadEngine, threads: int, words: bool
    ) -> None:
        self.words = words
        with TemporaryDirectory() as folder:
            files = [Path(folder) / f"{number}.safetensors" for number in range(len(checkpoints))]
            for file, checkpoint in zip(files, checkpoints, strict=True):
                file.write_bytes(checkpoint)
            self.engine = load_engine(files, threads=threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Caption a chunk."""
        photos: list[Photo] = pickle.loads(row["photos"])
        outcomes = [
            (photo, outcome if isinstance(outcome, str) else self._tell(outcome))
            for batch in self.engine.run(photos)
            for photo, outcome in batch
        ]
        return {"outcomes": pickle.dumps(outcomes)}

    def _tell(self, caption: Any) -> Told:
        return Told(
            text=caption.text,
            log_probability=caption.log_probability,
            words=caption.to_dict()["words"] if self.words else None,
        )


def _chunks(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    """Divide the photos: small chunks first, so that few photos reach all workers, then larger."""
    feed = iter(photos)
    for number in count():
        size = min(512, 16 << number // 16)
        chunk = [replace(photo, path=os.path.abspath(photo.path)) for photo in islice(feed, size)]
        if not chunk:
            return
        yield chunk


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Be connected to a cluster; one that was begun here ends here."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {}
    if _is_local():
        options = {
            "include_dashboard": False,
            "object_store_memory": _OBJECTS,
            "num_cpus": _cores(),
        }
    try:
        _knock()
        with _muted():
            ray.init(log_to_driver=False, logging_level="CRITICAL", **options)
    except Exception as error:  # it lets anything through that goes wrong on the way
        raise CaptionerError(
            f"no Ray cluster can be reached or begun: {_reason(error)}; start one with `ray "
            "start` and give its address in RAY_ADDRESS, or leave that empty."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _is_local() -> bool:
    """Whether the cluster is one that is begun here."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def _knock() -> None:
    """Make sure that somebody answers at the cluster's address: Ray would ask for ever.

    Raises:
        OSError: nobody does.
    """
    host, _, port = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _cores() -> int:
    """Cores that this process may use: a job of a scheduler has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _muted() -> Iterator[None]:
    """Keep what Ray prints past Python out of standard error, which may be read as JSON."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _reason(error: Exception) -> str:
    """Return what the last line of an error says; Ray puts whole tracebacks into them."""
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1].strip()).rstrip(".")


def _import_ray() -> tuple[Any, Any, Any]:
    """Import Ray, Ray Data and Arrow, quietly.

    Raises:
        MissingExtraError: they are not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if _is_local():
        os.environ.update(_ONLY_HERE)  # read when Ray is imported
    try:
        import pyarrow  # noqa: PLC0415  # an extra
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError(
            "--engine ray needs Ray; install it: pip install 'captioner[ray]'"
        ) from None
    return ray, ray.data, pyarrow

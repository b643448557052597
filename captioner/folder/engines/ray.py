"""Captions photos on a Ray cluster, or on all cores of this machine.

    RayEngine.run     photos -> chunks -> Ray Data -> outcomes, in the order of the photos
    _Worker           an actor that holds the model: one per GPU, or one per core

Ray Data restarts a worker that dies and gives it its chunk again; `tracker` splits the chunk. A
chunk reaches the journal as a whole or not at all, so nothing is lost or written twice.
"""

import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from captioner.checkpoint.files import files_of
from captioner.errors import CaptionerError, CheckpointError
from captioner.folder.engines.cluster import cluster, import_ray, reason
from captioner.folder.engines.crashes import CrashTracker, Piece
from captioner.folder.sources.inputs import Photo
from captioner.folder.sources.remote import is_remote

if TYPE_CHECKING:
    from captioner.folder.engines.local import LocalEngine, Outcome
    from captioner.result.caption import Caption

LoadEngine = Callable[..., "LocalEngine"]
"""Creates a worker's engine from checkpoint files and the number of `threads` that read images."""

_DEADLY = (
    "crashed the process that reads it, twice: it makes an image decoder crash or needs more "
    "memory than there is. Resave it with another program, smaller if it is huge, and use "
    "--retry-failed."
)


class RayEngine:
    """Captions photos on the cluster at RAY_ADDRESS, or on one started for this run.

    All machines must see the photos under the same paths. Checkpoints are sent to them.

    Args:
        checkpoints: files of the model, or of an ensemble's members.
        load_engine: creates the engine of a worker.
        gpus: whether to use GPUs if the cluster has any.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, checkpoints: Sequence[Path], load_engine: LoadEngine, *, gpus: bool) -> None:
        for checkpoint in checkpoints:
            if checkpoint.is_dir():
                raise CheckpointError(
                    f"{checkpoint}: is a folder, but the Ray engine needs a single file; convert "
                    "it with `captioner convert`."
                )
        self.checkpoints = checkpoints
        self.load_engine = load_engine
        self.gpus = gpus
        import_ray()

    def run(self, photos: Iterable[Photo]) -> Iterator[list["Outcome"]]:
        """Yield the outcomes in the order of the photos, chunk by chunk.

        Raises:
            CaptionerError: the cluster cannot be reached, or fails.
        """
        ray, data, arrow = import_ray()
        with cluster(ray):
            try:
                chunks: list[Any] = []
                sent = 0
                for chunk in _chunks(photos):
                    sent += len(chunk)
                    row = {"chunk": [len(chunks)], "photos": [_pack(chunk)]}
                    chunks.append(arrow.table(row))
                if not chunks:
                    return
                returned = 0
                for row in self._dataset(ray, data, chunks).iter_rows():
                    outcomes = _unpack(row["outcomes"])
                    returned += len(outcomes)
                    yield outcomes
            except ray.exceptions.RayError as error:
                raise CaptionerError(
                    f"the Ray cluster failed: {reason(error)}; captions written so far are kept, "
                    "and the same command resumes."
                ) from error
            if returned != sent:
                raise CaptionerError(
                    f"the Ray cluster returned {returned} of {sent} photos; run the same command "
                    "again for the rest."
                )

    def _dataset(self, ray: Any, data: Any, chunks: list[Any]) -> Any:
        """Return the lazy Ray data set; work begins when its first row is requested."""
        there = ray.cluster_resources()
        cores = max(1, int(there.get("CPU", 1)))
        gpus = int(there.get("GPU", 0)) if self.gpus else 0
        workers = gpus or cores
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True  # order decides who gets a shared sidecar
        tracker = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(CrashTracker)
        return data.from_arrow(chunks).map(
            _Worker,
            fn_constructor_kwargs={
                "checkpoints": [
                    {file.name: file.read_bytes() for file in files_of(checkpoint)}
                    for checkpoint in self.checkpoints
                ],
                "load_engine": self.load_engine,
                "threads": max(1, cores // workers),
                "tracker": tracker.remote(workers),
            },
            compute=data.ActorPoolStrategy(size=min(workers, len(chunks))),
            **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
        )


class _Worker:
    """Holds the model in its own process."""

    def __init__(
        self,
        *,
        checkpoints: list[dict[str, bytes]],
        load_engine: LoadEngine,
        threads: int,
        tracker: Any,
    ) -> None:
        self.tracker = tracker
        self._ask("start")
        with TemporaryDirectory() as folder:
            files = []
            for number, contents in enumerate(checkpoints):
                (own := Path(folder) / str(number)).mkdir()
                for name, content in contents.items():
                    (own / name).write_bytes(content)
                files.append(own / next(iter(contents)))
            self.engine = load_engine(files, threads=threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Caption a chunk: whole, or in pieces if it has crashed a worker."""
        chunk, photos = row["chunk"], _unpack(row["photos"])
        pieces: list[Piece] = self._ask("open", chunk, len(photos))
        outcomes: list[Outcome] = []
        for piece in pieces:
            part = photos[piece.first : piece.first + piece.count]
            if piece.hopeless:
                outcomes += [(photo, _DEADLY) for photo in part]
                continue
            self._ask("take", chunk, piece)
            for batch in self.engine.run(part):
                outcomes += [
                    (photo, found if isinstance(found, str) else _without_layers(found))
                    for photo, found in batch
                ]
        self._ask("close", chunk)
        return {"outcomes": _pack(outcomes)}

    def _ask(self, what: str, *arguments: Any) -> Any:
        """Call the crash tracker."""
        ray, _, _ = import_ray()
        return ray.get(getattr(self.tracker, what).remote(*arguments))


def _without_layers(caption: "Caption") -> "Caption":
    """Keep what is written of a caption: of its words' attention, the view that is shown."""
    words = (
        replace(word, heads=None, rollout=None, evidence=None, gradient=None)
        for word in caption.words
    )
    return replace(caption, words=tuple(words), candidates=())


def _chunks(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    """Split the photos into chunks: small ones first, so that all workers start early."""
    feed = iter(photos)
    for number in count():
        size = min(512, 16 << number // 16)
        chunk = [
            photo if is_remote(photo.path) else replace(photo, path=os.path.abspath(photo.path))
            for photo in islice(feed, size)
        ]
        if not chunk:
            return
        yield chunk


def _pack(content: Any) -> bytes:
    """Serialise and compress; paths compress well."""
    return zlib.compress(pickle.dumps(content), 1)


def _unpack(content: bytes) -> Any:
    return pickle.loads(zlib.decompress(content))

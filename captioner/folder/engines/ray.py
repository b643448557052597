"""Photos into captions on a Ray cluster, or on all cores of this machine.

    RayEngine.run     photos -> chunks -> Ray Data -> outcomes, in the order of the photos
    _Worker           an actor that holds the model: one a GPU, or one a core

Ray Data starts a worker that dies anew and gives it its chunk again, in pieces: `tracker`. A chunk
reaches the journal as a whole or not at all, so nothing is lost and nothing is written twice.
"""

import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from captioner.result.confidence import Judgement

if TYPE_CHECKING:
    from captioner.folder.engines.local import LocalEngine

LoadEngine = Callable[..., "LocalEngine"]
"""Makes a worker's engine from the checkpoints' files and a number of `threads` that decode."""

_DEADLY = (
    "it ended the process that reads it, twice, with no other photo in hand: it makes a decoder "
    "crash or takes more memory than there is. Save it anew with another program, smaller if it is "
    "huge, and give --retry-failed."
)


@dataclass(frozen=True, kw_only=True)
class RemoteCaption:
    """What a worker tells of a caption: what is written of it, without the tensors."""

    text: str
    """The sentence."""
    log_probability: float
    """Of the sentence: natural logarithm."""
    judgement: Judgement
    """How far it can be believed."""
    looks: dict[str, Any]
    """What `Caption.to_dict` says; empty if nothing but the text is written."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as of a Caption."""
        return self.looks


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
        for checkpoint in checkpoints:
            if checkpoint.is_dir():
                raise CheckpointError(
                    f"{checkpoint}: is a folder, and one file is sent to the other machines; make "
                    "it one with `captioner convert`."
                )
        self.checkpoints = checkpoints
        self.load_engine = load_engine
        self.words = words
        self.gpus = gpus
        import_ray()

    def run(self, photos: Iterable[Photo]) -> Iterator[list[tuple[Photo, RemoteCaption | str]]]:
        """Yield the outcomes in the order of the photos, a chunk at a time.

        Raises:
            CaptionerError: there is no such cluster, or it fails.
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
                    f"the Ray cluster failed: {reason(error)}; what was written so far is kept, "
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
                "words": self.words,
                "tracker": tracker.remote(workers),
            },
            compute=data.ActorPoolStrategy(size=min(workers, len(chunks))),
            **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
        )


class _Worker:
    """Holds the model in a process of its own."""

    def __init__(
        self,
        *,
        checkpoints: list[dict[str, bytes]],
        load_engine: LoadEngine,
        threads: int,
        words: bool,
        tracker: Any,
    ) -> None:
        self.words = words
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
        """Caption a chunk, as a whole unless a worker ended with it in hand."""
        chunk, photos = row["chunk"], _unpack(row["photos"])
        pieces: list[Piece] = self._ask("open", chunk, len(photos))
        outcomes: list[tuple[Photo, RemoteCaption | str]] = []
        for piece in pieces:
            part = photos[piece.first : piece.first + piece.count]
            if piece.hopeless:
                outcomes += [(photo, _DEADLY) for photo in part]
                continue
            self._ask("take", chunk, piece)
            for batch in self.engine.run(part):
                outcomes += [
                    (photo, found if isinstance(found, str) else self._tell(found))
                    for photo, found in batch
                ]
        self._ask("close", chunk)
        return {"outcomes": _pack(outcomes)}

    def _ask(self, what: str, *arguments: Any) -> Any:
        """Call the one who knows what every worker has in hand."""
        ray, _, _ = import_ray()
        return ray.get(getattr(self.tracker, what).remote(*arguments))

    def _tell(self, caption: Any) -> RemoteCaption:
        return RemoteCaption(
            text=caption.text,
            log_probability=caption.log_probability,
            judgement=caption.judgement,
            looks=caption.to_dict() if self.words else {},
        )


def _chunks(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    """Divide the photos: small chunks first, so that few photos reach all workers, then larger."""
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
    """Make it small: paths resemble each other."""
    return zlib.compress(pickle.dumps(content), 1)


def _unpack(content: bytes) -> Any:
    return pickle.loads(zlib.decompress(content))

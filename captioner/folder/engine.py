"""Photos into captions: threads decode while the model works on the batch before."""

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import torch

from captioner.caption import Caption
from captioner.config import SearchConfig
from captioner.errors import ImageError
from captioner.folder.inputs import Photo
from captioner.pipeline import Captioner, Prepared

Outcome = tuple[Photo, Caption | str]
"""A photo and its caption, or the reason why it has none."""

_AHEAD = 2
"""Batches that are decoded, or waiting for it, beside the one the model works on."""


class Engine:
    """Captions photos batch by batch, holding a few batches in memory however many there are.

    Args:
        captioner: the model.
        search: how captions are looked for.
        batch_size: photos captioned at once; halved for good where memory does not suffice.
        workers: threads that read and decode. Pillow decodes outside Python's lock.
    """

    def __init__(
        self, captioner: Captioner, *, search: SearchConfig, batch_size: int, workers: int
    ) -> None:
        self.captioner = captioner
        self.search = search
        self.batch_size = batch_size
        self.workers = workers

    def run(self, photos: Iterable[Photo]) -> Iterator[list[Outcome]]:
        """Yield the outcomes in the order of the photos, a batch at a time."""
        feed = iter(photos)
        waiting: deque[tuple[Photo, Future[Prepared | str]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        try:
            while True:
                room = (1 + _AHEAD) * self.batch_size - len(waiting)
                for photo in islice(feed, room):
                    waiting.append((photo, pool.submit(self._prepare, photo)))
                if not waiting:
                    return
                size = min(self.batch_size, len(waiting))
                batch = [waiting.popleft() for _ in range(size)]
                yield self._caption([(photo, future.result()) for photo, future in batch])
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, photo: Photo) -> Prepared | str:
        """Read and decode a photo, or say why it cannot be."""
        try:
            return self.captioner.prepare(photo.read(), name=photo.name)
        except ImageError as error:
            return str(error).removeprefix(f"{photo.name}: ")
        except Exception as error:  # one photo must not end a run of thousands
            return f"cannot be prepared ({type(error).__name__}: {error})."

    def _caption(self, batch: Sequence[tuple[Photo, Prepared | str]]) -> list[Outcome]:
        """Caption those of a batch that could be read."""
        good = [prepared for _, prepared in batch if isinstance(prepared, Prepared)]
        captions = iter(self._caption_all(good))
        return [
            (photo, next(captions) if isinstance(prepared, Prepared) else prepared)
            for photo, prepared in batch
        ]

    def _caption_all(self, photos: list[Prepared]) -> list[Caption | str]:
        """Caption photos at once, or in smaller batches where memory does not suffice."""
        done: list[Caption | str] = []
        while len(done) < len(photos):
            part = photos[len(done) : len(done) + self.batch_size]
            try:
                done += self.captioner.caption_batch(part, search=self.search)
                continue
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
            # Out of the `except`, whose error keeps the tensors of the failed batch alive.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(part) == 1:
                done.append("there is not enough memory to caption it.")
            else:
                self.batch_size = max(1, len(part) // 2)
        return done


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Tell want of memory from other errors; on the CPU PyTorch has no type for it."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "allocate memory" in str(error)

"""Captions photos in this process: threads read images while the model works on earlier batches.

Decoding takes many small steps, which scale poorly over cores. So on a CPU several batches run
side by side in lanes, each on its own cores; on a GPU two, so that one is encoded while the other
generates words.
"""

import gc
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from captioner.config import SearchConfig
from captioner.errors import ImageError
from captioner.folder.engines.sizing import BatchSize
from captioner.folder.sources.inputs import Photo
from captioner.photo.framing import Prepared
from captioner.pipeline import Captioner
from captioner.result.caption import Caption

Outcome = tuple[Photo, Caption | str]
"""A photo and its caption, or the reason it failed."""

_Batch = Sequence[tuple[Photo, "Future[Prepared | str]"]]


class LocalEngine:
    """Captions photos batch by batch; memory does not depend on the number of photos.

    Args:
        captioner: the model, as `Captioner.for_bulk` returns it.
        search: decoding settings.
        batch_size: photos per batch, halved for good if memory runs out; None finds the fastest
            size during the run.
        workers: threads that read images; Pillow releases the GIL while it decodes.
        words: whether captions include probability and attention of every word.
    """

    def __init__(
        self,
        captioner: Captioner,
        *,
        search: SearchConfig,
        batch_size: int | None,
        workers: int,
        words: bool = True,
    ) -> None:
        self.captioner = captioner
        self.search = search
        self.workers = workers
        self.words = words
        self._size = BatchSize(batch_size, captioner.has_room)

    @property
    def batch_size(self) -> int:
        """Current number of photos per batch."""
        return self._size.now

    def run(self, photos: Iterable[Photo]) -> Iterator[list[Outcome]]:
        """Yield the outcomes in the order of the photos, batch by batch."""
        feed = iter(photos)
        waiting: deque[Future[list[Outcome]]] = deque()
        decoding = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        with self.captioner.lanes() as lanes:
            captioning = ThreadPoolExecutor(lanes, thread_name_prefix="caption")
            try:
                while True:
                    while len(waiting) < 2 * lanes:
                        batch = [
                            (photo, decoding.submit(self._prepare, photo))
                            for photo in islice(feed, self.batch_size)
                        ]
                        if not batch:
                            break
                        waiting.append(captioning.submit(self._caption, batch))
                    if not waiting:
                        return
                    yield waiting.popleft().result()
            finally:  # an early stop does not wait for batches in progress
                for pool in (captioning, decoding):
                    pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, photo: Photo) -> Prepared | str:
        """Read a photo, or return the reason why it cannot be read."""
        try:
            return self.captioner.prepare(photo.read(), name=photo.name)
        except ImageError as error:
            return str(error).removeprefix(f"{photo.name}: ")
        except MemoryError:
            return "not enough memory to read it; use fewer --workers."
        except Exception as error:  # one photo must not end a run of thousands
            mistake = f"{type(error).__name__}: {error}"
            return f"internal error ({mistake}); please report this bug."

    def _caption(self, batch: _Batch) -> list[Outcome]:
        """Caption the photos of a batch that could be read."""
        prepared = [(photo, future.result()) for photo, future in batch]
        good = [found for _, found in prepared if isinstance(found, Prepared)]
        captions = iter(self.caption_all(good))
        return [
            (photo, next(captions) if isinstance(found, Prepared) else found)
            for photo, found in prepared
        ]

    def caption_all(self, photos: list[Prepared]) -> list[Caption | str]:
        """Caption photos together, or in smaller batches if memory runs out."""
        done: list[Caption | str] = []
        while len(done) < len(photos):
            part = photos[len(done) : len(done) + self.batch_size]
            started = time.perf_counter()
            try:
                done += self._caption_part(part)
                self._size.record_time(len(part), time.perf_counter() - started)
                continue
            except RuntimeError as error:
                done += self._caption_each(part, error)
                continue
            except MemoryError:
                pass
            gc.collect()  # outside `except`, whose traceback keeps the batch's tensors alive
            if len(part) == 1:
                done.append(
                    "not enough memory to caption it; end other programs, then use --retry-failed."
                )
            else:
                self._size.record_out_of_memory(len(part))
        return done

    def _caption_each(self, photos: list[Prepared], error: Exception) -> list[Caption | str]:
        """Caption photos one by one after an error, to find the photo that causes it.

        Raises:
            RuntimeError: every one of several photos fails, so the photos are not the cause.
        """
        done: list[Caption | str] = []
        for photo in photos:
            try:
                done += self._caption_part([photo])
            except RuntimeError as own:
                done.append(f"the model fails on it ({own}); resave it with another program.")
        if len(photos) > 1 and all(isinstance(outcome, str) for outcome in done):
            raise error
        return done

    def _caption_part(self, photos: list[Prepared]) -> list[Caption]:
        with self.captioner.lane():
            return self.captioner.caption_batch(photos, search=self.search, words=self.words)

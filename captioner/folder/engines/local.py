"""Photos into captions: threads decode while the model works on batches decoded before.

The many small steps of one batch are split between cores poorly. So on a CPU several batches run
side by side, in lanes, each on its own cores; on a GPU two, so that one is encoded while the other
is decoded.
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
"""A photo and its caption, or the reason why it has none."""

_Batch = Sequence[tuple[Photo, "Future[Prepared | str]"]]


class LocalEngine:
    """Captions photos batch by batch, holding a few batches in memory however many there are.

    Args:
        captioner: the model, as `Captioner.for_bulk` returns it.
        search: decoding settings.
        batch_size: photos captioned at once, halved for good where memory does not suffice; None
            finds the fastest size by trying.
        workers: threads that read and decode. Pillow decodes outside Python's lock.
        words: whether captions tell of each word how sure it was and where the model looked.
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
        """Photos captioned at once, as far as is known now."""
        return self._size.now

    def run(self, photos: Iterable[Photo]) -> Iterator[list[Outcome]]:
        """Yield the outcomes in the order of the photos, a batch at a time."""
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
            finally:  # who stops half-way does not wait for the batches in hand
                for pool in (captioning, decoding):
                    pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, photo: Photo) -> Prepared | str:
        """Read and decode a photo, or say why it cannot be."""
        try:
            return self.captioner.prepare(photo.read(), name=photo.name)
        except ImageError as error:
            return str(error).removeprefix(f"{photo.name}: ")
        except MemoryError:
            return "there is not enough memory to read it; give fewer --workers."
        except Exception as error:  # one photo must not end a run of thousands
            mistake = f"{type(error).__name__}: {error}"
            return f"captioner made a mistake with it ({mistake}); please report that."

    def _caption(self, batch: _Batch) -> list[Outcome]:
        """Caption those of a batch that could be read."""
        prepared = [(photo, future.result()) for photo, future in batch]
        good = [found for _, found in prepared if isinstance(found, Prepared)]
        captions = iter(self.caption_all(good))
        return [
            (photo, next(captions) if isinstance(found, Prepared) else found)
            for photo, found in prepared
        ]

    def caption_all(self, photos: list[Prepared]) -> list[Caption | str]:
        """Caption photos at once, or in smaller batches where memory does not suffice."""
        done: list[Caption | str] = []
        while len(done) < len(photos):
            part = photos[len(done) : len(done) + self.batch_size]
            started = time.perf_counter()
            try:
                done += self._caption_part(part)
                self._size.took(len(part), time.perf_counter() - started)
                continue
            except RuntimeError as error:
                done += self._caption_each(part, error)
                continue
            except MemoryError:
                pass
            gc.collect()  # out of the `except`, whose error keeps the tensors of the batch alive
            if len(part) == 1:
                done.append("there is not enough memory to caption it.")
            else:
                self._size.did_not_fit(len(part))
        return done

    def _caption_each(self, photos: list[Prepared], error: Exception) -> list[Caption | str]:
        """Caption photos one by one after an error, to find the photo that it comes from.

        Raises:
            RuntimeError: it comes from every one of several: it is not the photos' fault.
        """
        done: list[Caption | str] = []
        for photo in photos:
            try:
                done += self._caption_part([photo])
            except RuntimeError as own:
                done.append(f"the model fails on it ({own}); save it anew with another program.")
        if len(photos) > 1 and all(isinstance(outcome, str) for outcome in done):
            raise error
        return done

    def _caption_part(self, photos: list[Prepared]) -> list[Caption]:
        with self.captioner.lane():
            return self.captioner.caption_batch(photos, search=self.search, words=self.words)

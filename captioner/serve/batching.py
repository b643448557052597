"""Batches concurrent requests, and keeps the model in memory while it is in use.

While a batch is captioned, other threads decode the photos that arrive. The next batch takes all
waiting photos, up to the batch size. A single photo is captioned without delay.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from starlette.exceptions import HTTPException

from captioner.config import SearchConfig
from captioner.errors import ImageError
from captioner.folder.engines.local import LocalEngine
from captioner.photo.framing import Prepared
from captioner.pipeline import Captioner
from captioner.result.caption import Caption
from captioner.speed.resources import count_cores, release_memory

_DECODERS = 4
"""Maximum number of photos decoded in parallel; a large one takes hundreds of megabytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    engine: LocalEngine
    photo: Prepared
    words: bool
    outcome: "asyncio.Future[Caption | str]"


class Batching:
    """Captions the photos of concurrent requests.

    Args:
        load: loads the model; called in a thread when a photo arrives and no model is loaded.
        search: decoding settings.
        batch_size: maximum number of photos per batch, reduced if memory runs out.
        slots: maximum number of requests in flight.
        idle_seconds: how long the model stays in memory after the last request.
    """

    def __init__(
        self,
        load: Callable[[], Captioner],
        *,
        search: SearchConfig,
        batch_size: int,
        slots: int,
        idle_seconds: float,
    ) -> None:
        self._load, self._search, self._batch_size = load, search, batch_size
        self._slots, self._idle_seconds = slots, idle_seconds
        self.in_flight = 0
        """Number of requests that hold a slot."""
        self._engine: LocalEngine | None = None
        self._unloading: asyncio.TimerHandle | None = None
        self._captioning = ThreadPoolExecutor(1, thread_name_prefix="caption")
        self._decoding = ThreadPoolExecutor(
            min(_DECODERS, count_cores()), thread_name_prefix="decode"
        )

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._engine is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the worker; on exit, the current batch is finished first."""
        self._loading = asyncio.Lock()
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()  # bounded by the slots
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
            self._keep_loaded()
            for pool in (self._decoding, self._captioning):
                pool.shutdown(cancel_futures=True)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for one request.

        Raises:
            HTTPException: 503, all slots are taken.
        """
        if self.in_flight >= self._slots:
            message = f"busy with {self._slots} requests; try again in a moment."
            raise HTTPException(503, message, headers={"Retry-After": "1"})
        self.in_flight += 1
        self._keep_loaded()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                loop = asyncio.get_running_loop()
                self._unloading = loop.call_later(self._idle_seconds, self._unload)

    async def caption(self, content: bytes, *, name: str, words: bool) -> Caption:
        """Caption a photo; cancelling before its batch starts skips it.

        Args:
            content: content of the file.
            name: name of the photo, for error messages.
            words: whether to include probability and attention of every word.

        Raises:
            ImageError: the photo cannot be read or captioned.
            CaptionerError: the model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        async with self._loading:
            if self._engine is None:
                self._engine = await loop.run_in_executor(self._captioning, self._start)
            engine = self._engine
        prepare = partial(engine.captioner.prepare, content, name=name)
        photo = await loop.run_in_executor(self._decoding, prepare)
        outcome: asyncio.Future[Caption | str] = loop.create_future()
        waiting = _Waiting(engine=engine, photo=photo, words=words, outcome=outcome)
        self._queue.put_nowait(waiting)
        found = await outcome
        if isinstance(found, str):
            raise ImageError(f"{name}: {found}")
        return found

    async def _work(self) -> None:
        while True:
            await self._caption_next()

    async def _caption_next(self) -> None:
        """Wait for photos, and caption a batch."""
        batch = [await self._queue.get()]
        while len(batch) < self._batch_size and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        batch = [waiting for waiting in batch if not waiting.outcome.done()]  # not cancelled
        if not batch:
            return
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(self._captioning, _caption_all, batch)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            for waiting in batch:
                if not waiting.outcome.done():
                    waiting.outcome.set_exception(error)
            return
        for waiting, outcome in zip(batch, done, strict=True):
            if not waiting.outcome.done():
                waiting.outcome.set_result(outcome)

    def _start(self) -> LocalEngine:
        return LocalEngine(
            self._load(), search=self._search, batch_size=self._batch_size, workers=1
        )

    def _keep_loaded(self) -> None:
        """Cancel the unloading of the model."""
        if self._unloading is not None:
            self._unloading.cancel()

    def _unload(self) -> None:
        self._engine = None
        release_memory()


def _caption_all(batch: list[_Waiting]) -> list[Caption | str]:
    """Caption photos in one batch, with words if any request wants them."""
    engine = batch[0].engine
    engine.words = any(waiting.words for waiting in batch)
    return engine.caption_all([waiting.photo for waiting in batch])

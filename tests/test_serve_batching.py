"""Requests captioned together: with a captioner that waits until a test lets it go on."""

import asyncio
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from io import BytesIO
from queue import Queue
from weakref import ref

import httpx
import pytest
import uvicorn
from PIL import Image
from starlette.exceptions import HTTPException

from captioner.config import PreprocessConfig, SearchConfig
from captioner.errors import CheckpointError, ImageError
from captioner.photo.framing import Prepared, prepare
from captioner.result.confidence import Judgement
from captioner.serve.app import build
from captioner.serve.batching import Batching
from captioner.serve.listening import listen
from captioner.serve.request import Service
from tests.captions import caption_of

PATIENCE = 60


def photo(width: int) -> bytes:
    """A photo that the captioner knows by its width."""
    file = BytesIO()
    Image.new("RGB", (width, 9)).save(file, "PNG")
    return file.getvalue()


class PanicException(BaseException):  # as libraries written in Rust call it
    pass


class Held:
    """Says of each photo how wide it is; a batch ends when a test allows it."""

    def __init__(self) -> None:
        self.batches: Queue[list[int]] = Queue()
        self.words: list[bool] = []
        self.go = threading.Semaphore(0)

    def prepare(self, content: bytes, *, name: str) -> Prepared:
        return prepare(content, PreprocessConfig(), name=name)

    def has_room(self) -> bool:
        return True

    def lane(self):
        return nullcontext()

    def caption_batch(self, photos, *, search, words):
        widths = [photo.geometry.width for photo in photos]
        self.words.append(words)
        self.batches.put(widths)
        assert self.go.acquire(timeout=PATIENCE)
        if 15 in widths:
            raise PanicException
        if 13 in widths:
            raise RuntimeError("thirteen")
        image = Image.new("RGB", (9, 9))
        judgement = Judgement(0.25, "low", 0.125, False)
        return [replace(caption_of(image, [], text=str(w)), judgement=judgement) for w in widths]


def batching_of(captioner: Held, **changes) -> Batching:
    settings = {"batch_size": 4, "slots": 20, "idle_seconds": 3600.0} | changes
    return Batching(lambda: captioner, search=SearchConfig(), **settings)


async def caption(batching: Batching, width: int, *, words: bool = False) -> str:
    with batching.slot():
        found = await batching.caption(photo(width), name=f"{width}.png", words=words)
    return found.text


async def taken(captioner: Held) -> list[int]:
    """The batch that is captioned now."""
    return await asyncio.to_thread(captioner.batches.get, timeout=PATIENCE)


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def test_what_waits_is_captioned_in_one_search_up_to_the_batch_size():
    captioner = Held()
    batching = batching_of(captioner)

    async def try_it():
        async with batching.running():
            first = asyncio.ensure_future(caption(batching, 20))
            assert await taken(captioner) == [20]
            rest = [
                asyncio.ensure_future(caption(batching, w, words=w == 22)) for w in range(21, 26)
            ]
            await until(lambda: batching._queue.qsize() == 5)
            captioner.go.release(3)
            four, one = await taken(captioner), await taken(captioner)
            assert (len(four), sorted(four + one)) == (4, [21, 22, 23, 24, 25])
            assert await asyncio.gather(first, *rest) == ["20", "21", "22", "23", "24", "25"]
            assert captioner.words == [False, 22 in four, 22 in one]

    asyncio.run(try_it())


def test_a_photo_that_the_model_fails_on_fails_alone_and_so_does_one_that_is_none():
    captioner = Held()
    captioner.go.release(100)

    async def try_it():
        batching = batching_of(captioner)
        async with batching.running():
            asked = [caption(batching, width) for width in (12, 13, 14)]
            with batching.slot():
                bad = batching.caption(b"hello", name="bad.png", words=False)
                found = await asyncio.gather(*asked, bad, return_exceptions=True)
        return found

    twelve, thirteen, fourteen, bad = asyncio.run(try_it())
    assert (twelve, fourteen) == ("12", "14")
    assert isinstance(thirteen, ImageError)
    assert str(thirteen) == (
        "13.png: the model fails on it (thirteen); resave it with another program."
    )
    assert str(bad).startswith("bad.png: not an image")


def test_the_service_survives_a_batch_that_fails_as_a_whole():
    captioner = Held()

    async def try_it():
        batching = batching_of(captioner)
        async with batching.running():
            first = asyncio.ensure_future(caption(batching, 20))
            assert await taken(captioner) == [20]
            rest = [asyncio.ensure_future(caption(batching, 13)) for _ in range(2)]
            await until(lambda: batching._queue.qsize() == 2)
            captioner.go.release(100)
            found = await asyncio.gather(first, *rest, return_exceptions=True)
            assert [str(own) for own in found] == ["20", "thirteen", "thirteen"]
            (panic,) = await asyncio.gather(caption(batching, 15), return_exceptions=True)
            assert isinstance(panic, PanicException)
            assert await caption(batching, 21) == "21"

    asyncio.run(try_it())


def test_a_request_that_is_cancelled_is_not_captioned():
    captioner = Held()

    async def try_it():
        batching = batching_of(captioner)
        async with batching.running():
            first = asyncio.ensure_future(caption(batching, 20))
            assert await taken(captioner) == [20]
            gone, stays = (asyncio.ensure_future(caption(batching, w)) for w in (21, 22))
            await until(lambda: batching._queue.qsize() == 2)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
            captioner.go.release(100)
            assert await asyncio.gather(first, stays) == ["20", "22"]
            assert await taken(captioner) == [22]

    asyncio.run(try_it())


def test_the_model_is_loaded_on_demand_let_go_when_idle_and_loaded_again():
    loads, models = [], []

    def load() -> Held:
        loads.append(len(loads))
        if len(loads) == 1:
            raise CheckpointError("it is gone.")
        captioner = Held()
        captioner.go.release(100)
        models.append(ref(captioner))
        return captioner

    async def try_it():
        batching = Batching(load, search=SearchConfig(), batch_size=4, slots=20, idle_seconds=0.0)
        async with batching.running():
            assert not batching.loaded
            with pytest.raises(CheckpointError, match=r"it is gone\."):
                await caption(batching, 9)
            for width in (10, 11):
                assert await caption(batching, width) == str(width)
                await until(lambda: not batching.loaded and models[-1]() is None)

    asyncio.run(try_it())
    assert loads == [0, 1, 2]


def test_a_request_without_a_slot_gets_retry_after():
    batching = batching_of(Held(), slots=1)

    async def try_it():
        async with batching.running():
            with batching.slot(), pytest.raises(HTTPException) as caught, batching.slot():
                pass
        return caught.value

    full = asyncio.run(try_it())
    assert (full.status_code, full.detail) == (
        503,
        "busy with 1 requests; try again in a moment.",
    )
    assert full.headers == {"Retry-After": "1"}


@contextmanager
def serving(batching: Batching) -> Iterator[str]:
    """Serve in a thread; give the address."""
    service = Service(model="held", batching=batching, most_bytes=2**20)
    app = build(service, host="127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="warning"))
    with listen("127.0.0.1", None, way_out="") as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def in_flight(url: str) -> int:
    return httpx.get(f"{url}/healthz").json()["in_flight"]


def ask_apart(url: str, width: int) -> tuple[threading.Thread, list[httpx.Response]]:
    answers: list[httpx.Response] = []

    def ask():
        answers.append(httpx.post(f"{url}/caption", content=photo(width), timeout=PATIENCE))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def test_a_client_that_went_away_is_not_captioned_and_a_full_service_says_so():
    captioner = Held()
    with serving(batching_of(captioner, slots=2)) as url:
        first, answers = ask_apart(url, 20)
        assert captioner.batches.get(timeout=PATIENCE) == [20]
        host, port = url.removeprefix("http://").split(":")
        head = f"POST /caption HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(photo(21))}\r\n\r\n"
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + photo(21))
            while in_flight(url) != 2:
                pass
        while in_flight(url) != 1:
            pass
        second, more = ask_apart(url, 22)
        while in_flight(url) != 2:
            pass
        full = httpx.post(f"{url}/v1/chat/completions", content=bytes(2**19))
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        assert full.json()["error"] == {
            "message": "busy with 2 requests; try again in a moment.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        captioner.go.release(100)
        first.join()
        second.join()
        assert [own.json()["caption"] for own in answers + more] == ["20", "22"]
        assert captioner.batches.get(timeout=PATIENCE) == [22]


def test_photoprism_receives_the_confidence_of_a_caption():
    captioner = Held()
    captioner.go.release(100)
    with serving(batching_of(captioner)) as url:
        request = {"images": [f"data:image/png;base64,{b64encode(photo(20)).decode()}"]}
        answer = httpx.post(f"{url}/api/v1/vision/caption", json=request, timeout=PATIENCE)
        assert answer.json()["result"] == {"caption": {"text": "20", "confidence": 0.25}}


def test_a_mistake_of_ours_is_an_answer_too_and_the_traceback_goes_to_the_log(capfd):
    captioner = Held()
    captioner.caption_batch = None
    with serving(batching_of(captioner)) as url:
        answer = httpx.post(f"{url}/caption", content=photo(20), timeout=PATIENCE)
        assert answer.status_code == 500
        assert answer.json() == {"error": "internal error; please report this bug."}
    assert "TypeError: 'NoneType' object is not callable" in capfd.readouterr().err


def test_the_address_of_a_photo_is_fetched_only_if_allowed_and_never_from_this_machine(tmp_path):
    captioner = Held()
    service = Service(
        model="held", batching=batching_of(captioner), most_bytes=2**20, fetch_urls=True
    )

    async def try_it(url: str):
        transport = httpx.ASGITransport(build(service, host="127.0.0.1"))
        async with (
            service.batching.running(),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            return await client.post("/caption", json={"photo": url})

    answer = asyncio.run(try_it("http://localhost/cat.jpg"))
    assert (answer.status_code, answer.json()) == (
        400, {"error": "localhost is not a public address; send the image itself."})  # fmt: skip

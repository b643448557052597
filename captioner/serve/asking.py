"""One request: its body within the limits, the photo in it, and its caption."""

import asyncio
import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from captioner.result.caption import Caption
from captioner.serve.batching import Batching
from captioner.serve.fetching import fetch

_PATIENCE = 60
"""Seconds that a client may take to send its request."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """What all requests share."""

    model: str
    """What the model is called."""
    batching: Batching
    most_bytes: int
    """Of a request's body, and of a photo that is fetched."""
    fetch_urls: bool = False
    """Whether photos are fetched from the web."""
    token: str = ""
    """What clients must send; empty asks for none."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that is being answered."""

    service: Service
    request: Request
    body: bytes

    def table(self) -> dict[str, Any]:
        """Return the body, a JSON object.

        Raises:
            HTTPException: 400, it is not.
        """
        try:
            table = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"the request is not JSON ({error}).") from error
        if not isinstance(table, dict):
            raise HTTPException(400, "the request is not a JSON object.")
        return table

    def check_model(self, asked: object) -> None:
        """Make sure that the model is the one that is asked for, if any is.

        Raises:
            HTTPException: 404, it is another one.
        """
        own = self.service.model
        if asked and asked not in (own, f"{own}:latest"):
            raise HTTPException(404, f"there is no model {asked!r} here; ask for {own!r}.")

    async def open(self, images: list[Any], *, where: str) -> bytes:
        """Return the file that a request holds as text.

        Args:
            images: what there is: a data: URL, base64, or an address.
            where: what the API calls its place, for errors.

        Raises:
            HTTPException: 400, there are none or several, or it is none of these.
        """
        if len(images) != 1:
            raise HTTPException(400, f"{where} holds {len(images)} images; send one per request.")
        text = images[0]
        if not isinstance(text, str):
            raise HTTPException(400, f"{where} is not text; send a data: URL or base64.")
        if text[:8].lower().startswith(("http://", "https://")):
            if not self.service.fetch_urls:
                raise HTTPException(
                    400,
                    f"{where} is an address, and this service fetches none; send the image itself "
                    "as a data: URL, or start the service with --fetch-urls.",
                )
            return await fetch(text, most=self.service.most_bytes)
        if text.startswith("data:"):
            head, comma, text = text.partition(",")
            if not comma or not head.endswith(";base64"):
                raise HTTPException(400, f"{where} is a data: URL, but not in base64; encode it.")
        try:
            return b64decode("".join(text.split()), validate=True)
        except ValueError as error:
            raise HTTPException(400, f"{where} is not base64 ({error}).") from error

    async def caption(
        self, content: bytes, *, name: str = "the photo", words: bool = False
    ) -> Caption:
        """Caption a photo, unless the client goes away.

        Args:
            content: a file.
            name: as the client calls it.
            words: whether the words are wanted.

        Raises:
            ImageError: the photo cannot be read or captioned.
            ClientDisconnect: there is nobody left to answer.
        """
        captioning = self.service.batching.caption(content, name=name, words=words)
        task, gone = asyncio.ensure_future(captioning), asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnect
            return task.result()
        finally:
            task.cancel()
            gone.cancel()

    async def _gone(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


async def receive(request: Request, *, most: int) -> bytes | None:
    """Return the body of a request; None if it is longer than `most` bytes.

    It is read to its end in any case: most clients read no answer before they have sent it all.

    Raises:
        HTTPException: 408, it did not arrive in time.
        ClientDisconnect: the client went away.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                size += len(part)
                if size <= most:
                    parts.append(part)
    except TimeoutError as error:
        message = f"the request took longer than {_PATIENCE} seconds to arrive."
        raise HTTPException(408, message) from error
    return b"".join(parts) if size <= most else None

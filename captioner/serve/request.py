"""One request: reads its body within limits, extracts the photo, and captions it."""

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
"""Seconds allowed for a request to arrive."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """State shared by all requests."""

    model: str
    """Name of the model."""
    batching: Batching
    most_bytes: int
    """Maximum size of a request body, and of a fetched photo, in bytes."""
    fetch_urls: bool = False
    """Whether to fetch photos from the web."""
    token: str = ""
    """Bearer token that clients must send; empty requires none."""


@dataclass(frozen=True, kw_only=True)
class CaptionRequest:
    """A request in progress."""

    service: Service
    http: Request
    body: bytes

    def table(self) -> dict[str, Any]:
        """Parse the body as a JSON object.

        Raises:
            HTTPException: 400, it is not a JSON object.
        """
        try:
            table = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"the request is not JSON ({error}).") from error
        if not isinstance(table, dict):
            raise HTTPException(400, "the request is not a JSON object.")
        return table

    def check_model(self, asked: object) -> None:
        """Check the requested model's name, if the request has one.

        Raises:
            HTTPException: 404, the service has another model.
        """
        own = self.service.model
        if asked and asked not in (own, f"{own}:latest"):
            raise HTTPException(404, f"unknown model {asked!r}; use {own!r}.")

    async def open(self, images: list[Any], *, where: str) -> bytes:
        """Decode or fetch the photo of a request.

        Args:
            images: the images in the request, each a data: URL, base64, or a web address.
            where: name of the field, for error messages.

        Raises:
            HTTPException: 400, there is not exactly one image, or it cannot be decoded or fetched.
        """
        if len(images) != 1:
            raise HTTPException(400, f"{where} has {len(images)} images; send one per request.")
        text = images[0]
        if not isinstance(text, str):
            raise HTTPException(400, f"{where} is not text; send a data: URL or base64.")
        if text[:8].lower().startswith(("http://", "https://")):
            if not self.service.fetch_urls:
                raise HTTPException(
                    400,
                    f"{where} is a web address, but fetching is disabled; send the image itself as "
                    "a data: URL, or start the service with --fetch-urls.",
                )
            return await fetch(text, most=self.service.most_bytes)
        if text.startswith("data:"):
            head, comma, text = text.partition(",")
            if not comma or not head.endswith(";base64"):
                raise HTTPException(400, f"{where} is a data: URL without base64; encode it.")
        try:
            return b64decode("".join(text.split()), validate=True)
        except ValueError as error:
            raise HTTPException(400, f"{where} is not base64 ({error}).") from error

    async def caption(
        self, content: bytes, *, name: str = "the photo", words: bool = False
    ) -> Caption:
        """Caption a photo, unless the client disconnects.

        Args:
            content: content of the file.
            name: name of the photo, for error messages.
            words: whether to include probability and attention of every word.

        Raises:
            ImageError: the photo cannot be read or captioned.
            ClientDisconnect: the client disconnected.
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
        while (await self.http.receive())["type"] != "http.disconnect":
            pass


async def receive(request: Request, *, most: int) -> bytes | None:
    """Read the body of a request; None if it is longer than `most` bytes.

    The body is always read to its end, since most clients read no response before they have sent
    all of it.

    Raises:
        HTTPException: 408, the body did not arrive in time.
        ClientDisconnect: the client disconnected.
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

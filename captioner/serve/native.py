"""captioner's own API: a photo as raw body, form or JSON; the response has words and attention."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import JSONResponse, Response

from captioner.interchange import portable
from captioner.serve.request import CaptionRequest, Service

_YES = ("1", "true", "yes")


def show_error(status: int, message: str) -> dict[str, Any]:
    """Return an error in this API's format."""
    return {"error": message}


async def answer(request: CaptionRequest) -> Response:
    """Caption the photo; attention maps are included only on request."""
    kind = request.http.headers.get("content-type", "").partition(";")[0].strip().lower()
    attention: object = request.http.query_params.get("attention", "")
    name = None
    if kind == "application/json":
        table = request.table()
        attention = table.get("attention", attention)
        content = await request.open([table.get("photo")], where="photo")
    elif kind == "multipart/form-data":
        async with _read_form(request) as form:
            attention = form.get("attention", attention)
            photo = form.get("photo")
            if not isinstance(photo, UploadFile):
                raise HTTPException(400, "the form has no file field named photo.")
            name, content = photo.filename or None, await photo.read()
    else:
        content = request.body
    caption = await request.caption(content, name=name or "the photo", words=True)
    wanted = attention is True or str(attention).lower() in _YES
    table = replace(caption, image=name).to_dict(attention=wanted)
    return JSONResponse(portable(table))


@asynccontextmanager
async def _read_form(request: CaptionRequest) -> AsyncIterator[FormData]:
    """Parse a form in memory, without temporary files."""

    async def parts() -> AsyncIterator[bytes]:
        yield request.body

    parser = MultiPartParser(request.http.headers, parts())  # type: ignore[arg-type]
    parser.spool_max_size = len(request.body)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"malformed form ({error.message}).") from error
    try:
        yield form
    finally:
        await form.close()


def health(service: Service) -> dict[str, Any]:
    """Return the service's state."""
    batching = service.batching
    return {"status": "ok", "loaded": batching.loaded, "in_flight": batching.in_flight}

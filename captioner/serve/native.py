"""captioner's own API: a photo as raw body, form or JSON; the response has words and attention."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import JSONResponse, Response

from captioner.interchange import portable
from captioner.serve.request import CaptionRequest, Service

_FIELDS = ("photo", "attention")
_SWITCH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def show_error(status: int, message: str) -> dict[str, Any]:
    """Return an error in this API's format."""
    return {"error": message}


async def answer(request: CaptionRequest) -> Response:
    """Caption the photo; attention maps are included only on request.

    Unlike the clients of other APIs, ours send nothing that is not ours: unknown fields are
    refused.
    """
    kind = request.http.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = request.http.query_params
    _check_fields(query, known=("attention",), where="the query")
    attention: object = query.get("attention", "")
    name = None
    if kind == "application/json":
        table = request.table()
        _check_fields(table, known=_FIELDS, where="the request")
        attention = table.get("attention", attention)
        content = await request.open([table.get("photo")], where="photo")
    elif kind == "multipart/form-data":
        async with _read_form(request) as form:
            _check_fields(form, known=_FIELDS, where="the form")
            attention = form.get("attention", attention)
            photo, count = form.get("photo"), len(form.getlist("photo"))
            if count > 1:
                raise HTTPException(400, f"photo has {count} images; send one per request.")
            if not isinstance(photo, UploadFile):
                raise HTTPException(400, "the form has no file field named photo.")
            name, content = photo.filename or None, await photo.read()
    else:
        content = request.body
    wanted = _SWITCH.get(str(attention).lower())
    if wanted is None:
        raise HTTPException(400, f"attention is {attention!r}; use true or false.")
    caption = await request.caption(content, name=name or "the photo", words=True)
    table = replace(caption, image=name).to_dict(attention=wanted)
    return JSONResponse(portable(table))


def _check_fields(given: Iterable[str], *, known: tuple[str, ...], where: str) -> None:
    """Refuse fields that would do nothing.

    Raises:
        HTTPException: 400, a field is unknown.
    """
    for name in given:
        if name not in known:
            raise HTTPException(
                400,
                f"{where} has the unknown field {name!r}; known: {', '.join(known)}. Decoding "
                "settings are options of captioner serve.",
            )


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

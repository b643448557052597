"""The service as an ASGI application: routes, token, and errors in the format of each API."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from hmac import compare_digest
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from captioner.errors import CaptionerError, ImageError
from captioner.interchange import readable
from captioner.serve import native, ollama, openai, photoprism
from captioner.serve.guard import HostGuard
from captioner.serve.request import CaptionRequest, Service, receive

_ANSWERS = {
    "/caption": native.answer,
    "/v1/chat/completions": openai.answer,
    "/api/generate": ollama.answer,
    "/api/v1/vision/caption": photoprism.answer,
}
_LISTS = {
    "/v1/models": openai.list_models,
    "/api/tags": ollama.list_models,
    "/api/version": ollama.show_version,
}
_ERRORS = {
    "/v1/": openai.show_error,
    "/api/v1/": photoprism.show_error,
    "/api/": native.show_error,  # Ollama has the same format
    "/": native.show_error,
}
"""Error format by path prefix; the first match counts."""


def build(service: Service, *, host: str, proxies: Iterable[str] = ()) -> HostGuard:
    """Create the application.

    Args:
        service: the model, and limits.
        host: name or address that the server listens on; see `HostGuard`.
        proxies: further host names to accept.
    """

    def answering(answer: Callable[[CaptionRequest], Awaitable[Response]]) -> Any:
        async def endpoint(request: Request) -> Response:
            with ExitStack() as held:
                try:
                    _check_token(request, service.token)
                    held.enter_context(service.batching.slot())
                except HTTPException:
                    await receive(request, most=0)
                    raise
                body = await receive(request, most=service.most_bytes)
                if body is None:
                    megabytes = service.most_bytes / 2**20
                    raise HTTPException(
                        413, f"the request exceeds {megabytes:.0f} MB; send a smaller photo."
                    )
                return await answer(CaptionRequest(service=service, http=request, body=body))

        return endpoint

    def listing(list_models: Callable[[Service], dict[str, Any]]) -> Any:
        async def endpoint(request: Request) -> Response:
            _check_token(request, service.token)
            return JSONResponse(list_models(service))

        return endpoint

    async def health(request: Request) -> Response:
        return JSONResponse(native.health(service))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.batching.running():
            yield

    app = Starlette(
        routes=[
            *(Route(path, answering(do), methods=["POST"]) for path, do in _ANSWERS.items()),
            *(Route(path, listing(list_models)) for path, list_models in _LISTS.items()),
            Route("/healthz", health),
        ],
        exception_handlers=dict.fromkeys(
            (HTTPException, CaptionerError, ClientDisconnect, Exception), _show
        ),
        lifespan=lifespan,
    )
    return HostGuard(app, host=host, proxies=proxies)


def _check_token(request: Request, token: str) -> None:
    """Check the client's token, if the service has one.

    Raises:
        HTTPException: 401, the token is missing or wrong.
    """
    given = request.headers.get("authorization", "").encode("latin-1")
    if token and not compare_digest(given, f"Bearer {token}".encode()):
        message = "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`."
        raise HTTPException(401, message, headers={"WWW-Authenticate": "Bearer"})


def _show(request: Request, error: Exception) -> Response:
    """Return an error in the format of the API that was called."""
    status, message, headers = 500, "internal error; please report this bug.", None
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, CaptionerError):
        status, message = 400 if isinstance(error, ImageError) else 500, str(error)
    elif isinstance(error, ClientDisconnect):
        status, message = 499, "the client disconnected."  # for the log
    show = next(show for path, show in _ERRORS.items() if request.url.path.startswith(path))
    return JSONResponse(show(status, readable(message)), status, headers)

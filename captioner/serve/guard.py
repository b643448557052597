"""Rejects cross-site requests by their Host and Origin headers.

A page of another site can make a browser send requests here, and with DNS rebinding even read the
responses, although the app listens on this machine only. Such requests have an unknown Host, or an
Origin that differs from it.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'; base-uri 'self'; object-src 'none'"),
    (b"referrer-policy", b"same-origin"),
)
"""Headers that prevent content sniffing and framing by other sites."""


class HostGuard:
    """ASGI middleware that rejects cross-site requests and adds security headers.

    Args:
        app: the application.
        host: name or address that the server listens on. On a loopback address, only local host
            names are accepted; otherwise any, since the machine's names are unknown.
        proxies: host names of reverse proxies to accept.
    """

    def __init__(self, app: App, *, host: str, proxies: Iterable[str] = ()) -> None:
        self._app = app
        self._proxies = frozenset(proxies)
        names = {"localhost", "127.0.0.1", "::1", host}
        self._hosts = frozenset(names if is_local(host) else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            await _answer(scope, receive, send, *refusal)
        else:
            await self.pass_on(scope, receive, _with_headers(send))

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request that was not rejected."""
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason for rejecting a request; None to accept it."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts and _name(f"//{host}") not in self._hosts | self._proxies:
            return 400, f"Unknown host {host!r}; if it is this app, start it with --allow-host."
        origin = headers.get(b"origin")
        ours = origin is None or origin.lower().partition("://")[2] == host.lower()
        if not ours and _name(origin or "") not in self._proxies:
            return 403, f"Requests from {origin} are not allowed."
        return None


def is_local(host: str) -> bool:
    """Whether a name or address is a loopback one, reachable from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _with_headers(send: Send) -> Send:
    async def send_more(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return send_more


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    content = reason.encode("utf-8", "replace")
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),  # the request's body was not read
    ]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": content})

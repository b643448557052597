"""What stands before a server: who may call it from a browser.

A page of another site can make a browser send requests here, and by DNS rebinding even read the
answers, though the app listens on this machine alone. Such requests name another host, or an origin
that is not the host they go to.
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
"""No content is taken for another kind, and no other site shows the app in a frame."""


class HostGuard:
    """Refuse requests from elsewhere, and tell browsers to be careful.

    Args:
        app: what answers the others.
        host: name or address that the server listens on. One of this machine alone is known by its
            names; where it is shown to a network, its names there are not known, and all will do.
        proxies: names by which proxies before it are called.
    """

    def __init__(self, app: App, *, host: str, proxies: Iterable[str] = ()) -> None:
        self._app = app
        self._proxies = frozenset(proxies)
        names = {"localhost", "127.0.0.1", "::1", host}
        self._hosts = frozenset(names if is_local(host) else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            await _answer(scope, receive, send, *refusal)
        else:
            await self.pass_on(scope, receive, _with_headers(send))

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not refused."""
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason of a refusal."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts and _name(f"//{host}") not in self._hosts | self._proxies:
            return 400, f"This app is not called {host!r}; start it with --allow-host, if it is."
        origin = headers.get(b"origin")
        ours = origin is None or origin.lower().partition("://")[2] == host.lower()
        if not ours and _name(origin or "") not in self._proxies:
            return 403, f"Pages of {origin} may not call this app."
        return None


def is_local(host: str) -> bool:
    """Whether a server that listens on this name or address is reached from this machine alone."""
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
        (b"connection", b"close"),  # what was sent along is not read
    ]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": content})

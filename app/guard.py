"""Middleware of the app: rejects cross-site requests, and slows down password guessing."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, MutableMapping
from typing import Any

from captioner.serve.guard import App, HostGuard, Receive, Scope, Send

_FREE_TRIES = 3
"""Failed logins of a client before the first delay."""
_LONGEST_WAIT = 30.0
"""Maximum delay of a login, in seconds."""


class Guard(HostGuard):
    """A `HostGuard`, with the same arguments, that also slows down password guessing."""

    def __init__(self, app: App, *, host: str, proxies: Iterable[str] = ()) -> None:
        super().__init__(app, host=host, proxies=proxies)
        self._failures: dict[str, int] = defaultdict(int)
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; logins are rate-limited."""
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/login"):
            await self._log_in(scope, receive, send)
        else:
            await super().pass_on(scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serialise the logins of each client, with exponential backoff after failures."""
        client = (scope.get("client") or ("",))[0]

        async def count(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < 400:
                    self._failures.pop(client, None)
                else:
                    self._failures[client] += 1
            await send(message)

        async with self._turns[client]:
            more = self._failures[client] - _FREE_TRIES
            if more >= 0:
                await asyncio.sleep(min(_LONGEST_WAIT, 2.0**more))
            await super().pass_on(scope, receive, count)

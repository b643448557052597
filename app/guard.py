"""What stands before the app: who may call it, and how fast passwords are tried."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, MutableMapping
from typing import Any

from captioner.serve.guard import App, HostGuard, Receive, Scope, Send

_FREE_TRIES = 3
_LONGEST_WAIT = 30.0


class Guard(HostGuard):
    """Also slow down wrong passwords.

    Args:
        app: as of `HostGuard`.
        host: as of `HostGuard`.
        proxies: as of `HostGuard`.
    """

    def __init__(self, app: App, *, host: str, proxies: Iterable[str] = ()) -> None:
        super().__init__(app, host=host, proxies=proxies)
        self._failures: dict[str, int] = defaultdict(int)
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or try a password."""
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/login"):
            await self._log_in(scope, receive, send)
        else:
            await super().pass_on(scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let each client try passwords one after the other, and ever more slowly."""
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

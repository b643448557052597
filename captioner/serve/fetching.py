"""Fetches photos from public addresses only, redirects included (SSRF protection).

A name is resolved once, all its addresses must be public, and the connection goes to one of them,
so a name server that changes its answer (DNS rebinding) gains nothing.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

import httpcore
from starlette.exceptions import HTTPException

_MOVED = (301, 302, 303, 307, 308)
_REDIRECTS = 3
_PATIENCE = 20
"""Timeout for the whole download, in seconds."""
_HEADERS = [("User-Agent", "captioner"), ("Accept", "image/*")]
_NAT64 = IPv6Network("64:ff9b::/96")
_FAULTS = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)


def is_public(address: str) -> bool:
    """Whether an IP address is public; for IPv4 embedded in IPv6, the IPv4 address counts."""
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address):
        last = IPv4Address(found.packed[-4:]) if found in _NAT64 else None
        found = found.ipv4_mapped or found.sixtofour or last or found
    return found.is_global and not found.is_multicast


class _Checked(httpcore.AnyIOBackend):
    """Network backend that connects only to allowed addresses."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._allowed = allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        if not all(map(self._allowed, addresses)):
            raise HTTPException(400, f"{host} is not a public address; send the image itself.")
        return await super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)


async def fetch(url: str, *, most: int, allowed: Callable[[str], bool] = is_public) -> bytes:
    """Fetch a file from the web.

    Args:
        url: http or https URL; up to three redirects are followed.
        most: maximum size in bytes.
        allowed: whether an IP address may be connected to.

    Raises:
        HTTPException: 400, the file cannot be fetched or is too large, or the address is not
            allowed.
    """
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            httpcore.AsyncConnectionPool(network_backend=_Checked(allowed)) as pool,
        ):
            for _ in range(1 + _REDIRECTS):
                async with pool.stream("GET", url, headers=_HEADERS) as answer:
                    headers = {name.lower(): value for name, value in answer.headers}
                    if answer.status in _MOVED and b"location" in headers:
                        url = urljoin(url, headers[b"location"].decode("latin-1"))
                        continue
                    if answer.status != 200:
                        raise HTTPException(400, f"{_short(url)} returned status {answer.status}.")
                    content = b""
                    async for part in answer.aiter_stream():
                        content += part
                        if len(content) > most:
                            megabytes = most / 2**20
                            raise HTTPException(400, f"{_short(url)} exceeds {megabytes:.0f} MB.")
                    return content
        raise HTTPException(400, f"{_short(url)} redirects more than {_REDIRECTS} times.")
    except _FAULTS as error:
        reason = str(error) or type(error).__name__
        raise HTTPException(400, f"{_short(url)} cannot be fetched ({reason}).") from error


def _short(url: str) -> str:
    """Shorten a URL for messages, without credentials and query."""
    return re.sub(r"(?<=//)[^/@]*@|[?#].*", "", url)[:200]

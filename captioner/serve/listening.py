"""The socket that a server listens on, or what is wrong with its address."""

import errno
import socket

from captioner.errors import CaptionerError


def listen(host: str, port: int | None, *, way_out: str) -> socket.socket:
    """Listen on an address of this machine; connections wait until somebody accepts them.

    Args:
        host: a name or an address.
        port: from 1; None takes a free one.
        way_out: what to do where the port is taken.

    Raises:
        CaptionerError: the host is not of this machine, or the port is none or taken.
    """
    if port is not None and not 0 < port < 65536:
        raise CaptionerError(f"--port is {port}; it must be from 1 to 65535.")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except OSError as error:
        raise _no_address(host) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise CaptionerError(f"--port is {port}, which is taken; {way_out}.") from error
        if error.errno == errno.EACCES:
            message = f"--port is {port}, which is not allowed; choose one above 1023."
            raise CaptionerError(message) from error
        raise _no_address(host) from error
    return bound


def _no_address(host: str) -> CaptionerError:
    return CaptionerError(
        f"--host is {host!r}, which is no address of this machine; choose 127.0.0.1 for this "
        "machine alone, or 0.0.0.0 for the network."
    )

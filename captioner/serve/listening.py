"""Opens the socket that a server listens on."""

import errno
import socket

from captioner.errors import CaptionerError


def listen(host: str, port: int | None, *, way_out: str) -> socket.socket:
    """Listen on an address of this machine; connections queue until they are accepted.

    Args:
        host: a name or an address.
        port: from 1 to 65535; None takes a free one.
        way_out: what to do if the port is in use, for the error message.

    Raises:
        CaptionerError: the host is not an address of this machine, or the port is invalid or in
            use.
    """
    if port is not None and not 0 < port < 65536:
        raise CaptionerError(f"--port {port} is not from 1 to 65535; {way_out}.")
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
            raise CaptionerError(f"--port {port} is in use; {way_out}.") from error
        if error.errno == errno.EACCES:
            message = f"--port {port} needs administrator rights; choose one above 1023."
            raise CaptionerError(message) from error
        raise _no_address(host) from error
    return bound


def _no_address(host: str) -> CaptionerError:
    return CaptionerError(
        f"--host {host!r} is not an address of this machine; choose 127.0.0.1 for local access "
        "only, or 0.0.0.0 for the network."
    )

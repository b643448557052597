"""The Ray cluster that a run connects to, or begins on this machine and ends with itself."""

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from captioner.errors import CaptionerError, MissingExtraError
from captioner.speed.resources import count_cores

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""What is set for Ray unless the user has set it: the command shows progress by itself."""
_ONLY_HERE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Lets a cluster begun on this machine listen on 127.0.0.1 alone; Ray has no other name for it."""
_OBJECTS = 512 * 2**20
"""Bytes of shared memory for a cluster begun on this machine; what does not fit goes to disk."""

_PATIENCE = 20
"""Seconds that a cluster has to answer."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How gRPC, which Ray speaks, begins: with a preface and settings (RFC 9113, section 3.4)."""
_SETTINGS = 4
"""The kind of the first frame that the other side sends, in its fourth byte."""


@contextmanager
def cluster(ray: Any) -> Iterator[None]:
    """Be connected to a cluster; one that was begun here ends here."""
    if ray.is_initialized():
        yield
        return
    if (address := os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
        raise CaptionerError(
            f"RAY_ADDRESS is {address}, and Ray's client cannot do this; run the command on a "
            "machine of the cluster, with RAY_ADDRESS=auto or the address that `ray start` printed."
        )
    options: dict[str, Any] = {}
    if _is_local():
        options = {
            "include_dashboard": False,
            "object_store_memory": _OBJECTS,
            "num_cpus": count_cores(),
        }
    try:
        _knock()
        with _muted(), _keeping_sigterm():
            ray.init(log_to_driver=False, logging_level="CRITICAL", **options)
        with suppress(AttributeError):
            # What it tells of workers that end goes to standard output all the same, but for this.
            ray._private.worker._worker_logs_enabled = False
    except Exception as error:  # it lets anything through that goes wrong on the way
        if not options:
            raise CaptionerError(
                f"RAY_ADDRESS is {os.environ['RAY_ADDRESS']}, and no Ray cluster can be reached "
                f"there: {reason(error)}; give the address that `ray start` printed, or leave "
                "RAY_ADDRESS empty to begin one here."
            ) from error
        raise CaptionerError(
            f"no Ray cluster can be begun here: {reason(error)}; mend that, or start one with `ray "
            "start` and give its address in RAY_ADDRESS."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _is_local() -> bool:
    """Whether the cluster is one that is begun here."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def _knock() -> None:
    """Make sure that Ray answers at the cluster's address: it would ask for ever.

    Raises:
        OSError: nobody answers, or somebody else does.
    """
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    if not (host and port.isdecimal()):
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as there:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        there.sendall(_GREETING)
        answer = there.recv(9)
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ConnectionError("something else than Ray answers, such as its dashboard")


@contextmanager
def _muted() -> Iterator[None]:
    """Keep what Ray prints past Python out of standard error, which may be read as JSON."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Let being told to end mean the same as before, now and later: Ray exits without a word."""
    before = signal.getsignal(signal.SIGTERM)

    def put_back() -> None:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

    try:
        yield
    except SystemExit:  # Ray was told meanwhile
        put_back()
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        put_back()


def reason(error: Exception) -> str:
    """Return what the last line of an error says; Ray puts whole tracebacks into them."""
    cause = error.__cause__
    error = cause if isinstance(cause, Exception) and str(cause) else error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1].strip()).rstrip(".")


def import_ray() -> tuple[Any, Any, Any]:
    """Import Ray, Ray Data and Arrow, quietly.

    Raises:
        MissingExtraError: they are not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if _is_local():
        os.environ.update(_ONLY_HERE)  # read when Ray is imported
    try:
        import pyarrow  # noqa: PLC0415  # an extra
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError(
            "--engine ray needs Ray; install it: pip install 'captioner[ray]'"
        ) from None
    return ray, ray.data, pyarrow

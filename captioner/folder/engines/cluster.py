"""Connects to a Ray cluster, or starts one on this machine for the duration of the run."""

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
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Defaults for Ray's environment; the command shows its own progress."""
_ONLY_HERE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes a local cluster listen on 127.0.0.1 only; Ray has no setting named for that."""
_OBJECTS = 512 * 2**20
"""Bytes of shared memory for a local cluster; what does not fit is spilled to disk."""

_PATIENCE = 20
"""Timeout for the cluster's answer, in seconds."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""Connection preface and an empty SETTINGS frame, as gRPC sends them (RFC 9113, section 3.4)."""
_SETTINGS = 4
"""Type of the server's first frame, found in its fourth byte."""


@contextmanager
def cluster(ray: Any) -> Iterator[None]:
    """Connect to a cluster for the duration of the block; a local one is shut down afterwards."""
    if ray.is_initialized():
        yield
        return
    if (address := os.environ.get("RAY_ADDRESS", "")).startswith("ray://"):
        raise CaptionerError(
            f"RAY_ADDRESS is {address}, but Ray Client is not supported; run the command on a "
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
        _probe()
        with _muted(), _keeping_sigterm():
            ray.init(log_to_driver=False, logging_level="CRITICAL", **options)
        with suppress(AttributeError):
            # Without this, Ray prints messages about workers that exit to standard output.
            ray._private.worker._worker_logs_enabled = False
    except Exception as error:  # Ray raises anything
        if not options:
            raise CaptionerError(
                f"RAY_ADDRESS is {os.environ['RAY_ADDRESS']}, but no Ray cluster can be reached "
                f"there: {reason(error)}; set it to the address that `ray start` printed, or unset "
                "it to start a cluster on this machine."
            ) from error
        raise CaptionerError(
            f"cannot start a Ray cluster here: {reason(error)}; fix that, or start one with `ray "
            "start` and set RAY_ADDRESS to its address."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _is_local() -> bool:
    """Whether the cluster is started by this run."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def _probe() -> None:
    """Check that Ray answers at the cluster's address; Ray itself would retry for ever.

    Raises:
        OSError: nothing answers, or something other than Ray.
    """
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    if not (host and port.isdecimal()):
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as there:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        there.sendall(_PREFACE)
        answer = there.recv(9)
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ConnectionError("the port does not speak gRPC; it may be Ray's dashboard")


@contextmanager
def _muted() -> Iterator[None]:
    """Silence what Ray's native code prints to standard error, which may be read as JSON."""
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
    """Preserve the SIGTERM handler, which Ray replaces with a silent exit."""
    before = signal.getsignal(signal.SIGTERM)

    def put_back() -> None:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

    try:
        yield
    except SystemExit:  # Ray's handler received SIGTERM
        put_back()
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        put_back()


def reason(error: Exception) -> str:
    """Return the last line of an error message; Ray's messages contain whole tracebacks."""
    cause = error.__cause__
    error = cause if isinstance(cause, Exception) and str(cause) else error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1].strip()).rstrip(".")


def import_ray() -> tuple[Any, Any, Any]:
    """Import Ray, Ray Data and Arrow without their output.

    Raises:
        MissingExtraError: Ray is not installed.
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

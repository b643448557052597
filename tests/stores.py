"""An S3 server on loopback, and a network before it that fails when told to."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUCKET = "photos"


class Network:
    """Passes connections on to a server; those that are to fail are dropped at once."""

    def __init__(self, port: int) -> None:
        self.failing = 0
        self._port = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                if self.failing:
                    self.failing -= 1
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._port))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(one, other), daemon=True).start()

    def close(self) -> None:
        self._socket.close()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while block := one.recv(1 << 16):
            other.sendall(block)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Serve S3 on loopback: the address of the server, and its port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}", port
    finally:
        server.stop()


def credentials(address: str) -> dict[str, str]:
    """What the environment of a program says that may read and write there."""
    nowhere = os.devnull
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",  # the program's own are meant
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "NO_PROXY": "127.0.0.1",
    }


def upload(folder: Path) -> None:
    """Put all files of a folder into the bucket, under their names."""
    store = connect()
    with suppress(FileExistsError):
        store.mkdir(BUCKET)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.pipe_file(f"{BUCKET}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def connect():
    """A file system, for tests that put and delete objects."""
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False)

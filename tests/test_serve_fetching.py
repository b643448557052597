"""Photos of the web, from real servers on loopback; a test says which addresses are allowed."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from starlette.exceptions import HTTPException

from captioner.serve.fetching import fetch, is_public

PHOTO = bytes(range(256)) * 40


class Files(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        places = {"/moved": "/photo", "/away": "http://127.0.0.2:1/photo", "/loop": "/loop"}
        self.server.asked.append((self.path, self.headers["Host"]))
        if self.path in places:
            self.send_response(302)
            self.send_header("Location", places[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/photo?secret=1":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PHOTO)
        elif self.path == "/photo":
            self.send_response(200)
            self.send_header("Content-Length", str(len(PHOTO)))
            self.end_headers()
            self.wfile.write(PHOTO)
        else:
            self.send_error(404)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def port(server) -> int:
    server.asked.clear()
    return server.server_address[1]


def get(url: str, *, most: int = 2**20, **options) -> bytes:
    return asyncio.run(fetch(url, most=most, **options))


def refusal(url: str, **options) -> str:
    with pytest.raises(HTTPException) as caught:
        get(url, **options)
    assert caught.value.status_code == 400
    return caught.value.detail


def here(address: str) -> bool:
    return address == "127.0.0.1"


@pytest.mark.parametrize("path", ["photo", "photo?secret=1", "moved"])
def test_a_photo_is_fetched_also_after_a_redirect(server, port, path):
    assert get(f"http://127.0.0.1:{port}/{path}", allowed=here) == PHOTO
    assert {host for _, host in server.asked} == {f"127.0.0.1:{port}"}


def test_a_name_keeps_its_host_header_and_is_connected_to_at_the_checked_address(
    server, port, monkeypatch
):
    _resolve(monkeypatch, {"photos.example": ["127.0.0.1"]})
    assert get(f"http://photos.example:{port}/photo", allowed=here) == PHOTO
    assert server.asked == [("/photo", f"photos.example:{port}")]


def test_a_name_with_one_private_address_among_its_own_is_refused(server, port, monkeypatch):
    _resolve(monkeypatch, {"photos.example": ["127.0.0.1", "192.168.0.7"]})
    assert refusal(f"http://photos.example:{port}/photo", allowed=here) == (
        "photos.example is not a public address; send the image itself."
    )
    assert server.asked == []


def _resolve(monkeypatch, names):
    """Answer for these names as a name server would."""
    usual = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        return [
            found for own in names.get(host, [host]) for found in usual(own, *arguments, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_not_asked_however_it_is_written(server, port, host):
    name = host.strip("[]")
    assert refusal(f"http://{host}:{port}/photo") == (
        f"{name} is not a public address; send the image itself."
    )
    assert server.asked == []


def test_a_redirect_to_another_address_is_checked_again(server, port):
    assert refusal(f"http://127.0.0.1:{port}/away", allowed=here) == (
        "127.0.0.2 is not a public address; send the image itself."
    )
    assert [path for path, _ in server.asked] == ["/away"]


def test_fetch_errors_omit_credentials_and_query(port):
    base = f"http://127.0.0.1:{port}"
    assert refusal(f"{base}/loop", allowed=here) == (f"{base}/loop redirects more than 3 times.")
    assert refusal(f"{base}/none?key=1", allowed=here) == f"{base}/none returned status 404."
    for path in ("photo", "photo?secret=1"):
        assert refusal(f"{base}/{path}", allowed=here, most=5000) == f"{base}/photo exceeds 0 MB."
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://ann:pw@127.0.0.1:{closed.getsockname()[1]}/x"
    assert refusal(address, allowed=here) == (
        f"{address.replace('ann:pw@', '')} cannot be fetched (All connection attempts failed)."
    )
    assert refusal("ftp://127.0.0.1/x").startswith("ftp://127.0.0.1/x cannot be fetched (")
    assert refusal("http://[::1/x") == "http://[::1/x cannot be fetched (Invalid IPv6 URL)."


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),  # 93.184.215.14, by NAT64
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::a00:1", False),  # 10.0.0.1, by NAT64
        ("2002:a00:1::", False),  # 10.0.0.1, by 6to4
    ],
)
def test_public_is_what_the_internet_reaches(address, public):
    assert is_public(address) is public

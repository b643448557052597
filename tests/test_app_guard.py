"""Who may call the app, and how fast passwords are tried."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from app.guard import Guard

SAMPLES = Path(__file__).parent.parent / "data" / "samples"


@pytest.fixture(scope="module")
def url(served) -> str:
    return served[0]["toys"]


@pytest.mark.parametrize("path", ["", "gradio_api/info", "gradio_api/mcp/", "config"])
def test_a_foreign_host_header_is_rejected(url, path):
    """As where a name of another site was made to lead here."""
    answer = httpx.get(f"{url}{path}", headers={"Host": "evil.example:7860"})
    assert answer.status_code == 400
    assert answer.text == (
        "Unknown host 'evil.example:7860'; if it is this app, start it with --allow-host."
    )


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example"]
)
def test_cross_site_requests_are_rejected(url, origin):
    headers = {"Origin": origin}
    files = {"files": ("cat.jpg", (SAMPLES / "cat.jpg").read_bytes())}
    upload = httpx.post(f"{url}gradio_api/upload", files=files, headers=headers)
    call = httpx.post(f"{url}gradio_api/call/describe", json={"data": []}, headers=headers)
    for answer in (upload, call):
        assert answer.status_code == 403
        assert answer.text == f"Requests from {origin} are not allowed."


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_same_origin_requests_and_programs_are_allowed(url, host):
    address = url.replace("127.0.0.1", host)
    files = {"files": ("cat.jpg", (SAMPLES / "cat.jpg").read_bytes())}
    for headers in ({}, {"Origin": address.rstrip("/")}):
        assert httpx.post(f"{url}gradio_api/upload", files=files, headers=headers | {
            "Host": address.split("/")[2]}).status_code == 200  # fmt: skip


@pytest.mark.parametrize("path", ["", "gradio_api/info", "no/such/page"])
def test_responses_forbid_content_sniffing_and_framing(url, path):
    headers = httpx.get(f"{url}{path}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def _ask(guard: Guard, *, path: str = "/", **headers: str) -> int:
    """The status of an answer."""
    scope = {
        "type": "http",
        "path": path,
        "client": ("10.0.0.1", 5),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    told = []

    async def send(message):
        told.append(message)

    await guard(scope, None, send)
    return told[0]["status"]


def _answering(*statuses: int):
    answers = iter(statuses)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": next(answers), "headers": []})

    return app


@pytest.mark.parametrize(
    ("host", "proxies", "headers", "status"),
    [
        ("0.0.0.0", [], {"host": "photos.lan:7860"}, 200),
        ("0.0.0.0", [], {"host": "photos.lan", "origin": "http://evil.example"}, 403),
        ("127.0.0.1", [], {"host": "[::1]:7860"}, 200),
        ("127.0.0.1", [], {}, 400),
        ("127.0.0.1", [], {"host": "[::1"}, 400),
        ("127.0.0.1", ["photos.example"], {"host": "photos.example"}, 200),
        ("127.0.0.1", ["photos.example"], {
            "host": "127.0.0.1:7860", "origin": "https://photos.example"}, 200),
    ],
)  # fmt: skip
def test_accepted_host_names_depend_on_host_and_proxies(host, proxies, headers, status):
    guard = Guard(_answering(200), host=host, proxies=proxies)
    assert asyncio.run(_ask(guard, **headers)) == status


def test_failed_logins_are_serialised_with_backoff(monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    guard = Guard(_answering(*[400] * 10, 200, 400), host="0.0.0.0")

    async def try_all():
        await asyncio.gather(*(_ask(guard, path="/login") for _ in range(10)))
        await _ask(guard, path="/login")
        await _ask(guard, path="/login/")

    asyncio.run(try_all())
    assert waits == [
        1,
        2,
        4,
        8,
        16,
        30,
        30,
        30,
    ]  # the first three are free, and those after a right one


def test_the_login_of_the_app_is_slowed_down(served):
    address = f"{served[0]['locked']}login"
    began = time.monotonic()
    for _ in range(4):
        answer = httpx.post(address, data={"username": "ann", "password": "wrong"}, timeout=30)
        assert answer.status_code == 400
    assert time.monotonic() - began > 1
    right = httpx.post(address, data={"username": "ann", "password": "b:c"}, timeout=30)
    assert right.status_code == 200

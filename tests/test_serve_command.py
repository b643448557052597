"""`captioner serve` as a command: mistakes, what it loads, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from captioner import Captioner
from captioner.cli import main
from tests.test_serve import CAT, MODEL, PATIENCE, serving


def run(*options: str, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "captioner", "serve", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE,
        env=os.environ | environment,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_an_invalid_command_prints_one_line():
    assert run("--host", "0.0.0.0", CAPTIONER_TOKEN=" ") == (
        2, "", "captioner: --host '0.0.0.0' is reachable from other machines; set "
        "CAPTIONER_TOKEN to a secret that clients must send, or use --allow-anyone.\n",
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run("--port", str(port)) == (
            2, "", f"captioner: --port {port} is in use; choose another --port, or 0 for "
            "a free one.\n")  # fmt: skip


def test_help_loads_neither_a_server_nor_a_model():
    code = (
        "import sys\nfrom captioner.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: print({'starlette', 'uvicorn', 'onnxruntime', 'PIL'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_a_model_that_cannot_be_loaded_is_an_error_before_the_service_starts(capsys):
    assert main(["serve", "--port", "0", "--device", "tpu9"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("captioner: device 'tpu9' cannot be used (")
    assert error.endswith("; choose auto or cpu.\n")


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_service_once_requests_in_flight_are_answered(number, status):
    with serving() as (url, process):
        files = {"photo": ("large.jpg", CAT + bytes(2**21))}
        assert httpx.post(f"{url}/caption", files=files, timeout=PATIENCE).status_code == 200
        host, port = url.removeprefix("http://").split(":")
        head = f"POST /caption HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(CAT)}\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            client.sendall(head.encode() + CAT[:-1])
            while httpx.get(f"{url}/healthz").json()["in_flight"] != 1:
                pass
            process.send_signal(number)
            while not refuses(host, int(port)):
                pass
            assert process.poll() is None
            client.sendall(CAT[-1:])
            answer = b"".join(iter(lambda: client.recv(2**16), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert told["caption"] == Captioner.load(MODEL, runtime="onnx").caption(CAT).text
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (status, "[] []\n", "")


def refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False

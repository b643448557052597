"""`python ui.py`: invalid options, and proxies."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio.data_classes import ImageData

import ui
from app.controls import photo_input
from captioner import CaptionerError

ROOT = Path(__file__).parent.parent


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "ui.py", *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_loads_neither_gradio_nor_a_model():
    code = (
        "import sys, ui\n"
        "try: ui.main(['--help'])\n"
        "except SystemExit: print({'gradio', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("set()\n"), done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("--host", "300.1.1.1"),
            "--host '300.1.1.1' is not an address of this machine; choose 127.0.0.1 for local "
            "access only, or 0.0.0.0 for the network.",
        ),
        (
            ("--port", "99999"),
            "--port 99999 is not from 1 to 65535; choose another --port, or leave it out for the "
            "first free one.",
        ),
        (
            ("--port", "0"),
            "--port 0 is not from 1 to 65535; choose another --port, or leave it out for the "
            "first free one.",
        ),
    ],
)
def test_an_invalid_address_ends_the_program_with_one_line(options, reason):
    done = run(*options)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ui: {reason}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc, where each thread has a heap")
def test_threads_of_the_app_share_one_heap():
    code = """
import ctypes, sys, threading, ui
if sys.argv[1:]: ui.share_heap()
gate = threading.Barrier(4)
def take():
    gate.wait()
    kept = [bytes(1000) for _ in range(1000)]
    gate.wait()
all = [threading.Thread(target=take) for _ in range(4)]
for thread in all: thread.start()
for thread in all: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
    heaps = [
        subprocess.check_output([sys.executable, "-c", code, *mine], cwd=ROOT).count(b"<heap nr")
        for mine in ([], ["shared"])
    ]
    assert heaps[0] > heaps[1] == 1


def test_a_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        reason = (
            rf"^--port {port} is in use; choose another --port, or leave it out for the first free "
            r"one\."
        )
        with pytest.raises(CaptionerError, match=reason):
            ui.check_address("127.0.0.1", port)
    ui.check_address("127.0.0.1", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_proxy", "http://127.0.0.1:9"),  # nothing listens there
        ("all_proxy", "socks5://127.0.0.1:9"),
    ],
)
def test_proxies_are_ignored(checkpoints, tmp_path, name, value):
    plain = {key: text for key, text in os.environ.items() if not key.lower().endswith("_proxy")}
    process = subprocess.Popen(
        [sys.executable, "-u", "ui.py", "--checkpoint", checkpoints["lstm"], "--device", "cpu"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=plain | {name: value, "GRADIO_TEMP_DIR": str(tmp_path)},
    )  # fmt: skip
    with process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"http://\S+", line):
                    break
            else:
                pytest.fail("".join(lines))
            with httpx.Client(trust_env=False) as client:
                assert client.get(found[0]).status_code == 200
        finally:
            process.terminate()


def test_photos_arrive_as_files_even_if_gradio_recreates_their_input():
    made = photo_input(label="photo")
    again = type(made)(**made.constructor_args)
    assert again.preprocess(ImageData(path="turned.tiff")) == "turned.tiff"

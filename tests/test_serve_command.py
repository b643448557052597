"""`captioner serve` as a command: mistakes, and what it loads."""

import os
import socket
import subprocess
import sys

from tests.test_serve import PATIENCE


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

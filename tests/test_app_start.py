"""`python ui.py` where the environment speaks of proxies, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_proxy", "http://127.0.0.1:9"),  # nothing listens there
        ("all_proxy", "socks5://127.0.0.1:9"),
    ],
)
def test_no_proxy_comes_between_the_app_and_itself(checkpoints, tmp_path, name, value):
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

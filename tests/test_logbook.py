"""Numbers of a run, in TensorBoard and in Weights & Biases without its servers."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from captioner.errors import MissingExtraError
from training.running.logbook import Logbook

ROOT = Path(__file__).parent.parent


def test_tensorboard_is_always_written_and_nothing_else_unless_asked(tmp_path):
    book = Logbook(tmp_path, first_step=1)
    book.add({"train/loss": 2.5}, 20)
    book.add({"train/loss": 1.5}, 40)
    book.close()
    assert {file.name for file in tmp_path.iterdir()} == {"tensorboard", "metrics.jsonl"}
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(20, 2.5), (40, 1.5)]
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["train/loss"]) for line in lines] == [(20, 2.5), (40, 1.5)]
    assert 0 <= time.time() - lines[0]["time"] < 600


RUNS = """
import sys
from importlib.util import find_spec
from pathlib import Path
from training.running.logbook import Logbook

for value in (2.5, 1.5):
    folder = Path(sys.argv[1])
    settings = {"seed": 1234567}
    book = Logbook(folder, first_step=1, project="photos", name="toy", settings=settings)
    book.add({"train/loss": value}, 20)
    book.close()
"""


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_a_run_offline_and_knows_it_again(tmp_path):
    # In a process of its own, for wandb wraps output streams and starts a service.
    subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        check=True,
        timeout=300,
    )
    identity = (tmp_path / "wandb.id").read_text()
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert files
    assert {file.name for file in files} == {f"run-{identity}.wandb"}
    written = b"".join(file.read_bytes() for file in files)
    for text in (b"train/loss", b"1234567", b"photos"):
        assert text in written


def test_without_wandb_the_setting_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"'photos'.* pip install 'captioner\[wandb\]'"):
        Logbook(tmp_path, first_step=1, project="photos")

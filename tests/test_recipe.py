"""Settings of a recipe reach the run: what each does on its own is tested with its module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shapes import write_shapes

from captioner.checkpoint.header import read_header
from captioner.checkpoint.weights import load_checkpoint
from training.train import main

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "tests" / "smoke.toml"
STAGE = "name='all', epochs=2, batch_size=3, learning_rate=3e-3"
WHOLE = f"{STAGE}, encoder='trained', encoder_learning_rate=1e-3, augment=false"


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    """Eight photos with captions in the present folder."""
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path)


def arguments(*changes: str, folder: str) -> list[str]:
    return [str(SMOKE), "--folder", folder, *(f"--set={change}" for change in changes)]


def train(*changes: str, folder: str) -> dict:
    """What a run with these changes ended with."""
    assert main(arguments(*changes, folder=folder)) == 0
    return torch.load(Path(folder, "resume.pt"), weights_only=True)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], **tolerance) -> bool:
    return all(torch.allclose(x, other[name], **tolerance) for name, x in one.items())


def test_the_average_is_what_is_saved_and_gone_on_from():
    plain = train(f"stages=[{{{STAGE}}}]", folder="plain")
    state = train(f"stages=[{{{STAGE}, ema=0.9}}]", folder="average")
    average = {k.removeprefix("module."): v for k, v in state["average"].items()}
    del average["n_averaged"]
    saved = load_checkpoint("average/last.safetensors")[0].state_dict()
    assert same(average, saved, rtol=1e-3, atol=1e-6)  # matrices are kept in half precision
    assert same(average, state["model"], rtol=0, atol=0)
    assert not same(average, plain["model"])


def test_steps_are_counted_by_what_is_accumulated():
    state = train(f"stages=[{{{STAGE}, accumulate=2}}]", folder="run")
    assert state["progress"]["steps"] == 4  # of three batches each epoch has, two and one
    assert state["schedule"]["last_epoch"] == 4


def test_precision_and_a_teacher_change_what_is_learned():
    plain = train(f"stages=[{{{WHOLE}}}]", folder="plain")["model"]
    narrow = train(f"stages=[{{{WHOLE}}}]", "precision=bfloat16", folder="narrow")["model"]
    assert not same(narrow, plain)
    assert same(narrow, plain, rtol=0.1, atol=0.02)
    teacher = "teachers=['plain/last.safetensors'], teacher_weight=1.0"
    taught = train(f"stages=[{{{WHOLE}, {teacher}}}]", folder="taught")["model"]
    assert not same(taught, plain, rtol=0.1, atol=0.001)


def test_the_reward_that_was_learned_from_is_written_down():
    own = "{name='own', objective='cider', epochs=1, batch_size=8, samples=2, bleu=0.5}"
    train(f"stages=[{{{STAGE}}}, {own}]", "data.max_words=8", folder="run")
    rewards = read_header("run/last.safetensors").trained_on["rewards"]
    assert list(rewards) == ["own"]
    assert rewards["own"].startswith(
        "CIDEr-D+0.5*BLEU-4|n:4|sigma:6|end:counted|df:8 training images, "
    )


def test_compiled_code_learns_the_same():
    """In a process of its own: torch.compile does not look through the checks of shapes."""
    stage = "stages=[{name='all', epochs=1, batch_size=4, learning_rate=3e-3}]"
    small = [stage, "model.decoder.layers=1"]  # features come from the cache the second time
    plain = train(*small, folder="plain")["model"]
    changes = arguments(*small, "compile=aot_eager", folder="compiled")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "training.train", *changes],
        env=environment | {"TORCH_LOGS": "graph_code"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "TRACED GRAPH" in run.stderr
    compiled = torch.load("compiled/resume.pt", weights_only=True)["model"]
    assert same(compiled, plain, rtol=1e-4, atol=1e-5)


def test_an_unknown_compiler_is_named(capsys):
    assert main(arguments("compile=inducter", folder="run")) == 1
    assert "error: compile is 'inducter'; did you mean 'inductor'?" in capsys.readouterr().err

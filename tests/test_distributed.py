import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shapes import write_shapes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from captioner.checkpoint.header import read_header
from tests.together import (
    ENVIRONMENT,
    PATIENCE,
    ROOT,
    Together,
    children,
    end_session,
    members,
    same,
    wait_until,
)

SMOKE = ROOT / "tests" / "smoke.toml"

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not Path("/proc/self/task").exists(),
    reason="needs torch.distributed, and Linux to find processes",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with 72 photos; their captions differ in length and number."""
    folder = tmp_path_factory.mktemp("together")
    captions = write_shapes(folder)
    rows = []
    for number in range(9):
        for name, text in captions.items():
            words = text.split() * 2
            own = [" ".join(words[: 3 + (number * 5 + len(rows)) % 9])]
            own += ["a thing"] if number == 0 else []
            rows.append({"image": f"{number}-{name}", "captions": own})
            shutil.copy(folder / "photos" / name, folder / "photos" / f"{number}-{name}")
    lines = [json.dumps(row) for row in rows]
    (folder / "many.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _there(place, monkeypatch) -> None:
    monkeypatch.chdir(place)


def arguments(folder: str, *changes: str) -> list[str]:
    source = "{annotations='many.jsonl', images=['photos']}"
    changes = (f"data.train=[{source}]", f"data.val={source}", "data.min_count=1", *changes)
    options = [f"--set={change}" for change in changes]
    return [str(SMOKE), "--folder", folder, "--device", "cpu", *options]


def ended(folder: str) -> dict:
    return torch.load(Path(folder, "resume.pt"), weights_only=True)


def curve(folder: str, tag: str) -> list[float]:
    events = EventAccumulator(f"{folder}/tensorboard")
    events.Reload()
    return [point.value for point in events.Scalars(tag)]


STAGES = ("stages.0.batch_size=20", "stages.1.batch_size=20", "stages.1.epochs=1")
LSTM = (
    "model.decoder={kind='lstm', width=64, embedding_dim=32, attention_width=32, dropout=0.0}",
    "stages.0.coverage=0.5",
    "stages.0.label_smoothing=0.1",
)


SUMMED = ("stages.0.accumulate=2", "stages.1.accumulate=2", "stages.0.ema=0.5", "stages.1.ema=0.5")


@pytest.mark.parametrize("decoder", [(), LSTM, SUMMED], ids=["transformer", "lstm", "accumulated"])
def test_two_processes_train_as_one_with_batches_twice_as_large(together, decoder):
    name = f"runs/{len(decoder)}"
    for ranks in (1, 2):
        changes = (*STAGES, *decoder, f"data.cache={name}-cache-{ranks}")
        together.run(arguments(f"{name}-{ranks}", *changes), ranks=ranks)
    for tag in ("train/loss", "train/gradient_norm", "train/rate"):
        one, two = (curve(f"{name}-{ranks}", tag) for ranks in (1, 2))
        # 64 photos with one caption, 8 with two, are five batches
        assert len(one) == 3 * (3 if decoder is SUMMED else 5)
        assert two == pytest.approx(one, rel=2e-3 if tag == "train/gradient_norm" else 2e-4)
    one, two = ended(f"{name}-1"), ended(f"{name}-2")
    assert one["progress"].keys() == two["progress"].keys()
    for key in ("stage", "epoch", "steps", "waited"):
        assert one["progress"][key] == two["progress"][key]
    for key, weights in one["model"].items():
        torch.testing.assert_close(two["model"][key], weights, rtol=1e-2, atol=1e-3)
    assert len(two["random"]) == 2
    assert not torch.equal(two["random"][0]["cpu"], two["random"][1]["cpu"])
    files = sorted(Path(f"{name}-cache-1").rglob("*.npy"))
    assert len(files) == 1  # training and validation photos are the same
    for file in files:
        other = Path(f"{name}-cache-2", file.relative_to(f"{name}-cache-1"))
        assert file.read_bytes() == other.read_bytes()


def test_only_the_first_process_writes_and_all_validation_photos_count(together):
    together.run(arguments("runs/files", *STAGES), ranks=2)
    assert {path.name for path in Path("runs/files").iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "log.txt",
        "metrics.jsonl",
        "resume.1.pt",
        "resume.pt",
        "stage.safetensors",
        "tensorboard",
    }
    assert len(list(Path("runs/files/tensorboard").iterdir())) == 1
    log = Path("runs/files/log.txt").read_text()
    assert log.count("decoder 1/2  loss") == log.count("decoder 1/2  CIDEr") == 1
    scores = read_header("runs/files/last.safetensors").scores["validation"]
    assert ended("runs/files")["progress"]["history"][-1].items() >= scores.items()


def test_two_processes_train_on_captions_they_sample(together):
    words = "{name='words', epochs=3, batch_size=20, learning_rate=4e-3}"
    own = "{name='own', objective='cider', epochs=2, batch_size=20, learning_rate=1e-3, samples=3}"
    together.run(arguments("runs/own", f"stages=[{words}, {own}]", "data.max_words=8"), ranks=2)
    rewards = curve("runs/own", "train/reward")
    assert len(rewards) == 10
    assert all(0 < reward < 10 for reward in rewards)


LONG = (
    "model.decoder.dropout=0.3",
    "save_minutes=0",
    "stages.0.epochs=4",
    "stages.0.batch_size=10",
    "stages.1.epochs=1",
    "stages.1.batch_size=10",
)


def test_a_killed_worker_ends_the_job_and_the_same_command_resumes(together, place):
    together.run(arguments("runs/whole", *LONG), ranks=2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    process = subprocess.Popen(
        [*torchrun, "--nproc-per-node=2", "-m", "training.train", *arguments("runs/cut", *LONG)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: Path("runs/cut/resume.1.pt").exists(), "the second save")
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[-1], signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
        wait_until(lambda: not members(process.pid), "the other worker's end")
    finally:
        end_session(process)
    assert ended("runs/cut")["progress"] != ended("runs/whole")["progress"]
    together.run(arguments("runs/cut", *LONG), ranks=2)
    cut, whole = ended("runs/cut"), ended("runs/whole")
    assert same(cut, whole)


def test_sharded_weights_train_and_resume_as_whole_ones(together):
    whole = "{name='whole', encoder='trained', epochs=2, batch_size=20, frozen_layers=0.3}"
    own = "{name='own', objective='cider', encoder='trained', epochs=1, batch_size=20, samples=2}"
    changes = (f"stages=[{whole}, {own}]", "data.max_words=8", "save_minutes=0")
    together.run(arguments("runs/one", *changes))
    together.run(arguments("runs/shards", *changes, "shard=true"), ranks=2)
    for tag in ("train/loss", "train/gradient_norm"):
        one, two = (curve(f"runs/{name}", tag)[:10] for name in ("one", "shards"))
        assert len(one) == 10  # then captions are drawn, others by each process
        assert two == pytest.approx(one, rel=2e-3 if tag == "train/gradient_norm" else 2e-4)
    together.start(arguments("runs/cut-shards", *changes, "shard=true"), ranks=2)
    wait_until(Path("runs/cut-shards/resume.1.pt").exists, "the second save")
    for child in children(together.process.pid):
        os.kill(child, signal.SIGKILL)
    assert together.ended() == [-signal.SIGKILL] * 2
    together.run(arguments("runs/cut-shards", *changes, "shard=true"), ranks=2)
    assert same(ended("runs/cut-shards"), ended("runs/shards"))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_sharded_weights_keep_the_average_and_skip_the_same_steps(together, precision):
    stage = (
        "{name='whole', encoder='trained', epochs=1, batch_size=20, frozen_layers=0.3, ema=0.5, "
        "final_rate=1.0, learning_rate=1e-2, encoder_learning_rate=1e-3}"
    )
    changes = (f"stages=[{stage}]", f"precision={precision}")
    runs = [f"runs/{name}-{precision}" for name in ("mean", "mean-shards")]
    together.run(arguments(runs[0], *changes))
    together.run(arguments(runs[1], *changes, "shard=true"), ranks=2)
    one, two = (curve(run, "train/gradient_norm") for run in runs)
    assert two == pytest.approx(one, rel=1e-3 if precision == "float32" else 5e-2)
    overflown = precision == "float16"  # the scale that it begins with is too large
    assert [norm == 0 for norm in one] == [overflown, False, False, False, False]
    one, two = (torch.load(Path(run, "resume.1.pt"), weights_only=True) for run in runs)
    assert ("scaler" in one) == overflown
    assert one.get("scaler") == two.get("scaler")
    if not overflown:  # whose rounding Adam makes as large as a step
        for name, average in one["average"].items():
            if not name.endswith("key.bias"):  # which attention does not see
                torch.testing.assert_close(two["average"][name], average, rtol=1e-3, atol=1e-5)
    name = "decoder.norm.weight"
    assert (two["model"][name] - two["average"][f"module.{name}"]).abs().max() > 4e-3


def test_when_the_launcher_is_killed_its_processes_end(place):
    launcher = Together(place)
    try:
        launcher.start(arguments("runs/orphans", *LONG), ranks=2)
        wait_until(lambda: Path("runs/orphans/resume.pt").exists(), "the first save")
        launcher.process.kill()
        wait_until(lambda: not members(launcher.process.pid), "the end of the orphans")
    finally:
        launcher.close()

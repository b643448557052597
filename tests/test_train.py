import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import write_shapes

from captioner.checkpoint.header import read_header
from captioner.pytorch import TorchCaptioner
from training.report.run_files import read_run
from training.running.resume import RunState
from training.settings import load_settings
from training.train import Run, main

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "tests" / "smoke.toml"

ONE_STAGE = "stages=[{name='all', epochs=2, batch_size=4, learning_rate=3e-3}]"
LSTM = "model.decoder={kind='lstm', width=64, embedding_dim=32, attention_width=32, dropout=0.0}"


def times(count: int) -> str:
    """The training photos so many times over: more steps between two validations."""
    source = "{annotations='captions.jsonl', images=['photos']}"
    return f"data.train=[{', '.join([source] * count)}]"


@pytest.fixture
def captions(tmp_path, monkeypatch) -> dict[str, str]:
    """Captions of the eight photos in the present folder."""
    monkeypatch.chdir(tmp_path)
    return write_shapes(tmp_path)


def arguments(*changes: str, folder: str = "runs/smoke") -> list[str]:
    return [str(SMOKE), "--folder", folder, *(f"--set={change}" for change in changes)]


def train(*changes: str, folder: str = "runs/smoke") -> dict:
    """Train with these changes; return what the run ended with."""
    assert main(arguments(*changes, folder=folder)) == 0
    return ended(folder)


def ended(folder: str) -> dict:
    return torch.load(Path(folder, "resume.pt"), weights_only=True)


def start(*changes: str) -> dict[str, torch.Tensor]:
    """The weights a run with these changes starts with."""
    run = Run(load_settings(SMOKE, changes), Path("runs/start"), device=torch.device("cpu"))
    run.make_model()
    return run.model.state_dict()


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def is_overfitted(captions: dict[str, str]) -> bool:
    captioner = TorchCaptioner.load("runs/smoke/best.safetensors", device="cpu")
    return captions == {name: captioner.caption(f"photos/{name}").text for name in captions}


def test_a_run_overfits_eight_photos_with_a_frozen_encoder(captions):
    stage = "stages=[{name='all', epochs=12, batch_size=8, learning_rate=4e-3, label_smoothing=0}]"
    run = command("-m", "training.train", *arguments(times(4), stage))
    assert run.stdout == "best validation CIDEr 1000.0: runs/smoke/best.safetensors\n", run.stderr
    assert is_overfitted(captions)


def test_an_lstm_and_its_encoder_overfit_eight_photos(captions):
    train(
        times(16),
        LSTM,
        "stages=[{name='all', epochs=5, batch_size=8, learning_rate=1e-2, coverage=0.1}]",
        "stages.0.encoder=trained",
        "stages.0.encoder_learning_rate=1e-4",
        "stages.0.label_smoothing=0",
        "stages.0.augment=false",
    )
    assert is_overfitted(captions)
    header = read_header("runs/smoke/best.safetensors")
    assert header.scores["validation"]["CIDEr"] == pytest.approx(10)


def test_self_critical_training_raises_the_reward(captions):
    words = "{name='words', epochs=5, batch_size=8, learning_rate=4e-3}"
    own = "{name='own', objective='cider', epochs=4, batch_size=8, learning_rate=1e-3}"
    train(times(4), f"stages=[{words}, {own}]", "data.max_words=8")
    lines = Path("runs/smoke/log.txt").read_text().splitlines()
    rewards = [
        float(line.split("  reward ")[1].split()[0]) for line in lines if "  reward " in line
    ]
    assert len(rewards) == 4
    assert rewards[-1] > rewards[0] + 50


def test_grounding_moves_the_attention_of_either_decoder_into_boxes(captions):
    boxes = {"ball": [6, 6, 42, 42], "stick": [0, 8, 48, 18]}
    table = {}
    for name, text in captions.items():
        kind = name.removesuffix(".png").split("-")[1]
        phrase = {"first_word_index": 0, "phrase": " ".join(text.split()[:3]), "phrase_id": "1"}
        table[name] = {
            "split": "train",
            "orig_size": [48, 48],
            "boxes_orig_xyxy": {"1": [boxes[kind]]},
            "sentences": [{"text": text, "phrases": [phrase | {"phrase_type": ["other"]}]}],
        }
    Path("boxes.json").write_text(json.dumps(table))
    boxed = "{annotations='captions.jsonl', images=['photos'], boxes='boxes.json'}"
    stage = "{name='all', epochs=6, batch_size=8, learning_rate=4e-3"
    for decoder in ("decoder", LSTM):
        changes = [f"data.train=[{boxed}, {boxed}]", "preprocess={height=64, width=64}"]
        changes += [decoder] if decoder == LSTM else []
        inside = []
        for weight in (0.0, 1.0):
            folder = f"runs/{decoder[:13]}-{weight}"
            train(*changes, f"stages=[{stage}, grounding={weight}}}]", folder=folder)
            captioner = TorchCaptioner.load(f"{folder}/last.safetensors", device="cpu")
            found = [captioner.caption(f"photos/{n}").words[0].attention for n in captions]
            stick = np.stack(found)[[n.endswith("stick.png") for n in captions]].mean(axis=0)
            inside.append(stick[:2].sum().item())  # of four rows
        assert inside[1] > inside[0] + 0.15


def test_a_run_starts_from_the_checkpoint_of_another(captions):
    before = train(ONE_STAGE, folder="one")["model"]
    tiny = "stages=[{name='on', epochs=1, batch_size=8, learning_rate=1e-12, weight_decay=0}]"
    kept = ("start_from=one/last.safetensors", "encoder_weights=", "data.min_count=")
    after = train(*kept, tiny, folder="two")["model"]
    for name, x in before.items():  # matrices were kept in half precision
        torch.testing.assert_close(after[name], x, rtol=1e-3, atol=1e-6)
    trained_on = read_header("one/last.safetensors").trained_on
    assert read_header("two/last.safetensors").trained_on["before"] == trained_on


def test_only_what_a_stage_trains_changes(captions):
    before = start(ONE_STAGE)
    frozen = changed(before, train(ONE_STAGE, folder="frozen")["model"])
    assert frozen == {name for name in before if name.startswith("decoder.")}

    whole = [ONE_STAGE, "stages.0.encoder=trained"]
    assert changed(before, train(*whole, folder="whole")["model"]) == set(before)

    half = train(*whole, "stages.0.frozen_layers=0.5", folder="half")["model"]
    kept = set(before) - changed(before, half)
    assert "encoder.backbone.patch_embed.proj.weight" in kept
    assert "encoder.backbone.blocks.0.attn.qkv.weight" in kept
    assert "encoder.backbone.norm.weight" not in kept


def test_the_same_seed_gives_the_same_weights_whatever_cache_or_workers(captions):
    changes = [ONE_STAGE, "model.decoder.dropout=0.3", "stages.0.augment=true"]
    first = train(*changes, "data.cache=one", folder="one")["model"]
    warm = train(*changes, "data.cache=one", "data.workers=1", folder="two")["model"]
    assert not changed(first, warm)
    other = train(*changes, "data.cache=one", "seed=1", folder="three")["model"]
    assert changed(first, other)


KILLER = """
import os, signal, sys
from training import train
from training.running import learner, validation

def deadly(function, count):
    def counted(*args, **kwargs):
        nonlocal count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return counted

for moment in sys.argv[1].split():
    place, count = moment.split(":")
    owners = {"fsync": os, "caption_batches": validation}
    owner = owners.get(place, learner.Learner if hasattr(learner.Learner, place) else train.Run)
    child = os.fork()
    if not child:
        setattr(owner, place, deadly(getattr(owner, place), int(count)))
        os._exit(train.main([*sys.argv[2:], "--folder", f"runs/{place}-{count}"]))
    print(moment, -os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_a_run_killed_at_any_moment_resumes_to_identical_weights(captions):
    changes = [
        "model.decoder.dropout=0.3",
        "save_minutes=0",  # after every step
        "stages.0.epochs=3",
        "stages.0.batch_size=3",
        "stages.0.learning_rate=1e-9",  # so that patience ends the stage after two epochs
        "stages.0.patience=1",
        "stages.1.epochs=1",
        "stages.1.batch_size=3",
        "stages.1.augment=true",
    ]
    train(*changes, folder="runs/whole")
    whole = ended("runs/whole")
    stages = [scores["stage"] for scores in whole["progress"]["history"]]
    assert stages == ["decoder", "decoder", "whole"]
    moments = [
        "step:2",  # in the middle of an epoch
        "step:7",  # likewise, with a trained encoder
        "fsync:6",  # while saving
        "fsync:10",  # while saving the checkpoint
        "_train_epoch:1",  # between two epochs
        "caption_batches:1",  # after the last step of a stage
        "_train_stage:1",  # between two stages
    ]
    killed = command("-c", KILLER, " ".join(moments), str(SMOKE), *(f"--set={c}" for c in changes))
    assert killed.stdout.split("\n")[:-1] == [f"{m} -{signal.SIGKILL:d}" for m in moments]
    for moment in moments:
        folder = Path("runs", moment.replace(":", "-"))
        assert ended(str(folder))["progress"] != whole["progress"], moment
        state = train(*changes, folder=str(folder))
        assert not changed(state["model"], whole["model"]), moment
        assert state["progress"] == whole["progress"], moment
        for name in ("best.safetensors", "last.safetensors"):
            assert (folder / name).read_bytes() == Path("runs/whole", name).read_bytes(), moment


def test_a_stage_killed_when_its_patience_ends_still_hands_on_its_average(captions):
    one = "{name='one', epochs=9, batch_size=2, validate_steps=1, patience=1, ema=0.5}"
    two = "{name='two', epochs=1, batch_size=8, learning_rate=1e-12, begins_with='last'}"
    changes = [f"stages=[{one}, {two}]", "save_minutes=0"]
    whole = train(*changes, folder="runs/whole")
    assert len(whole["progress"]["history"]) < 9  # stopped early
    options = [str(SMOKE), *(f"--set={change}" for change in changes)]
    killed = command("-c", KILLER, "copy_average_to_model:0", *options)
    assert killed.stdout == f"copy_average_to_model:0 -{signal.SIGKILL:d}\n"
    resumed = train(*changes, folder="runs/copy_average_to_model-0")
    assert not changed(resumed["model"], whole["model"])


def test_a_finished_run_is_not_trained_again(captions, capsys):
    train(ONE_STAGE)
    files = {path: path.read_bytes() for path in Path("runs/smoke").glob("*.safetensors")}
    said = capsys.readouterr().out
    train(ONE_STAGE)
    assert capsys.readouterr().out == said
    assert files == {path: path.read_bytes() for path in Path("runs/smoke").glob("*.safetensors")}


def test_a_stage_without_progress_is_stopped_early(captions):
    train("stages.0.epochs=9", "stages.0.patience=2", "stages.0.learning_rate=1e-9")
    lines = Path("runs/smoke/log.txt").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith("stopped early"))
    assert lines[at].endswith("  decoder: no improvement for 2 epochs, stopped early")
    assert "decoder 3/9  CIDEr" in lines[at - 1]
    assert "whole 1/2  loss" in lines[at + 1]


def test_max_steps_ends_a_stage_and_validate_steps_validates_within_epochs(captions):
    stage = "{name='one', epochs=9, batch_size=4, max_steps=5, validate_steps=2}"
    progress = train(f"stages=[{stage}]")["progress"]
    assert progress["steps"] == 5
    assert [entry["epoch"] for entry in progress["history"]] == [1, 2, 3]
    lines = Path("runs/smoke/metrics.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    assert [point["step"] for point in points if "val/CIDEr" in point] == [2, 4, 5]
    log = Path("runs/smoke/log.txt").read_text().splitlines()
    assert log[-2].endswith("  one: max_steps reached, stopped early")
    assert re.search(r"  finished after 5 steps, best validation CIDEr \d+\.\d$", log[-1])
    assert read_run(Path("runs/smoke")).state == (
        "finished: 3 of 9 epochs; one: max_steps reached, stopped early"
    )
    short = train("stages=[{name='one', epochs=1, batch_size=4, max_steps=5}]", folder="short")
    assert short["progress"]["steps"] == 2


def test_patience_counts_validations_between_epochs(captions):
    still = "{name='one', epochs=9, batch_size=1, learning_rate=1e-12, weight_decay=0"
    progress = train(f"stages=[{still}, validate_steps=2, patience=2}}]")["progress"]
    assert (progress["steps"], len(progress["history"])) == (6, 3)
    lines = Path("runs/smoke/log.txt").read_text().splitlines()
    assert lines[-2].endswith("  one: no improvement for 2 validations, stopped early")


def test_a_stage_begins_with_the_best_epoch_of_the_one_before_or_with_its_last(captions):
    falling = "{name='one', epochs=4, batch_size=4, learning_rate=0.1, warmup=0.5}"
    still = "{name='two', epochs=1, batch_size=8, learning_rate=1e-12, weight_decay=0}"
    stages = f"stages=[{falling}, {still}]"
    best = train(stages, folder="best")
    last = train(stages, "stages.1.begins_with=last", folder="last")
    scores = [entry["CIDEr"] for entry in best["progress"]["history"]]
    assert max(scores[:4]) > scores[3]  # else there would be nothing to see
    assert scores[4] == pytest.approx(max(scores[:4]))
    assert last["progress"]["history"][4]["CIDEr"] == pytest.approx(scores[3])


def test_patience_counts_from_the_best_validation_of_the_stage(captions):
    state = RunState(best=5.0, best_of_stage=5.0)
    state.begin_stage(1)
    assert [state.record_score(cider) for cider in (3.0, 4.0, 4.5, 4.2)] == [
        (False, True),
        (False, True),
        (False, True),
        (False, False),
    ]
    assert (state.best, state.waited) == (5.0, 1)


def test_steps_are_logged_without_a_terminal(captions):
    run = command("-m", "training.train", *arguments(times(8), ONE_STAGE), "--log-every", "1e-9")
    said = [line for line in run.stderr.splitlines() if " batches  loss " in line]
    assert len(said) == 2 * 16  # epochs of as many batches
    assert re.fullmatch(
        r"all 1/2  3 of 16 batches  loss \d\.\d{3}  objective \d\.\d{3}  [\d.]+ photos/s  "
        r"\d+ s left in this epoch  learning rate \d\.\de-\d\d  \d\.\d GB peak memory",
        said[2],
    )
    assert "\r" not in run.stderr  # progress bars
    assert said[2] in Path("runs/smoke/log.txt").read_text()


def test_validation_measures_the_loss_of_the_references(captions):
    state = train(ONE_STAGE)
    lines = Path("runs/smoke/metrics.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    val = [point for point in points if "val/loss" in point]
    assert [point["val/loss"] for point in val] == [
        pytest.approx(entry["loss"]) for entry in state["progress"]["history"]
    ]
    assert val[0]["val/loss"] > val[1]["val/loss"] > 0
    assert val[1]["val/perplexity"] == pytest.approx(np.exp(val[1]["val/loss"]))


def test_a_run_that_diverges_stops_without_saving(captions, capsys):
    changes = [ONE_STAGE, "stages.0.learning_rate=1e30", "stages.0.clip=0"]
    assert main(arguments(*changes)) == 1
    assert re.search(
        r"error: training diverged by step 2: loss \S+, gradient norm \S+\. Lower "
        r"stages\.learning_rate or set stages\.clip, which is 0, and start over\.\n$",
        capsys.readouterr().err,
    )
    assert not Path("runs/smoke/best.safetensors").exists()
    assert not Path("runs/smoke/resume.pt").exists()


def test_a_run_does_not_resume_with_other_settings_or_captions(captions, capsys):
    train(ONE_STAGE)
    capsys.readouterr()
    assert main(arguments(ONE_STAGE, "stages.0.clip=2")) == 1
    assert capsys.readouterr().err == (
        "error: runs/smoke/resume.pt belongs to another run: stages.0.clip was 1.0 and is 2.0. "
        "Give this run another --folder, or delete runs/smoke to start over.\n"
    )
    text = Path("captions.jsonl").read_text()
    Path("captions.jsonl").write_text(text.replace("red ball", "red apple"))
    assert main(arguments(ONE_STAGE)) == 1
    assert "belongs to another run: captions was " in capsys.readouterr().err
    names = {"red ball": "blue ball", "blue ball": "red ball"}
    swapped = re.sub("(red|blue) ball", lambda found: names[found[0]], text)
    Path("captions.jsonl").write_text(swapped)  # the same words, but of other photos
    assert main(arguments(ONE_STAGE)) == 1
    assert "belongs to another run: captions was " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--set", "stages.0.epoch=3"], "unknown setting 'epoch'; did you mean 'epochs'?"),
        (
            ["--set", "data.overlap=refused"],
            "8 of 8 photos of data.val are also in data.train, such as 'red-ball.png'",
        ),
        (["--set", "data.val.annotations=no.json"], "Caption file no.json does not exist"),
        (["--set", "data.val.images=['no']"], "Image folder or archive no does not exist"),
        (["--set", "encoder_weights=no.bin"], "encoder_weights is 'no.bin', but there is no such"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_no_files(captions, capsys, words, text):
    assert main([str(SMOKE), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert text in error
    assert not Path("runs").exists()

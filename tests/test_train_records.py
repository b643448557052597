"""What a run leaves behind: curves, and checkpoints that tell where they come from."""

import json
from pathlib import Path

import pytest
import torch
from shapes import write_shapes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from captioner.checkpoint.header import read_header
from captioner.checkpoint.weights import load_checkpoint
from tests.test_train import ONE_STAGE, SMOKE, train
from training.settings import load_settings, recipe


@pytest.fixture
def captions(tmp_path, monkeypatch) -> dict[str, str]:
    """Captions of the eight photos in the present folder."""
    monkeypatch.chdir(tmp_path)
    return write_shapes(tmp_path)


def test_no_checkpoint_names_a_folder_of_the_machine(captions, tmp_path):
    source = f"{{annotations='{tmp_path}/captions.jsonl', images=['{tmp_path}/photos']}}"
    train(ONE_STAGE, f"data.train=[{source}]", f"data.val={source}")
    header = read_header("runs/smoke/best.safetensors")
    assert str(tmp_path) not in json.dumps(header.trained_on)
    assert header.trained_on["settings"]["data"]["val"]["annotations"] == "captions.jsonl"


def test_the_checkpoints_tell_where_they_come_from(captions):
    state = train()
    config = load_settings(SMOKE)
    last = read_header("runs/smoke/last.safetensors")
    assert (last.name, last.model, last.preprocess) == ("smoke", config.model, config.preprocess)
    assert last.search == config.search
    history = state["progress"]["history"]
    assert last.trained_on == json.loads(
        json.dumps(
            {"settings": recipe(config), "photos": 8, "steps": 8, "history": history},
        )
    )
    assert last.scores["validation"].items() <= history[-1].items()
    best = read_header("runs/smoke/best.safetensors")
    assert best.scores["validation"]["CIDEr"] == state["progress"]["best"]
    model, _ = load_checkpoint("runs/smoke/last.safetensors")
    for name, x in model.state_dict().items():  # matrices are kept in half precision
        torch.testing.assert_close(x, state["model"][name], rtol=1e-3, atol=1e-6)


def test_curves_and_overlays_are_written_for_tensorboard(captions, monkeypatch):
    monkeypatch.setattr("training.train.REPORT_STEPS", 5)
    train(ONE_STAGE, "stages.0.epochs=5", "stages.0.warmup=0.5")
    events = EventAccumulator("runs/smoke/tensorboard", size_guidance={"images": 0})
    events.Reload()
    curves = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    loss = {point.step: point.value for point in curves["train/loss"]}
    assert list(loss) == [2, 4, 5, 6, 8, 10]  # epochs end at even steps
    rates = {point.step: point.value for point in curves["train/rate"]}
    assert [rates[5], rates[10]] == pytest.approx([3e-3, 0.0], abs=1e-9)
    assert loss[2] > loss[10] > 0
    assert [point.step for point in curves["val/CIDEr"]] == [2, 4, 6, 8, 10]
    shown = events.Tags()["images"]
    assert len(shown) == 4
    assert set(shown) < set(captions)
    assert [picture.step for picture in events.Images(shown[0])] == [2, 4, 6, 8, 10]


def test_people_read_scores_times_100_and_programs_as_they_are(captions, capsys):
    best = train(ONE_STAGE)["progress"]["best"]
    assert capsys.readouterr().out == (
        f"best validation CIDEr {100 * best:.1f}: runs/smoke/best.safetensors\n"
    )
    last = json.loads(Path("runs/smoke/metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["val/Bleu_4"] < 1
    assert (
        f"  all 2/2  CIDEr {100 * last['val/CIDEr']:.1f}  BLEU-4 {100 * last['val/Bleu_4']:.1f}  "
        f"loss {last['val/loss']:.3f}  perplexity {last['val/perplexity']:.1f}  "
    ) in Path("runs/smoke/log.txt").read_text()

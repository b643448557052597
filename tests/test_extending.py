"""The examples of docs/extending.md, defined outside the package, do what others do."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from captioner.checkpoint.header import Header
from captioner.checkpoint.weights import save_checkpoint
from captioner.config import ModelConfig, PreprocessConfig, from_table
from captioner.decoders import DECODERS
from captioner.errors import ConfigError
from captioner.folder.sidecars import SIDECARS
from captioner.model import build_model
from captioner.onnx import OnnxCaptioner
from captioner.pytorch import TorchCaptioner
from tests.test_folder import captions
from tests.test_objectives import make_batch
from training.metrics import SCORES, score
from training.objectives import Learning, build_objective
from training.objectives.scheduled_sampling import mix_words
from training.scoring.layout import tabulate
from training.scoring.measures import measure_captions
from training.settings import OBJECTIVES, StageConfig

DOCS = Path(__file__).parent.parent / "docs" / "extending.md"
TABLE = {"encoder": {"backbone": "test_vit"}, "decoder": {"kind": "bag", "width": 16}}


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Import the code of a section as a module of this name."""
    places: dict[str, dict[str, Any]] = {
        "decoder": DECODERS, "sidecar": SIDECARS, "score": SCORES, "objective": OBJECTIVES,
    }  # fmt: skip
    before = {section: dict(registered) for section, registered in places.items()}
    imported = []

    def bring(section: str, name: str) -> ModuleType:
        text = DOCS.read_text(encoding="utf-8")
        [code] = re.findall(rf"## An? {section}\n.*?```python\n(.*?)```", text, re.DOTALL)
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        imported.append(name)
        return importlib.import_module(name)

    yield bring
    for section, registered in places.items():
        registered.clear()
        registered.update(before[section])
    for name in imported:
        del sys.modules[name]


@pytest.fixture
def bag(example):
    return example("decoder", "bag")


@pytest.fixture
def saved(bag, tmp_path, tokenizer):
    torch.manual_seed(0)
    header = Header(
        name="bag",
        model=from_table(ModelConfig, TABLE, where="model"),
        preprocess=PreprocessConfig(height=64, width=64),
        tokenizer=tokenizer,
    )
    model = build_model(header.model, preprocess=header.preprocess, words=len(tokenizer))
    save_checkpoint(tmp_path / "bag.safetensors", model, header, half=False)
    return tmp_path / "bag.safetensors"


def test_without_its_line_a_decoder_is_unknown():
    with pytest.raises(ConfigError) as refused:
        from_table(ModelConfig, TABLE, where="model")
    known = "lstm, transformer, prefix"
    assert str(refused.value) == f"model.decoder.kind is 'bag'; choose from {known}."


def test_its_settings_are_read_and_checked(bag):
    assert from_table(ModelConfig, TABLE, where="model").decoder == bag.BagConfig(width=16)
    with pytest.raises(ConfigError, match=r"decoder\.width is 0; it must be 1 or more"):
        bag.BagConfig(width=0)


def test_its_checkpoint_captions_and_shows_where_it_looked(saved, photos):
    captioner = TorchCaptioner.load(saved, device="cpu")
    for method in ("beam", "greedy", "sample"):
        caption = captioner.caption(photos[0], method=method, max_words=5)
        assert caption.words
        for word in caption.words:
            assert word.attention.shape == (4, 4)
            assert float(word.attention.sum()) == pytest.approx(1, abs=1e-5)


def test_it_learns_from_whole_captions_and_from_its_own_words(saved, tokenizer):
    model = TorchCaptioner.load(saved, device="cpu").model.train()
    words = torch.tensor([[[tokenizer.start_id, *tokenizer.encode("a dog"), tokenizer.end_id]]])
    pixels = torch.randn(1, 3, 64, 64)
    model(pixels, words).logits.sum().backward()
    assert all(weights.grad is not None for weights in model.decoder.parameters())
    with torch.no_grad():
        features = model.encoder(pixels)
    mixed = mix_words(model.decoder, features, words, probability=1.0, tokenizer=tokenizer)
    assert mixed.shape == words.shape
    assert mixed[0, 0, [0, -1]].tolist() == words[0, 0, [0, -1]].tolist()


def test_its_export_captions_alike(saved, photos, tmp_path):
    pytest.importorskip("onnxscript")
    from captioner.onnx.export import export_onnx

    assert export_onnx(saved, tmp_path / "export") < 1e-4
    caption = TorchCaptioner.load(saved, device="cpu").caption(photos[0], max_words=5)
    again = OnnxCaptioner.load(tmp_path / "export").caption(photos[0], max_words=5)
    assert again.text == caption.text
    assert_close(again.log_probability, caption.log_probability, atol=1e-2, rtol=0)


def test_a_sidecar_is_written_read_and_respected_as_those_of_the_package(example, command, folder):
    status, _, errors = command(folder, "--sidecar", "takeout")
    assert status == 2
    assert "argument --sidecar: invalid choice: 'takeout' (choose from" in errors[-1]

    example("sidecar", "takeout")
    (folder / "flag.png.json").write_text('{"title": "flag", "description": "Rome"}')
    (folder / "tower.png.json").write_text("{")
    status, lines, errors = command(folder, "--sidecar", "takeout", "--existing", "append")
    assert status == 1
    assert lines[0].endswith("4 photos: 3 captioned, 0 captioned before, 0 skipped, 1 failed")
    assert "tower.png: its .json file is damaged; delete it." in errors[0]
    told = captions(folder / "captions.jsonl")
    written = json.loads((folder / "flag.png.json").read_text())
    assert written == {"title": "flag", "description": f"Rome, {told['flag.png']}"}

    (folder / "flag.png.json").unlink()
    (folder / "tower.png.json").write_text("{}")
    assert command(folder, "--sidecar", "takeout", "--retry-failed")[0] == 0
    assert command(folder, "--sidecar", "takeout")[0] == 0
    for name, caption in captions(folder / "captions.jsonl").items():
        assert json.loads((folder / f"{name}.json").read_text())["description"] == caption
    [line] = [
        line
        for line in (folder / "captions.jsonl").read_text().splitlines()
        if '"tower' in line and '"captioned"' in line
    ]
    assert json.loads(line)["also_in"] == ["takeout"]


def test_a_score_is_computed_bounded_and_shown_as_those_of_the_package(example):
    example("score", "length")
    references = {1: ["a dog", "a big dog runs"], 2: ["a cat"]}
    captions = {1: "a dog runs", 2: "a cat"}
    scores = score(references, captions)
    assert list(scores)[-2:] == ["CIDEr", "length"]
    assert scores["length"] == pytest.approx((3 / 4 + 1) / 2)

    words = [[text.split() for text in own] for own in references.values()]
    found = measure_captions(words, [c.split() for c in captions.values()], resamples=50, seed=1)
    assert found["intervals"]["length"] == pytest.approx({"low": 0.75, "high": 1.0})
    table = tabulate({**found, "images": 2, "tokenizer": "words"})
    assert re.search(r"length of the nearest +87\.5 +75\.0 to 100\.0", table)


def test_an_objective_is_learned_from_as_those_of_the_package(example, bag, tokenizer):
    with pytest.raises(ConfigError, match=r"objective is 'focal'; choose from words, cider\."):
        StageConfig(name="test", epochs=1, objective="focal")
    example("objective", "focal")
    stage = StageConfig(name="test", epochs=1, objective="focal")
    with pytest.raises(ConfigError, match=r'coverage .* while objective is "focal"; leave it out'):
        StageConfig(name="test", epochs=1, objective="focal", coverage=0.1)

    batch = make_batch(tokenizer)
    decoder = bag.BagDecoder(words=len(tokenizer), feature_dim=batch.inputs.shape[-1], width=8)
    plain = StageConfig(name="test", epochs=1, label_smoothing=0.0)
    (loss, measure), (plain_loss, plain_measure) = (
        build_objective(Learning(decoder=decoder, stage=own, tokenizer=tokenizer))(
            batch.inputs, batch, progress=0.0
        )
        for own in (stage, plain)
    )
    assert_close(measure, plain_measure)
    assert 0 < float(loss.detach()) < float(plain_loss.detach())
    loss.backward()
    assert all(weights.grad is not None for weights in decoder.parameters())

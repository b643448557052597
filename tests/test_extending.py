"""The examples of docs/extending.md, defined outside the package, do what others do."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from captioner.checkpoint.header import Header
from captioner.checkpoint.weights import save_checkpoint
from captioner.cli import main
from captioner.config import ModelConfig, PreprocessConfig, from_table
from captioner.decoders import DECODERS
from captioner.errors import ConfigError
from captioner.folder.outputs.tables import TABLES
from captioner.folder.sidecars import SIDECARS
from captioner.model import Encoder, build_model
from captioner.onnx import OnnxCaptioner
from captioner.pipeline import Captioner
from captioner.pytorch import TorchCaptioner
from captioner.runtimes import RUNTIMES
from tests.test_folder import captions
from tests.test_objectives import make_batch
from training.metrics import SCORES, score
from training.objectives import ObjectiveSetup, build_objective
from training.objectives.scheduled_sampling import mix_in_samples
from training.scoring.layout import tabulate
from training.scoring.measures import measure_captions
from training.settings import OBJECTIVES, StageConfig

DOCS = Path(__file__).parent.parent / "docs" / "extending.md"
TABLE = {"encoder": {"backbone": "test_vit"}, "decoder": {"kind": "bag", "width": 16}}


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Import the code of a section as a module of this name."""
    places: dict[str, dict[str, Any]] = {
        "decoder": DECODERS, "output format": TABLES, "sidecar": SIDECARS, "score": SCORES,
        "objective": OBJECTIVES, "runtime": RUNTIMES,
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


def test_an_encoder_is_built_loaded_and_looked_at_as_those_of_timm(
    example, tmp_path, photos, tokenizer
):
    options = {"width": 16, "depth": 2}
    with pytest.raises(ConfigError, match=r"encoder\.backbone 'patch_mixer' is not a timm model"):
        Encoder("patch_mixer", options=options)
    example("encoder", "mixer")  # timm's registry keeps it for the rest of the process
    with pytest.raises(ConfigError, match="sees regions of 16x16 pixels, and 60x96 photos"):
        Encoder("patch_mixer", options=options, size=(60, 96))
    with pytest.raises(ConfigError, match=r"encoder\.levels is 3, but 'patch_mixer' has 2"):
        Encoder("patch_mixer", options=options, levels=3)

    torch.manual_seed(0)
    encoder = Encoder("patch_mixer", options=options, size=(64, 96), levels=2)
    assert (encoder.grid, encoder.feature_dim) == ((4, 6), 32)
    encoder.train()(torch.randn(2, 3, 64, 96)).square().sum().backward()
    assert all(weights.grad is not None for weights in encoder.parameters())
    save_file(encoder.backbone.state_dict(), tmp_path / "mixer.safetensors")

    table = {
        "encoder": {"backbone": "patch_mixer", "options": options, "levels": 2},
        "decoder": {"kind": "lstm", "width": 16},
    }
    header = Header(
        name="mixer",
        model=from_table(ModelConfig, table, where="model"),
        preprocess=PreprocessConfig(height=64, width=96),
        tokenizer=tokenizer,
    )
    model = build_model(
        header.model,
        preprocess=header.preprocess,
        words=len(tokenizer),
        encoder_weights=tmp_path / "mixer.safetensors",
    )
    pixels = torch.randn(2, 3, 64, 96)
    assert_close(model.encoder(pixels), encoder(pixels), rtol=0, atol=0)
    save_checkpoint(tmp_path / "captioner.safetensors", model, header, half=False)
    captioner = TorchCaptioner.load(tmp_path / "captioner.safetensors", device="cpu")
    caption = captioner.caption(photos[0], max_words=5)
    assert caption.words
    for word in caption.words:
        assert word.attention.shape == (4, 6)
        assert float(word.attention.sum()) == pytest.approx(1, abs=1e-5)


def test_the_documented_commands_import_a_module_first(bag, saved, photos, tmp_path):
    commands = re.findall(r'python -c "(.*my_module.*)"', DOCS.read_text(encoding="utf-8"))
    train, caption = (command.replace("my_module", "bag") for command in commands)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "a"\nmodel.decoder.kind = "bag"\nstages = [{name = "a", epochs = 1}]\n'
        'data.val = {annotations = "a", images = ["a"]}\n'
        'data.train = [{annotations = "b", images = ["b"]}]\n'
    )
    for command, *arguments in (
        (train, recipe, "--print-config"),
        (caption, "caption", photos[0], "--checkpoint", saved, "--json"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", command, *map(str, arguments)],
            check=False, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[0] if command == caption else done.stdout)


def test_without_its_line_a_decoder_is_unknown():
    with pytest.raises(ConfigError) as refused:
        from_table(ModelConfig, TABLE, where="model")
    known = "lstm, transformer, prefix"
    assert str(refused.value) == f"model.decoder.kind is 'bag'; choose from {known}."


def test_its_settings_are_read_and_checked(bag):
    assert from_table(ModelConfig, TABLE, where="model").decoder == bag.BagConfig(width=16)
    with pytest.raises(ConfigError, match=r"decoder\.width is 0; it must be 1 or more"):
        bag.BagConfig(width=0)


def test_its_checkpoint_captions_with_attention(saved, photos):
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
    mixed = mix_in_samples(model.decoder, features, words, probability=1.0, tokenizer=tokenizer)
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


def test_an_output_is_written_and_its_edits_are_kept_as_those_of_the_package(
    example, command, folder, tmp_path
):
    table = tmp_path / "out" / "c.tsv"
    status, _, errors = command(folder, "--output", table)
    assert status == 2
    assert errors[-1].endswith(
        f"{table}: unknown format '.tsv'; choose from .jsonl, .csv, .parquet and .tar."
    )

    example("output format", "tsv")
    assert command(folder, "--output", table)[0] == 0
    told = captions(table.with_suffix(".jsonl"))
    written = "".join(f"{caption}\t{image}\n" for image, caption in told.items())
    assert len(told) == 4
    assert table.read_text() == written

    table.write_text(f"A flag.\t{'flag.png'}\n" + "".join(written.splitlines(True)[1:]))
    assert command(folder, "--output", table)[0] == 0
    assert captions(table.with_suffix(".jsonl")) == {**told, "flag.png": "A flag."}
    table.write_text("A flag.\n")
    status, _, errors = command(folder, "--output", table)
    assert status == 2
    assert (
        f"{table}: edited since it was written, and the edits cannot be kept: it cannot be read ("
        in errors[-1]
    )


def test_a_sidecar_is_written_read_and_respected_as_those_of_the_package(example, command, folder):
    status, _, errors = command(folder, "--sidecar", "takeout")
    assert status == 2
    assert "argument --sidecar: invalid choice: 'takeout' (choose from" in errors[-1]

    example("sidecar", "takeout")
    (folder / "flag.png.json").write_text('{"title": "flag", "description": "Rome"}')
    (folder / "tower.png.json").write_text("{")
    status, lines, errors = command(folder, "--sidecar", "takeout", "--existing", "append")
    assert status == 1
    assert lines[0].endswith("4 photos: 3 captioned, 0 already captioned, 0 skipped, 1 failed")
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
        build_objective(ObjectiveSetup(decoder=decoder, stage=own, tokenizer=tokenizer))(
            batch.inputs, batch, progress=0.0
        )
        for own in (stage, plain)
    )
    assert_close(measure, plain_measure)
    assert 0 < float(loss.detach()) < float(plain_loss.detach())
    loss.backward()
    assert all(weights.grad is not None for weights in decoder.parameters())


def test_a_runtime_captions_alike_and_is_offered_by_the_command(
    example, checkpoint, photos, folder, capsys
):
    with pytest.raises(ConfigError, match=r"runtime is 'double'; choose from auto, torch, onnx\."):
        Captioner.load(checkpoint, runtime="double")
    command = ["caption", str(photos[0]), "--checkpoint", str(checkpoint), "--runtime", "double"]
    with pytest.raises(SystemExit):
        main(command)
    assert "--runtime: invalid choice: 'double'" in capsys.readouterr().err

    double = example("runtime", "double")
    captioner = Captioner.load(checkpoint, runtime="double")
    assert type(captioner) is double.DoubleCaptioner
    expected = TorchCaptioner.load(checkpoint, device="cpu")
    prepared = [captioner.prepare(photo) for photo in photos]  # TorchCaptioner resizes with tensors
    for settings in ({"method": "beam"}, {"method": "greedy"}, {"method": "sample", "seed": 3}):
        found = captioner.caption_batch(prepared, **settings)
        for ours, theirs in zip(found, expected.caption_batch(prepared, **settings), strict=True):
            assert ours.text == theirs.text
            assert ours.log_probability == pytest.approx(theirs.log_probability, abs=1e-4)
            for word, other in zip(ours.words, theirs.words, strict=True):
                assert_close(word.attention, other.attention, atol=1e-5, rtol=0)
    ours, theirs = (own.read_sentence(prepared[0], "a dog") for own in (captioner, expected))
    assert ours.log_probability == pytest.approx(theirs.log_probability, abs=1e-4)

    assert main(command) == 0
    assert captioner.caption(photos[0]).text in capsys.readouterr().out
    assert main(["folder", str(folder), *command[2:], "--search", "greedy"]) == 0
    told = captions(folder / "captions.jsonl")
    for photo in photos[:3]:
        assert told[photo.name] == captioner.caption(photo, method="greedy").text
    with pytest.raises(ConfigError, match="runtime double has no bfloat16"):
        Captioner.load(checkpoint, runtime="double", precision="bfloat16")

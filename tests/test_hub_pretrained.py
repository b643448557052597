"""Captioners that others trained, on the hub, through every command."""

import json
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
from safetensors import safe_open

from captioner.checkpoint import shipped
from captioner.checkpoint.files import checkpoint_digest
from captioner.checkpoint.header import read_header
from captioner.checkpoint.known import KNOWN, Known
from captioner.checkpoint.shipped import find_checkpoint
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.errors import CheckpointError
from captioner.pipeline import Captioner
from tests import foreign
from tests.exported import without_shapes
from tests.hub import TOKEN, Repo
from tests.test_cli import call
from tests.test_hub import ROOT, gone, hub, problem

__all__ = ["hub"]

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BLIP as the hub has them, with a file of code and weights for other programs."""
    path = foreign.write(foreign.blip(), tmp_path_factory.mktemp("blip") / "blip")
    (path / "modeling_blip.py").write_text("raise SystemExit('code was run')")
    (path / "tf_model.h5").write_bytes(b"never fetched")
    (path / "pytorch_model.bin").write_bytes(b"never fetched where there are safetensors")
    (path / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n")
    return path


@pytest.fixture
def published(hub, folder):
    """The hub with it at them/blip."""
    hub.repos["them/blip"] = Repo(card={"license": "bsd-3-clause"})
    hub.repos["them/blip"].commit({file.name: file.read_bytes() for file in folder.iterdir()})
    return hub


def fetched(hub):
    return [request.rpartition("/")[2] for request in hub.requests if request.startswith("GET /t")]


def test_settings_words_and_one_kind_of_weights_are_fetched_once(published, capsys):
    found = find_checkpoint("hf:them/blip")
    assert sorted(fetched(published)) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert fetched(published)[-1] == "model.safetensors"
    assert sorted(file.name for file in found.iterdir()) == sorted(fetched(published))
    size = (found / "model.safetensors").stat().st_size
    message = f"captioner: hf:them/blip: fetching {size / 1e6:.0f} MB; licence: bsd-3-clause\n"
    assert message in capsys.readouterr().err
    asked = len(published.requests)
    assert find_checkpoint("hf:them/blip") == found
    assert published.requests[asked:] == [
        "GET /api/models/them/blip",
        "HEAD /them/blip/resolve/main/config.json",
    ]
    assert capsys.readouterr().err == ""


def test_without_a_network_the_cache_is_taken(published, monkeypatch):
    found = find_checkpoint("hf:them/blip")
    gone(monkeypatch)
    assert find_checkpoint("hf:them/blip") == found
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_checkpoint("hf:them/blip") == found


def test_an_interrupted_download_resumes(published, monkeypatch):
    found = find_checkpoint("hf:them/blip")
    (found / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert problem("hf:them/blip").startswith("not in the cache, and the hub cannot be reached")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert find_checkpoint("hf:them/blip") == found
    assert (found / "model.safetensors").is_file()


def test_a_revision_is_taken_as_it_was(published, folder):
    old = next(iter(published.repos["them/blip"].commits))
    table = json.loads((folder / "config.json").read_text())
    table["text_config"]["max_position_embeddings"] = 20
    published.repos["them/blip"].commit({"config.json": json.dumps(table).encode()})
    newest, before = (find_checkpoint(f"hf:them/blip{x}") for x in ("", f"@{old}"))
    assert read_header(newest).model.decoder.max_positions == 20
    assert read_header(before).model.decoder.max_positions == 40
    assert read_header(before).trained_on == {"pretrained": "them/blip", "commit": old}


def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(published):
    published.repos["them/blip"].commit({"config.json": b'{"model_type": "llava"}'})
    assert problem("hf:them/blip").startswith(
        "config.json: model_type 'llava' is not supported; choose from "
    )
    assert fetched(published) == ["config.json"]


def test_divided_weights_are_fetched_by_their_index(published, folder):
    hub, content = published, (folder / "model.safetensors").read_bytes()
    with safe_open(folder / "model.safetensors", "numpy") as file:
        places = dict.fromkeys(file.keys(), "model-1-of-1.safetensors")
    files = {file.name: file.read_bytes() for file in folder.glob("*.json")}
    hub.repos["them/parts"] = Repo()
    hub.repos["them/parts"].commit(
        files
        | {
            "model.safetensors.index.json": json.dumps({"weight_map": places}).encode(),
            "model-1-of-1.safetensors": content,
        }
    )
    found = find_checkpoint("hf:them/parts")
    load_checkpoint(found)
    assert (found / "model-1-of-1.safetensors").read_bytes() == content


def test_a_repository_without_weights_is_an_error(published, folder):
    published.repos["them/bare"] = Repo()
    published.repos["them/bare"].commit({"config.json": (folder / "config.json").read_bytes()})
    assert problem("hf:them/bare") == (
        "the repository holds no weights; expected one of model.safetensors, "
        "model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json."
    )


def test_a_short_name_is_a_repository(published, monkeypatch, capsys):
    tiny = Known(
        name="blip-tiny", address="hf:them/blip", parameters=0.1, megabytes=None, licence=None,
        cider=None,
    )  # fmt: skip
    monkeypatch.setitem(KNOWN, "blip-tiny", tiny)
    assert find_checkpoint("blip-tiny") == find_checkpoint("hf:them/blip")
    with pytest.raises(CheckpointError, match="Did you mean 'blip-tiny'"):
        find_checkpoint("blip-tin")
    _, listed, _ = call(capsys, "checkpoints")
    base = (
        "blip-base: hf:Salesforce/blip-image-captioning-base, 224.0 M parameters, 990 MB to fetch"
    )
    assert listed[listed.index(base) + 1] == (
        "    COCO: CIDEr 133.5 as published; licence bsd-3-clause; 0.62 photos a second on 1 core"
    )
    assert listed[-2:] == [
        "blip-tiny: hf:them/blip, 0.1 M parameters, size unknown",
        "    COCO: no published CIDEr; licence not stated; speed unknown",
    ]
    _, (text,), _ = call(capsys, "checkpoints", "--json")
    names = [each["name"] for each in json.loads(text)]
    assert names[0] == shipped.DEFAULT
    assert names[-1] == "blip-tiny"


def test_the_command_captions_with_it(published, photos, capsys):
    how = ("--checkpoint", "hf:them/blip", "--max-words", 5)
    _, (text,), _ = call(capsys, "caption", photos[0], *how, "--json")
    found = json.loads(text)
    expected = Captioner.load("hf:them/blip").caption(photos[0], max_words=5)
    assert found["caption"] == expected.text
    assert found["checkpoint"] == "blip"
    assert found["search"]["prompt"] == "a picture of"
    assert all(0 < word["gate"] < 1 for word in found["words"])
    _, (text,), _ = call(capsys, "caption", photos[0], *how, "--prompt", "", "--json")
    assert json.loads(text)["search"]["prompt"] == ""


def test_folders_are_captioned_with_it_and_resume(published, photos, tmp_path, capsys):
    place = tmp_path / "photos"
    place.mkdir()
    shutil.copy(photos[0], place)
    how = ("folder", place, "--checkpoint", "hf:them/blip", "--precision", "float32")
    assert call(capsys, *how)[0] == 0
    shutil.copy(photos[1], place)
    assert call(capsys, *how)[0] == 0
    lines = (place / "captions.jsonl").read_text().splitlines()
    expected = Captioner.load("hf:them/blip")
    assert {json.loads(line)["caption"] for line in lines} == {
        expected.caption(photo).text for photo in photos[:2]
    }


def test_converted_it_needs_no_hub_and_says_the_same(published, photos, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    status, lines, _ = call(capsys, "convert", "hf:them/blip", "--output", output)
    assert (status, lines) == (0, [str(output)])
    ours, theirs = Captioner.load(output), Captioner.load("hf:them/blip")
    assert ours.caption(photos[0], max_words=6).text == theirs.caption(photos[0], max_words=6).text
    assert ours.header.trained_on["pretrained"] == "them/blip"
    half = tmp_path / "half.safetensors"
    assert call(capsys, "convert", "hf:them/blip", "--output", half, "--half")[0] == 0
    assert half.stat().st_size < 0.6 * output.stat().st_size
    status, _, (error,) = call(capsys, "convert", "hf:them/blip", "--output", tmp_path)
    assert status == 2
    assert error == f"captioner: {tmp_path}: give a file that ends in .safetensors."


def test_a_folder_cannot_be_pushed_and_what_is_converted_names_its_source(
    published, tmp_path, capsys
):
    card = tmp_path / "card"
    status, _, errors = call(capsys, "push", "hf:them/blip", "me/copy", "--dry-run", card)
    assert status == 2
    assert "is a pretrained captioner, already published" in errors[-1]
    output = tmp_path / "mine.safetensors"
    assert call(capsys, "convert", "hf:them/blip", "--output", output)[0] == 0
    assert call(capsys, "push", output, "me/copy", "--dry-run", card)[0] == 0
    assert "base_model: them/blip\n" in (tmp_path / "card" / "README.md").read_text()


def test_exported_it_says_the_same_without_pytorch(folder, photos, tmp_path, capsys):
    exported = tmp_path / "exported"
    with without_shapes():
        assert call(capsys, "export", "--onnx", folder, "--output", exported)[0] == 0
    runner, captioner = Captioner.load(exported), Captioner.load(folder)
    prepared = runner.prepare(photos[0])
    ours, theirs = (x.caption(prepared, max_words=6) for x in (runner, captioner))
    assert ours.text == theirs.text
    for word, other in zip(ours.words, theirs.words, strict=True):
        assert word.gate == pytest.approx(other.gate, abs=1e-4)


def test_a_digest_covers_every_file_that_is_read(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert checkpoint_digest(copy) == checkpoint_digest(folder)
    (copy / "modeling_blip.py").write_text("")
    assert checkpoint_digest(copy) == checkpoint_digest(folder)
    (copy / "generation_config.json").write_text("{}")
    assert checkpoint_digest(copy) != checkpoint_digest(folder)
    model, header = load_checkpoint(folder)
    save_checkpoint(tmp_path / "x.safetensors", model, header, half=False)
    assert checkpoint_digest(tmp_path / "x.safetensors") != checkpoint_digest(folder)


def test_the_real_command_runs_no_code_of_the_repository(published, photos, tmp_path):
    environment = {
        "HF_ENDPOINT": published.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    command = [sys.executable, "-m", "captioner", "caption", photos[0]]
    done = subprocess.run(
        [*command, "--checkpoint", "hf:them/blip"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, bool(done.stdout.strip())) == (0, True)
    assert "licence: bsd-3-clause" in done.stderr
    assert not [line for line in done.stderr.splitlines() if "| transformers" in line]

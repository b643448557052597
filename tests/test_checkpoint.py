import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner.checkpoint.header import METADATA_KEY, Header
from captioner.checkpoint.weights import load_checkpoint, read_header, save_checkpoint
from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig
from captioner.decoders import TransformerConfig
from captioner.errors import CheckpointError
from captioner.model import build_model
from tests.conftest import TOYS
from tests.loading import measure_peak, tells_peaks

GOLDEN = Path(__file__).parent / "golden" / "format-1.safetensors"


def header_table(path: Path) -> dict:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()[METADATA_KEY])


def rewrite(path: Path, old: Path, tensors: dict[str, Tensor], table: dict | None = None) -> Path:
    """Write a checkpoint like the old one, with other tensors or another header."""
    text = json.dumps(table or header_table(old))
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {METADATA_KEY: text})
    return path


def problem(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_saving_and_loading_changes_no_bit(toy, tmp_path):
    model, header = toy
    save_checkpoint(tmp_path / "m.safetensors", model, header, half=False)
    again, read = load_checkpoint(tmp_path / "m.safetensors")
    assert list(again.state_dict()) == list(model.state_dict())
    for name, x in model.state_dict().items():
        assert again.state_dict()[name].dtype == x.dtype, name
        assert torch.equal(again.state_dict()[name], x), name
    count = sum(p.numel() for p in model.parameters())
    assert replace(read, tokenizer=header.tokenizer) == replace(header, parameters=count)
    assert read.tokenizer.to_json() == header.tokenizer.to_json()


def test_half_precision_rounds_matrices_and_leaves_vectors(toy, tmp_path):
    model, header = toy
    for half in (False, True):
        save_checkpoint(tmp_path / f"{half}.safetensors", model, header, half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]
    again, _ = load_checkpoint(tmp_path / "True.safetensors")
    for name, x in model.state_dict().items():
        expected = x.half().float() if x.dim() >= 2 else x
        assert again.state_dict()[name].dtype == x.dtype, name
        assert torch.equal(again.state_dict()[name], expected), name


def test_a_loaded_model_is_in_evaluation_mode_and_may_be_trained(toy, tmp_path):
    model, header = toy
    save_checkpoint(tmp_path / "m.safetensors", model.train(), header, half=True)
    again, _ = load_checkpoint(tmp_path / "m.safetensors")
    assert not any(module.training for module in again.modules())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in again.parameters())


def test_saving_leaves_the_model_alone(toy, tmp_path):
    model, header = toy
    before = {name: x.clone() for name, x in model.state_dict().items()}
    model.train()
    save_checkpoint(tmp_path / "m.safetensors", model, header, half=True)
    assert model.training
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_tables_that_can_be_worked_out_are_not_stored(tokenizer, tmp_path):
    config = ModelConfig(
        encoder=EncoderConfig(backbone="test_vit"),
        decoder=TransformerConfig(width=8, layers=1, heads=2, positions="sinusoidal"),
    )
    preprocess = PreprocessConfig(height=160, width=160)
    header = Header(name="toy", model=config, preprocess=preprocess, tokenizer=tokenizer)
    model = build_model(config, preprocess=preprocess, words=len(tokenizer))
    save_checkpoint(tmp_path / "m.safetensors", model, header, half=False)
    assert "decoder.positions" not in load_file(tmp_path / "m.safetensors")
    again, _ = load_checkpoint(tmp_path / "m.safetensors")
    assert torch.equal(again.decoder.positions, model.decoder.positions)


def test_a_checkpoint_of_format_1_is_read_for_ever():
    """The file was written by `save_checkpoint(..., half=True)` when format 1 was the newest.

    The numbers are what the model computed then. Neither is ever made anew.
    """
    model, header = load_checkpoint(GOLDEN)
    assert header_table(GOLDEN)["format"] == 1
    assert (header.name, header.parameters) == ("golden", 8139)
    assert header.trained_on == {"data": "nothing"}
    assert header.scores == {"nothing": {"CIDEr": 0.0}}
    assert (header.search.beam, header.search.max_words) == (2, 6)
    assert header.tokenizer.encode("a dog's ball") == [5, 8, 4, 6]

    pixels = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)
    with torch.no_grad():
        reading = model(pixels, torch.tensor([[[1, 4, 5]]]), with_attention=True)
    logits = [2.2427, -2.18531, 2.75103, 1.16383, 1.22597, 6.18025, -1.46344, -1.03905, 0.77123]
    logits += [0.38428, -1.31048]
    torch.testing.assert_close(reading.logits[0, 0, -1], torch.tensor(logits), atol=1e-3, rtol=0)
    heads = [[0.14161, 0.14246, 0.14382, 0.20859, 0.17486, 0.18866]]
    heads += [[0.0371, 0.03639, 0.03704, 0.16517, 0.42914, 0.29516]]
    torch.testing.assert_close(
        reading.attention[0, 0, 0, :, -1], torch.tensor(heads), atol=1e-4, rtol=0
    )


def test_missing_folders_are_made_and_nothing_else_is_left_there(toy, tmp_path):
    save_checkpoint(tmp_path / "new" / "run" / "m.safetensors", *toy, half=True)
    assert os.listdir(tmp_path / "new" / "run") == ["m.safetensors"]
    save_checkpoint(tmp_path / "new" / "run" / "m.safetensors", *toy, half=False)
    assert os.listdir(tmp_path / "new" / "run") == ["m.safetensors"]


def test_a_write_that_fails_keeps_the_old_checkpoint(toy, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(path, *toy, half=True)
    assert str(caught.value) == (
        f"{path}: cannot be written: No space left on device; make room and run the same command "
        "again; what was written so far is kept."
    )
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_checkpoint_cannot_be_written_where_a_file_stands_for_a_folder(toy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"m\.safetensors: cannot be written: "):
        save_checkpoint(tmp_path / "file" / "m.safetensors", *toy, half=True)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_others_may_read_a_checkpoint_as_any_new_file(toy, tmp_path):
    (tmp_path / "any").write_text("")
    save_checkpoint(tmp_path / "m.safetensors", *toy, half=True)
    modes = {(tmp_path / name).stat().st_mode for name in ("any", "m.safetensors")}
    assert len(modes) == 1


def test_a_missing_file_and_a_folder_have_different_errors(tmp_path):
    way_out = "give the path of a .safetensors checkpoint."
    assert problem(tmp_path / "nothing.safetensors") == f"no such file; {way_out}"
    assert problem(tmp_path) == f"is a folder; {way_out}"


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_a_file_cut_off_is_refused(checkpoint, tmp_path, part):
    whole = checkpoint.read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole[: int(part * len(whole))])
    assert problem(tmp_path / "m.safetensors").startswith("not a whole safetensors file (")


def test_a_pickle_is_refused_unread(toy, tmp_path):
    class Trap:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("the pickle was run",))

    torch.save({"model": Trap()}, tmp_path / "m.pt")
    assert problem(tmp_path / "m.pt").endswith(
        "it may be truncated or of another type; download or save it again."
    )


def test_weights_without_a_header_are_not_a_checkpoint(checkpoint, tmp_path):
    save_file(load_file(checkpoint), tmp_path / "m.safetensors", {"format": "pt"})
    assert problem(tmp_path / "m.safetensors") == (
        "holds weights, but no captioner header; give a checkpoint that training or "
        "`captioner convert` has written."
    )


def test_a_missing_tensor_is_named(checkpoint, tmp_path):
    tensors = load_file(checkpoint)
    del tensors["decoder.words.bias"]
    assert problem(rewrite(tmp_path / "m.safetensors", checkpoint, tensors)) == (
        "its weights do not fit its settings: decoder.words.bias is missing; "
        "download or save the checkpoint again."
    )


def test_a_tensor_too_many_is_named(checkpoint, tmp_path):
    tensors = load_file(checkpoint) | {"decoder.more": torch.zeros(1)}
    assert problem(rewrite(tmp_path / "m.safetensors", checkpoint, tensors)) == (
        "its weights do not fit its settings: the model has no decoder.more; "
        "download or save the checkpoint again."
    )


def test_weights_of_another_shape_are_named_with_both_shapes(checkpoint, tmp_path):
    tensors = load_file(checkpoint)
    tensors["decoder.words.bias"] = torch.zeros(5)
    assert problem(rewrite(tmp_path / "m.safetensors", checkpoint, tensors)) == (
        "its weights do not fit its settings: decoder.words.bias is (5,), "
        "the model needs (21,); download or save the checkpoint again."
    )


def test_a_backbone_that_timm_does_not_know_is_named_with_the_file(checkpoint, tmp_path):
    table = header_table(checkpoint)
    table["model"]["encoder"]["backbone"] = "vit_of_tomorrow"
    path = rewrite(tmp_path / "m.safetensors", checkpoint, load_file(checkpoint), table)
    assert problem(path).startswith("encoder.backbone 'vit_of_tomorrow' is not a timm model")


@pytest.mark.parametrize("width", [2**40, 2**64])
def test_settings_out_of_all_bounds_are_named_with_the_file(checkpoint, tmp_path, width):
    table = header_table(checkpoint)
    table["model"]["decoder"]["width"] = width
    path = rewrite(tmp_path / "m.safetensors", checkpoint, load_file(checkpoint), table)
    assert problem(path).startswith("no model can be built from its settings (")


def test_a_newer_checkpoint_is_refused_before_its_weights_are_read(checkpoint, tmp_path):
    table = header_table(checkpoint) | {"format": 3}
    path = rewrite(tmp_path / "m.safetensors", checkpoint, {}, table)
    assert problem(path) == (
        "has format 3, but this version reads formats up to 2; upgrade it: pip install --upgrade "
        "captioner"
    )


def test_the_header_alone_is_what_loading_gives_too(checkpoint):
    _, header = load_checkpoint(checkpoint)
    again = read_header(checkpoint)
    assert replace(again, tokenizer=header.tokenizer) == header


@tells_peaks
@pytest.mark.parametrize(("half", "most"), [(False, 1.15), (True, 1.15)])
def test_while_loading_weights_are_in_memory_once(tokenizer, tmp_path, half, most):
    """Halves that are widened included: the pages of each go before the next are read."""
    model, header = TOYS["transformer"](tokenizer)
    small, large = tmp_path / "small.safetensors", tmp_path / "large.safetensors"
    save_checkpoint(small, model, header, half=half)
    wide = replace(header.model.decoder, width=512, layers=8, feedforward_width=2048)
    header = replace(header, model=replace(header.model, decoder=wide))
    model = build_model(header.model, preprocess=header.preprocess, words=len(header.tokenizer))
    save_checkpoint(large, model, header, half=half)
    assert measure_peak(large, small) < most

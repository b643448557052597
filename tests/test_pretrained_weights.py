"""Weights of captioners that others trained are read from either kind of file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from captioner.checkpoint.weights import load_checkpoint
from tests import foreign
from tests.loading import measure_peak, tells_peaks


def stored(folder: Path, model: torch.nn.Module, kind: str, dtype: torch.dtype) -> Path:
    """Write a folder with the weights in this kind of file and number format."""
    foreign.write(model, folder)
    (folder / "model.safetensors").unlink()
    weights = {name: x.to(dtype).clone() for name, x in model.state_dict().items()}
    if kind == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_halves_are_widened_whatever_the_file(tmp_path, kind):
    model = foreign.blip()
    plain, _ = load_checkpoint(foreign.write(model, tmp_path / "plain"))
    found, _ = load_checkpoint(stored(tmp_path / kind, model, kind, torch.float16))
    for name, weight in plain.state_dict().items():
        assert found.state_dict()[name].dtype == torch.float32
        assert_close(found.state_dict()[name], weight.half().float(), rtol=0, atol=0)


@tells_peaks
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_while_loading_weights_are_in_memory_once(tmp_path, kind, dtype):
    wide = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    small = stored(tmp_path / "small", foreign.blip(), kind, dtype)
    model = foreign.blip(vision=wide, text={"encoder_hidden_size": 512})
    large = stored(tmp_path / "large", model, kind, dtype)
    assert measure_peak(large, small) < 1.15

from pathlib import Path

import pytest
import torch

import captioner
from captioner.errors import CheckpointError, ConfigError
from captioner.pytorch import TorchCaptioner, find_device
from captioner.result.caption import Caption
from tests.photos import quarters


def test_loading_without_a_name_takes_the_default(checkpoint, monkeypatch):
    asked = []

    def find(name_or_path: str | Path) -> Path:
        asked.append(name_or_path)
        return checkpoint

    monkeypatch.setattr("captioner.pipeline.find_checkpoint", find)
    assert TorchCaptioner.load().caption(quarters()).text is not None
    TorchCaptioner.load("toy", device="cpu")
    assert asked == ["vit-tiny-transformer", "toy"]


def test_an_unknown_checkpoint_or_device_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="No checkpoint is called 'nothing'"):
        TorchCaptioner.load("nothing")
    with pytest.raises(
        ConfigError, match=r"^device 'gpu' cannot be used .*; choose auto or cpu\.$"
    ):
        TorchCaptioner.load(checkpoint, device="gpu")


def test_a_device_that_this_machine_lacks_is_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"^device 'cuda:99' cannot be used .*auto or cpu\.$"):
        TorchCaptioner.load(checkpoint, device="cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_writes_the_same_captions(checkpoint, photos):
    on_cpu = TorchCaptioner.load(checkpoint, device="cpu").caption_batch(photos)
    on_gpu = TorchCaptioner.load(checkpoint).caption_batch(photos)
    assert [c.text for c in on_gpu] == [c.text for c in on_cpu]
    assert all(w.attention.device.type == "cpu" for c in on_gpu for w in c.words)


def test_the_package_offers_its_public_names():
    assert issubclass(TorchCaptioner, captioner.Captioner)
    assert captioner.Caption is Caption
    with pytest.raises(AttributeError, match="module 'captioner' has no attribute 'Captoner'"):
        _ = captioner.Captoner


def test_the_device_must_exist():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match=r"^device 'abacus' cannot be used \(.*choose auto or cp"):
        find_device("abacus")

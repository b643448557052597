import copy

import pytest
import torch
from torch import nn

from captioner.errors import ConfigError
from captioner.pytorch import TorchCaptioner
from captioner.speed.compilation import compile_encoder
from tests.conftest import TOYS


@pytest.fixture
def encoder():
    """Not one of ours, whose shapes are checked in tests by code that cannot be compiled."""
    torch.compiler.reset()
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(2)
    )
    return layers.eval()


def test_a_compiled_encoder_sees_the_same_in_batches_of_any_size(encoder):
    compiled = copy.deepcopy(encoder)
    compile_encoder(compiled, size=(20, 30), precision=torch.float32, backend="aot_eager")
    for photos in (1, 2, 5):
        pixels = torch.randn(photos, 3, 20, 30)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(pixels), encoder(pixels), atol=1e-5, rtol=1e-4)


def test_code_is_made_before_the_work_begins_and_seldom_again(encoder):
    made = []

    def count(graph, inputs):
        made.append(graph)
        return graph

    compile_encoder(encoder, size=(20, 30), precision=torch.float32, backend=count)
    before = len(made)
    assert before > 0
    with torch.inference_mode():
        for photos in range(2, 9):
            encoder(torch.randn(photos, 3, 20, 30).to(memory_format=torch.channels_last))
    assert len(made) == before


def test_an_encoder_that_cannot_be_compiled_is_an_error(encoder):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler was found")

    with pytest.raises(ConfigError, match=r"no C\+\+ compiler was found.*leave out --compile"):
        compile_encoder(encoder, size=(20, 30), precision=torch.float32, backend=broken)


def test_a_compiled_captioner_leaves_the_one_it_was_made_of_alone(tokenizer, monkeypatch):
    encoders = []

    def compile_plainly(encoder, **_):
        encoders.append(encoder)
        encoder.compile(backend="eager")

    monkeypatch.setattr("captioner.pytorch.compile_encoder", compile_plainly)
    original = TorchCaptioner(*TOYS["transformer"](tokenizer))
    original.model.train()
    modes = [module.training for module in original.model.modules()]
    compiled = original.compiled()
    assert encoders == [compiled.model.encoder]
    assert original.model.encoder is not compiled.model.encoder
    assert not compiled.model.encoder.training
    assert [module.training for module in original.model.modules()] == modes
    ours, theirs = (own.model.encoder.state_dict() for own in (original, compiled))
    assert {name: x.data_ptr() for name, x in ours.items()} == {
        name: x.data_ptr() for name, x in theirs.items()
    }

import copy
import pickle

import pytest
import torch

from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.pytorch import TorchCaptioner
from captioner.speed import packing
from captioner.speed.packing import pack

with_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="PyTorch without oneDNN",
)


@pytest.fixture(autouse=True)
def _packs_on_any_processor(monkeypatch):
    """Slower than not packing on some, but right on all."""
    monkeypatch.setattr(packing, "_gains", lambda: True)


def count_packed(network: torch.nn.Module) -> int:
    return sum(type(module).__name__.startswith("_Packed") for module in network.modules())


@with_onednn
def test_a_packed_captioner_says_the_same(checkpoint, photos):
    plain = TorchCaptioner.load(checkpoint, device="cpu")
    packed = plain.packed()
    assert count_packed(packed.model) > 3
    for found, expected in zip(
        packed.caption_batch(photos), plain.caption_batch(photos), strict=True
    ):
        assert found.text == expected.text
        assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-4)
        for word, other in zip(found.words, expected.words, strict=True):
            torch.testing.assert_close(word.attention, other.attention, atol=1e-5, rtol=1e-4)


@with_onednn
def test_the_packed_path_is_taken_and_shares_its_weights(checkpoint, monkeypatch):
    model, _ = load_checkpoint(checkpoint)
    twin = pack(model)
    assert count_packed(model) == 0
    for name, parameter in model.named_parameters():
        assert twin.get_parameter(name) is parameter
    linear = next(m for m in twin.modules() if type(m).__name__ == "_PackedLinear")
    x = torch.randn(3, linear.in_features)
    monkeypatch.setattr(torch.nn.functional, "linear", None)
    with torch.inference_mode():
        found = linear(x)
    expected = x @ linear.weight.T + (0 if linear.bias is None else linear.bias)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@with_onednn
def test_weights_that_change_later_are_never_stale(checkpoint, photos):
    captioner = TorchCaptioner.load(checkpoint, device="cpu")
    packed = captioner.packed()
    with torch.no_grad():
        for parameter in captioner.model.decoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    fresh = TorchCaptioner(copy.deepcopy(captioner.model), captioner.header)
    found, expected = packed.caption(photos[1]), fresh.caption(photos[1])
    assert found.text == expected.text
    assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-5)


@with_onednn
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_weights_that_are_replaced_later_are_never_stale(checkpoints, photos, kind):
    packed = TorchCaptioner.load(checkpoints[kind], device="cpu").packed()
    other = TorchCaptioner.load(checkpoints[kind], device="cpu")
    weights = {
        name: x + 0.05 * torch.randn_like(x) if x.is_floating_point() else x
        for name, x in other.model.state_dict().items()
    }
    packed.model.load_state_dict(weights, assign=True)
    other.model.load_state_dict(weights)
    found, expected = packed.caption(photos[1]), other.caption(photos[1])
    assert found.text == expected.text
    assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-5)


@with_onednn
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_packed_model_can_be_copied_and_sent(checkpoints, photos, kind, copied):
    packed = TorchCaptioner.load(checkpoints[kind], device="cpu").packed()
    other = TorchCaptioner(copied(packed.model), packed.header)
    assert count_packed(other.model) == count_packed(packed.model) > 0
    found, expected = other.caption(photos[1]), packed.caption(photos[1])
    assert found.text == expected.text
    assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-5)


@with_onednn
def test_what_is_learnt_goes_through_the_plain_weights(checkpoint):
    model, _ = load_checkpoint(checkpoint)
    twin = pack(model)
    linear = next(m for m in twin.modules() if type(m).__name__ == "_PackedLinear")
    linear(torch.randn(2, linear.in_features)).sum().backward()
    assert linear.weight.grad is not None


@with_onednn
def test_a_packed_model_is_saved_as_the_plain_one_is(checkpoint, tmp_path):
    model, header = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "plain.safetensors", model, header, half=True)
    save_checkpoint(tmp_path / "packed.safetensors", pack(model), header, half=True)
    plain, packed = (tmp_path / f"{name}.safetensors" for name in ("plain", "packed"))
    assert plain.read_bytes() == packed.read_bytes()


def test_where_nothing_is_gained_the_model_stays_as_it_is(checkpoint, monkeypatch):
    monkeypatch.setattr(packing, "_gains", lambda: False)
    model, _ = load_checkpoint(checkpoint)
    assert pack(model) is model


def test_half_precision_is_left_alone(checkpoint):
    model, _ = load_checkpoint(checkpoint)
    assert count_packed(pack(model.bfloat16())) == 0

import pytest
import torch
from torch import nn

from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig
from captioner.decoders import TransformerConfig
from captioner.model import CaptionModel, build_model
from training.running.optim import build_optimizer, build_schedule, choose_trained
from training.settings import StageConfig


def build(backbone: str = "test_vit") -> CaptionModel:
    decoder = TransformerConfig(width=8, layers=1, heads=2, feedforward_width=8)
    return build_model(
        ModelConfig(encoder=EncoderConfig(backbone=backbone), decoder=decoder),
        preprocess=PreprocessConfig(height=32, width=32),
        words=9,
    )


def stage(**changes) -> StageConfig:
    return StageConfig(name="test", epochs=1, **changes)


def rates(config: StageConfig, *, steps: int, peak: float = 1.0) -> list[float]:
    """The rate of each step, and the one after the last."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = build_schedule(optimizer, config, steps=steps)
    found = []
    for _ in range(steps + 1):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    found = rates(stage(warmup=1 / 3), steps=6, peak=2.0)
    half = 2**0.5 / 2
    assert found == pytest.approx([1.0, 2.0, 2.0, 1 + half, 1.0, 1 - half, 0.0])


def test_the_rate_falls_to_the_fraction_asked_for_and_stays():
    found = rates(stage(warmup=0, final_rate=0.1), steps=5)
    # One step at least warms up: the first is taken at the peak.
    assert found == pytest.approx(
        [1.0, 1.0, 0.1 + 0.9 * 0.8535534, 0.55, 0.1 + 0.9 * 0.1464466, 0.1]
    )


def test_a_stage_that_only_warms_up_ends_at_its_peak():
    assert rates(stage(warmup=1), steps=4)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_encoder_and_decoder_have_rates_of_their_own_and_only_matrices_decay():
    model = build()
    config = stage(
        encoder="trained", learning_rate=0.3, encoder_learning_rate=0.1, weight_decay=0.02
    )
    choose_trained(model, config)
    found = {
        id(p): (group["lr"], group["weight_decay"])
        for group in build_optimizer(model, config).param_groups
        for p in group["params"]
    }
    expected = {
        id(p): (0.3 if name.startswith("decoder.") else 0.1, 0.02 if p.ndim > 1 else 0.0)
        for name, p in model.named_parameters()
    }
    assert found == expected


def test_a_frozen_encoder_is_none_of_the_optimizers_business():
    model = build()
    choose_trained(model, stage())
    groups = build_optimizer(model, stage()).param_groups
    given = {id(p) for group in groups for p in group["params"]}
    assert given == {id(p) for p in model.decoder.parameters()}
    assert not any(p.requires_grad for p in model.encoder.parameters())


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_the_first_layers_of_an_encoder_can_stay_as_they_are(backbone):
    model = build(backbone)
    parameters = dict(model.encoder.named_parameters())

    def trained(fraction: float) -> set[str]:
        choose_trained(model, stage(encoder="trained", frozen_layers=fraction))
        return {name for name, p in parameters.items() if p.requires_grad}

    names = list(parameters)
    assert trained(0.0) == set(names)
    assert trained(1.0) == set()
    assert names[0] not in trained(0.1)
    assert set(names[-1:]) <= trained(0.5) < trained(0.1) < set(names)


def test_a_stage_frees_what_the_one_before_froze():
    model = build()
    choose_trained(model, stage(encoder="frozen"))
    choose_trained(model, stage(encoder="trained"))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_layers_of_the_encoder_learn_the_slower_the_nearer_they_are_to_the_photo(backbone):
    model = build(backbone)
    config = stage(
        encoder="trained",
        learning_rate=0.3,
        encoder_learning_rate=0.1,
        layer_decay=0.5,
        weight_decay=0.02,
    )
    choose_trained(model, config)
    groups = build_optimizer(model, config).param_groups
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    assert len(found) == sum(len(group["params"]) for group in groups)
    named = {name: found.pop(id(p)) for name, p in model.named_parameters()}
    assert not found
    for name, (rate, decay) in named.items():
        assert decay == (0.02 if model.get_parameter(name).ndim > 1 else 0.0)
        assert (rate == 0.3) == name.startswith("decoder.")
    rates = {name: rate for name, (rate, _) in named.items() if name.startswith("encoder.")}
    if backbone == "test_vit":  # patches; six blocks, the last with the norm
        assert rates["encoder.backbone.norm.weight"] == pytest.approx(0.1)
        for block in range(6):
            name = f"encoder.backbone.blocks.{block}.attn.qkv.weight"
            assert rates[name] == pytest.approx(0.1 * 0.5 ** (5 - block))
        assert rates["encoder.backbone.patch_embed.proj.weight"] == pytest.approx(0.1 * 0.5**6)
    assert max(rates.values()) == pytest.approx(0.1)
    assert len(set(rates.values())) > 3

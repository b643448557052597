import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig
from captioner.decoders import TransformerConfig
from captioner.errors import ConfigError
from captioner.model import CaptionModel, build_model
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from data.ranks import Ranks
from training.objectives import ObjectiveSetup, build_objective
from training.running.learner import Learner
from training.running.optim import choose_trained
from training.settings import StageConfig

CAPTIONS = [("a dog runs on grass", "a dog"), ("a man", "someone rides a bike to a big house")]
TOKENIZER = Tokenizer.train_words([c for own in CAPTIONS for c in own], min_count=1)


def make_model(backbone: str = "test_vit") -> CaptionModel:
    torch.manual_seed(0)
    decoder = TransformerConfig(width=16, layers=1, heads=2, feedforward_width=16, dropout=0.0)
    return build_model(
        ModelConfig(encoder=EncoderConfig(backbone=backbone), decoder=decoder),
        preprocess=PreprocessConfig(height=32, width=32),
        words=len(TOKENIZER),
    )


def make_batch(*images: int) -> Batch:
    start, end, pad = TOKENIZER.start_id, TOKENIZER.end_id, TOKENIZER.pad_id
    captions = [CAPTIONS[image] for image in images]
    rows = [[[start, *TOKENIZER.encode(c), end] for c in own] for own in captions]
    longest = max(len(row) for own in rows for row in own)
    words = torch.tensor([[row + [pad] * (longest - len(row)) for row in own] for own in rows])
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Batch(
        inputs=pixels[list(images)], words=words, image_ids=list(images), captions=captions
    )


def make_learner(
    model: CaptionModel | None = None, *, precision: str = "auto", **settings
) -> Learner:
    model = model or make_model()
    settings = {"encoder": "trained", "learning_rate": 1e-2, "warmup": 0.0} | settings
    stage = StageConfig(name="test", epochs=1, **settings)
    choose_trained(model, stage)
    setup = ObjectiveSetup(
        decoder=model.decoder, stage=stage, tokenizer=TOKENIZER, captions=CAPTIONS, max_words=8
    )
    return Learner(
        model,
        build_objective(setup),
        stage,
        steps=10,
        ranks=Ranks(),
        precision=precision,  # type: ignore[arg-type]
    )


def gradients(learner: Learner) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("settings", "decoder", "encoder"),
    [
        ({}, True, True),
        ({"encoder": "frozen"}, True, False),
        ({"objective": "cider"}, False, False),
    ],
)
def test_parts_are_in_training_mode_as_stage_and_objective_ask(settings, decoder, encoder):
    model = make_learner(**settings).model
    assert {x.training for x in model.decoder.modules()} == {decoder}
    assert {x.training for x in model.encoder.modules()} == {encoder}


def test_accumulated_batches_equal_one_large_batch():
    whole = make_learner(coverage=0.5)
    parts = make_learner(coverage=0.5)
    at_once = whole.step([make_batch(0, 1)])
    one_by_one = parts.step([make_batch(0), make_batch(1)])
    torch.testing.assert_close(one_by_one, at_once)  # loss, norm of the gradient
    found = gradients(parts)
    assert len(found) == len(list(parts.model.parameters()))
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    first = make_learner(coverage=0.5)
    first.step([make_batch(0)])
    name = "decoder.norm.weight"  # a batch alone teaches something else
    assert not torch.allclose(gradients(first)[name], gradients(whole)[name], rtol=1e-2)


def test_a_schedule_counts_steps_not_batches():
    learner = make_learner()
    learner.step([make_batch(0), make_batch(1)])
    assert learner.schedule.last_epoch == 1


def test_the_moving_average_follows_the_weights_and_is_evaluated():
    learner = make_learner(ema=0.3)
    name = "norm.weight"
    weights = [learner.model.decoder.get_parameter(name).detach().clone()]
    for _ in range(4):
        learner.step([make_batch(0, 1)])
        weights.append(learner.model.decoder.get_parameter(name).detach().clone())
    expected = weights[1]  # the first step is taken as it is
    for n, latest in enumerate(weights[2:], start=1):
        kept = min(0.3, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * latest
    found = learner.eval_model.decoder.get_parameter(name)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, weights[-1])
    learner.copy_average_to_model()
    assert torch.equal(learner.model.decoder.get_parameter(name), found)


def test_without_a_moving_average_the_model_itself_is_evaluated():
    learner = make_learner()
    learner.step([make_batch(0, 1)])
    assert learner.eval_model is learner.model
    assert set(learner.parts) == {"model", "optimizer", "schedule"}


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {"precision": "float16"}])
def test_the_saved_parts_resume_training_exactly(settings):
    learner = make_learner(**settings)
    for _ in range(2):
        learner.step([make_batch(0, 1)])
    kept = {
        name: {k: v.clone() if torch.is_tensor(v) else v for k, v in part.state_dict().items()}
        for name, part in learner.parts.items()
        if name != "optimizer"
    }
    kept["optimizer"] = copy.deepcopy(learner.optimizer.state_dict())
    learner.step([make_batch(1)])
    other = make_learner(**settings)
    assert other.parts.keys() == kept.keys()
    for name, part in other.parts.items():
        part.load_state_dict(kept[name])
    other.step([make_batch(1)])
    for name, x in learner.eval_model.state_dict().items():
        assert torch.equal(other.eval_model.state_dict()[name], x), name


@pytest.mark.parametrize(
    ("precision", "kind"),
    [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_matrix_products_have_the_precision_asked_for_and_weights_stay_float32(precision, kind):
    learner = make_learner(precision=precision)
    kinds = set()
    block = learner.model.encoder.backbone.blocks[0]
    block.mlp.fc1.register_forward_hook(lambda module, given, found: kinds.add(found.dtype))
    before = learner.model.decoder.norm.weight.clone()
    numbers = learner.step([make_batch(0, 1)])
    assert kinds == {kind}
    assert not torch.equal(learner.model.decoder.norm.weight, before)
    assert {p.dtype for p in learner.model.parameters()} == {torch.float32}
    plain = make_learner().step([make_batch(0, 1)])
    torch.testing.assert_close(numbers, plain, rtol=0.05, atol=0.05)


def test_a_step_whose_gradients_overflow_is_skipped():
    learner = make_learner(precision="float16")
    scaler = learner.parts["scaler"]
    learner.step([make_batch(0, 1)])
    before = {name: p.clone() for name, p in learner.model.named_parameters()}
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**120})
    *_, norm = learner.step([make_batch(0, 1)])
    assert norm == 0
    assert all(torch.equal(p, before[name]) for name, p in learner.model.named_parameters())
    assert scaler.state_dict()["scale"] == 2.0**119


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_activation_checkpointing_gives_the_same_gradients_in_less_memory(backbone):
    found, sizes = [], []
    for checkpointing in (False, True):
        learner = make_learner(make_model(backbone), checkpointing=checkpointing)
        kept: list[int] = []

        def keep(x: torch.Tensor, kept: list[int] = kept) -> torch.Tensor:
            kept.append(x.numel())
            return x

        with saved_tensors_hooks(keep, lambda x: x):
            learner.model.encoder(make_batch(0, 1).inputs)
        sizes.append(sum(kept))
        learner.step([make_batch(0, 1)])
        found.append(gradients(learner))
    assert sizes[1] < 0.5 * sizes[0]
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_a_backbone_without_activation_checkpointing_is_named(monkeypatch):
    def refuse(self, enable: bool = True) -> None:
        assert not enable, "not supported"

    model = make_model()
    monkeypatch.setattr(type(model.encoder.backbone), "set_grad_checkpointing", refuse)
    make_learner(model)
    with pytest.raises(
        ConfigError, match="timm's VisionTransformer does not support it; set it to"
    ):
        make_learner(model, checkpointing=True)

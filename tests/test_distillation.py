from dataclasses import replace

import pytest
import torch

from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.errors import ConfigError
from captioner.model import build_model
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from training.objectives.distillation import distillation_loss, load_teacher
from training.settings import DataConfig, RunConfig, SourceConfig, StageConfig

PAD = 0


def test_the_loss_is_the_divergence_averaged_over_real_words():
    words = torch.tensor([[[1, 4, 5, 2], [1, 3, 2, PAD]]])
    logits, taught = torch.randn(2, 1, 2, 3, 7, generator=torch.Generator().manual_seed(0))
    total = 0.0
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for k, t in places:
        mine, theirs = ((x[0, k, t] / 2).softmax(dim=-1) for x in (logits, taught))
        total += (theirs * (theirs / mine).log()).sum().item()
    loss = distillation_loss(logits, taught, words, temperature=2.0, pad_id=PAD)
    assert loss.item() == pytest.approx(4 * total / len(places), rel=1e-5)
    same = distillation_loss(taught, taught, words, temperature=2.0, pad_id=PAD)
    assert same.item() == pytest.approx(0, abs=1e-6)


def prepare(checkpoint, **settings):
    """A run with this checkpoint as teacher, and a model to be taught."""
    _, header = load_checkpoint(checkpoint)
    source = SourceConfig(annotations="a", images=("b",))
    config = RunConfig(
        name="test",
        data=DataConfig(train=(source,), val=source, max_words=8),
        stages=(
            StageConfig(
                name="taught",
                epochs=1,
                **{"teachers": (str(checkpoint),), "encoder": "trained"} | settings,
            ),
        ),
        model=header.model,
        preprocess=header.preprocess,
        search=header.search,
    )
    torch.manual_seed(11)
    model = build_model(
        header.model, preprocess=header.preprocess, words=len(header.tokenizer)
    ).eval()
    return config, config.stages[0], model, header.tokenizer


def test_a_teacher_answers_for_pixels_as_it_does_elsewhere(checkpoint):
    config, stage, model, tokenizer = prepare(checkpoint)
    teacher = load_teacher(config, stage, model=model, tokenizer=tokenizer)
    pixels = torch.randn(2, 3, config.preprocess.height, config.preprocess.width)
    words = torch.tensor([[[1, 4, 5, 2]], [[1, 6, 2, PAD]]])
    batch = Batch(inputs=pixels, words=words, image_ids=[0, 1], captions=[("a",), ("b",)])
    known, _ = load_checkpoint(checkpoint)
    expected = known.eval()(pixels, words[:, :, :-1]).logits
    taught = teacher(batch)
    torch.testing.assert_close(taught, expected.log_softmax(dim=-1))
    assert not taught.requires_grad


def test_several_teachers_teach_the_mean_of_their_probabilities(checkpoint, tmp_path):
    known, header = load_checkpoint(checkpoint)
    torch.manual_seed(5)
    other = build_model(header.model, preprocess=header.preprocess, words=len(header.tokenizer))
    second = tmp_path / "other.safetensors"
    save_checkpoint(second, other, header, half=False)
    config, stage, model, tokenizer = prepare(checkpoint, teachers=(str(checkpoint), str(second)))
    teacher = load_teacher(config, stage, model=model, tokenizer=tokenizer)
    pixels = torch.randn(1, 3, config.preprocess.height, config.preprocess.width)
    words = torch.tensor([[[1, 4, 5, 2]]])
    batch = Batch(inputs=pixels, words=words, image_ids=[0], captions=[("a",)])
    one, another = (
        own.eval()(pixels, words[:, :, :-1]).logits.softmax(dim=-1) for own in (known, other)
    )
    assert (one - another).abs().max() > 0.01
    torch.testing.assert_close(teacher(batch).exp(), (one + another) / 2)


def test_a_teacher_reads_cached_features_of_its_own_encoder_only(checkpoint):
    config, stage, model, tokenizer = prepare(checkpoint, encoder="frozen")
    with pytest.raises(ConfigError, match=r"has another encoder, so it cannot use"):
        load_teacher(config, stage, model=model, tokenizer=tokenizer)
    known, _ = load_checkpoint(checkpoint)
    model.encoder.load_state_dict(known.encoder.state_dict())
    teacher = load_teacher(config, stage, model=model, tokenizer=tokenizer)
    words = torch.tensor([[[1, 4, 5, 2]]])
    features = torch.randn(1, 6, known.encoder.feature_dim)
    batch = Batch(inputs=features, words=words, image_ids=[0], captions=[("a",)])
    expected = known.eval().decoder(features, words[:, :, :-1]).logits
    torch.testing.assert_close(teacher(batch), expected.log_softmax(dim=-1))


def test_a_teacher_must_know_the_same_words_and_see_the_same_photo(checkpoint):
    config, stage, model, tokenizer = prepare(checkpoint)
    other = Tokenizer.train_words(["a cat sleeps"], min_count=1)
    with pytest.raises(ConfigError, match=r"vocabulary \(21 tokens\) than this run \(7 tokens\)"):
        load_teacher(config, stage, model=model, tokenizer=other)
    wider = replace(config, preprocess=replace(config.preprocess, width=32))
    with pytest.raises(ConfigError, match=r"make preprocess the same"):
        load_teacher(wider, stage, model=model, tokenizer=tokenizer)


def test_a_stage_without_a_teacher_has_none(checkpoint):
    config, stage, model, tokenizer = prepare(checkpoint, teachers=())
    assert load_teacher(config, stage, model=model, tokenizer=tokenizer) is None

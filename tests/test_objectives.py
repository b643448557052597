from dataclasses import replace

import pytest
import torch

from captioner.decoders import RecurrentConfig, TransformerConfig
from captioner.model import build_decoder
from captioner.words.tokenizer import Tokenizer
from data.batching import Batch
from data.objects import OTHER_WORDS, ObjectWords
from training.objectives import ObjectiveSetup, build_objective
from training.objectives.distillation import distillation_loss
from training.settings import StageConfig

CAPTIONS = [("a dog runs on grass", "a brown dog"), ("a man on a bike", "someone rides a bike")]
TOKENIZER = Tokenizer.train_words([c for own in CAPTIONS for c in own], min_count=1)
DECODERS = {
    "transformer": TransformerConfig(
        width=16, layers=1, heads=2, feedforward_width=16, dropout=0.0
    ),
    "lstm": RecurrentConfig(width=16, embedding_dim=16, attention_width=8, dropout=0.0),
}


def make_decoder(kind: str = "transformer", *, seed: int = 0):
    torch.manual_seed(seed)
    return build_decoder(DECODERS[kind], words=len(TOKENIZER), feature_dim=8).eval()


def make_batch(tokenizer: Tokenizer = TOKENIZER) -> Batch:
    prefix, end, pad = tokenizer.prefix, tokenizer.end_id, tokenizer.pad_id
    rows = [[[*prefix, *tokenizer.encode(c), end] for c in own] for own in CAPTIONS]
    longest = max(len(row) for own in rows for row in own)
    words = torch.tensor([[row + [pad] * (longest - len(row)) for row in own] for own in rows])
    features = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    return Batch(inputs=features, words=words, image_ids=[0, 1], captions=CAPTIONS)


def learn(
    decoder, *, progress=0.0, taught=None, tokenizer=TOKENIZER, shares=None, **settings
) -> tuple[float, float, dict[str, torch.Tensor]]:
    """Loss, measure and gradients of one step."""
    stage = StageConfig(name="test", epochs=1, **settings)
    setup = ObjectiveSetup(
        decoder=decoder,
        stage=stage,
        tokenizer=tokenizer,
        captions=CAPTIONS,
        max_words=8,
        teacher=None if taught is None else lambda batch: taught,
    )
    objective = build_objective(setup)
    batch = replace(make_batch(tokenizer), shares=shares)
    decoder.zero_grad()
    torch.manual_seed(2)
    loss, measure = objective(batch.inputs, batch, progress=progress)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in decoder.named_parameters() if p.grad is not None}
    return loss.item(), measure.item(), gradients


def test_bleu_joins_the_reward_of_the_same_draws():
    decoder = make_decoder()
    _, alone, before = learn(decoder, objective="cider", samples=64)
    _, mixed, after = learn(decoder, objective="cider", samples=64, bleu=5.0)
    assert alone < mixed < alone + 5
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", DECODERS)
def test_the_share_of_the_models_own_words_grows_during_a_stage(kind):
    decoder = make_decoder(kind)
    plain, _, _ = learn(decoder)
    begun, _, _ = learn(decoder, scheduled_sampling=1.0)
    done, _, changed = learn(decoder, scheduled_sampling=1.0, progress=1.0)
    assert begun == plain != done
    assert changed.keys() == {name for name, _ in decoder.named_parameters()}


def test_a_teacher_has_its_share_of_the_loss():
    decoder, batch = make_decoder(), make_batch()
    words = batch.words
    logits = decoder(batch.inputs, words[:, :, :-1]).logits
    taught = torch.randn_like(logits)
    people, _, before = learn(decoder, label_smoothing=0.0)
    loss, measure, after = learn(
        decoder, label_smoothing=0.0, teachers=("x",), teacher_weight=0.25, taught=taught
    )
    apart = distillation_loss(logits, taught, words, temperature=1.0, pad_id=TOKENIZER.pad_id)
    assert loss == pytest.approx(0.75 * people + 0.25 * apart.item())
    assert measure == pytest.approx(people)  # what is shown can be compared with other runs
    assert any(not torch.allclose(before[name], after[name]) for name in before)


def test_captions_can_be_looked_for_rather_than_drawn():
    decoder = make_decoder()
    first = learn(decoder, objective="cider", samples=3, draws="beam")
    torch.manual_seed(5)
    again = learn(decoder, objective="cider", samples=3, draws="beam")
    drawn = learn(decoder, objective="cider", samples=3)
    assert first[0] == again[0] != drawn[0]
    assert any(x.abs().sum() > 0 for x in first[2].values())


def test_a_prompt_is_read_and_never_learned():
    """As if its ids were no targets: not in the loss, nor in what it is the mean of."""
    decoder, behind = make_decoder(), TOKENIZER.behind("a dog on")
    batch, prompt = make_batch(behind), 3
    words, targets = batch.words, batch.words[:, :, 1:].clone()
    targets[:, :, :prompt] = TOKENIZER.pad_id
    logits = decoder(batch.inputs, words[:, :, :-1]).logits
    smoothed, plain = (
        torch.nn.functional.cross_entropy(
            logits.flatten(0, 2), targets.flatten(), ignore_index=TOKENIZER.pad_id,
            label_smoothing=smoothing,
        ).item()
        for smoothing in (0.1, 0.0)
    )  # fmt: skip
    loss, measure, _ = learn(decoder, tokenizer=behind)
    assert (loss, measure) == (pytest.approx(smoothed), pytest.approx(plain))
    taught = logits.detach().clone()
    taught[:, :, :prompt] += torch.randn_like(taught[:, :, :prompt])  # which nobody learns
    same, _, _ = learn(
        decoder, tokenizer=behind, label_smoothing=0.1, teachers=("x",), teacher_weight=1.0,
        taught=taught,
    )  # fmt: skip
    assert same == pytest.approx(0, abs=1e-6)


def test_boxes_and_coverage_are_of_the_words_behind_the_prompt():
    decoder, behind = make_decoder(), TOKENIZER.behind("a dog on")
    batch = make_batch(behind)
    shares = torch.zeros(2, 2, batch.words.shape[-1] - 1, 4)
    shares[0, 0, 1, 2] = 1.0  # "dog" lies in the third region
    plain, _, _ = learn(decoder, tokenizer=behind)
    loss, _, _ = learn(decoder, tokenizer=behind, shares=shares, grounding=1.0)
    reading = decoder(batch.inputs, batch.words[:, :, :-1], with_attention=True)
    inside = reading.attention[0, 0, -1, :, 3 + 1, 2].mean()  # on reading the first word, "a"
    assert loss - plain == pytest.approx(-inside.log().item(), rel=1e-4)
    covered, _, _ = learn(decoder, tokenizer=behind, coverage=1.0)
    assert covered != plain
    weights = reading.attention[:, :, -1, :, 3:].mean(dim=2)
    real = (batch.words[:, :, 4:] != TOKENIZER.pad_id)[..., None]
    penalty = ((1 - (weights * real).sum(dim=2)) ** 2).sum() / real.sum()
    assert covered - plain == pytest.approx(penalty.item(), rel=1e-4)


def test_drawn_captions_begin_behind_the_prompt_and_are_rewarded_without_it():
    decoder, behind = make_decoder(), TOKENIZER.behind("a dog on")
    seen = []

    def reward(words, references):
        seen.append((words, references))
        return torch.rand(words.shape[:2])

    stage = StageConfig(name="test", epochs=1, objective="cider", samples=3)
    objective = build_objective(
        ObjectiveSetup(
            decoder=decoder, stage=stage, tokenizer=behind, captions=CAPTIONS, max_words=8
        )
    )
    objective.reward = reward
    batch, read = make_batch(behind), []
    decoder.register_forward_pre_hook(lambda module, given: read.append(given[1]))
    loss, _ = objective(batch.inputs, batch, progress=0.0)
    loss.backward()
    ((drawn, references),), (words,) = seen, read
    assert torch.equal(references, batch.words[:, :, len(behind.prefix) :])
    assert (words[..., : len(behind.prefix)] == torch.tensor(behind.prefix)).all()
    assert torch.equal(words[..., len(behind.prefix) :], drawn[..., :-1])


@pytest.mark.parametrize("penalty", ["hallucination_penalty", "distinctiveness"])
def test_penalties_are_taken_from_the_reward_and_named_in_its_signature(penalty):
    def gradient(weight):
        torch.manual_seed(0)
        decoder = make_decoder()
        stage = StageConfig(name="test", epochs=1, objective="cider", **{penalty: weight})
        objective = build_objective(
            ObjectiveSetup(
                decoder=decoder, stage=stage, tokenizer=TOKENIZER, captions=CAPTIONS, max_words=8,
                names=[ObjectWords(OTHER_WORDS)],
            )
        )  # fmt: skip
        assert ("|-" in objective.signature) == bool(weight)
        batch = make_batch(TOKENIZER)
        loss, measure = objective(batch.inputs, batch, progress=0.0)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in decoder.parameters()]), measure

    (plain, measure), (small, same), (double, _) = gradient(0.0), gradient(0.5), gradient(1.0)
    assert measure == same  # what is logged is the reward before penalties
    torch.testing.assert_close(double - small, small - plain, atol=1e-6, rtol=1e-4)
    assert not torch.equal(small, plain)

import pytest
import torch

from captioner.decoders import TransformerConfig
from captioner.model import build_decoder
from captioner.words.tokenizer import Tokenizer
from tests.toys import GARDEN, A, B, C, TableDecoder
from training.objectives.self_critical import sample_captions, self_critical_loss

TOKENIZER = Tokenizer.train_words(["a dog runs on grass", "a man on a bike"], min_count=1)
PLAIN = {"temperature": 1.0, "tokenizer": TOKENIZER}


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    config = TransformerConfig(width=16, layers=1, heads=2, feedforward_width=16, dropout=0.0)
    return build_decoder(config, words=len(TOKENIZER), feature_dim=8).eval()


def ids(text, *, end=True, length=10):
    tokens = TOKENIZER.encode(text) + [TOKENIZER.end_id] * end
    return tokens + [TOKENIZER.pad_id] * (length - len(tokens))


def test_drawn_captions_start_end_and_hold_no_forbidden_word(decoder):
    torch.manual_seed(1)
    words = sample_captions(decoder, torch.randn(3, 4, 8), count=6, max_words=5, **PLAIN)
    assert words.shape[:2] == (3, 6)
    assert words.shape[2] <= 7
    for caption in words.flatten(0, 1).tolist():
        assert caption[0] == TOKENIZER.start_id
        end = caption.index(TOKENIZER.end_id) if TOKENIZER.end_id in caption else len(caption)
        assert not set(caption[1:end]) & set(TOKENIZER.never_written)
        assert set(caption[end + 1 :]) <= {TOKENIZER.pad_id}


def test_one_step_makes_the_better_caption_likelier_and_the_worse_one_less_so(decoder):
    features = torch.randn(1, 4, 8)
    start = [TOKENIZER.start_id]
    words = torch.tensor([[start + ids("a dog runs on grass"), start + ids("a man on a bike")]])
    rewards = torch.tensor([[3.0, 1.0]])

    def likelihood():
        log_p = decoder(features, words[:, :, :-1]).logits.log_softmax(dim=-1)
        chosen = log_p.gather(-1, words[:, :, 1:, None])[..., 0]
        return (chosen * (words[:, :, 1:] != TOKENIZER.pad_id)).sum(dim=-1)[0]

    before = likelihood().detach()
    logits = decoder(features, words[:, :, :-1]).logits
    self_critical_loss(logits, words, rewards, **PLAIN).backward()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)
    after = likelihood().detach()
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_a_low_temperature_keeps_draws_to_the_likeliest_words(decoder):
    options = {"count": 40, "max_words": 4, "tokenizer": TOKENIZER}
    features = torch.randn(1, 4, 8)
    torch.manual_seed(2)
    cold, cool, plain = (
        sample_captions(decoder, features, temperature=t, **options)[0] for t in (1e-3, 0.3, 1.0)
    )
    assert len(cold.unique(dim=0)) == 1
    assert 1 < len(cool.unique(dim=0)) < len(plain.unique(dim=0))


def test_the_loss_is_that_of_the_distribution_the_captions_came_from():
    pad, start = TOKENIZER.pad_id, [TOKENIZER.start_id]
    words = torch.tensor([[start + ids("a dog"), start + ids("a man on a bike")]])
    rewards = torch.tensor([[3.0, 1.0]])  # 2 above its sibling, 2 below
    logits = torch.randn(*words[..., 1:].shape, len(TOKENIZER))
    allowed = logits.clone()
    allowed[..., list(TOKENIZER.never_written)] = -torch.inf
    chosen = (allowed / 0.5).softmax(dim=-1).gather(-1, words[..., 1:, None])[..., 0]
    totals = (chosen.log() * (words[..., 1:] != pad)).nan_to_num(0).sum(dim=-1)[0]
    expected = -(2 * totals[0] - 2 * totals[1]) / (words[..., 1:] != pad).sum()
    loss = self_critical_loss(logits, words, rewards, temperature=0.5, tokenizer=TOKENIZER)
    torch.testing.assert_close(loss, expected)


def test_the_beams_captions_come_best_first_and_a_missing_one_is_repeated():
    decoder = TableDecoder(GARDEN)
    limits = {"count": 6, "max_words": 4, "temperature": None}
    words = sample_captions(decoder, decoder.images(), tokenizer=TOKENIZER, **limits)
    start, end, pad = TOKENIZER.start_id, TOKENIZER.end_id, TOKENIZER.pad_id
    assert words.tolist() == [
        [
            [start, B, end, pad],
            [start, A, end, pad],
            [start, A, B, end],
            [start, A, C, end],
            [start, B, C, end],
            [start, B, C, end],  # there are no more
        ]
    ]

import pytest
import torch

from captioner.config import TransformerConfig
from captioner.model import build_decoder
from captioner.tokenizer import Tokenizer
from training.self_critical import draw_captions, self_critical_loss

TOKENIZER = Tokenizer.train_words(["a dog runs on grass", "a man on a bike"], min_count=1)


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
    words = draw_captions(decoder, torch.randn(3, 4, 8), count=6, max_words=5, tokenizer=TOKENIZER)
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
    self_critical_loss(logits, words, rewards, tokenizer=TOKENIZER).backward()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)
    after = likelihood().detach()
    assert after[0] > before[0]
    assert after[1] < before[1]

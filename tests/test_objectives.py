import torch

from captioner.config import LSTMConfig, TransformerConfig
from captioner.model import build_decoder
from captioner.tokenizer import Tokenizer
from data.batching import Batch
from training.objectives import build_objective
from training.settings import StageConfig

CAPTIONS = [("a dog runs on grass", "a brown dog"), ("a man on a bike", "someone rides a bike")]
TOKENIZER = Tokenizer.train_words([c for own in CAPTIONS for c in own], min_count=1)
DECODERS = {
    "transformer": TransformerConfig(
        width=16, layers=1, heads=2, feedforward_width=16, dropout=0.0
    ),
    "lstm": LSTMConfig(width=16, embedding_dim=16, attention_width=8, dropout=0.0),
}


def make_decoder(kind: str = "transformer", *, seed: int = 0):
    torch.manual_seed(seed)
    return build_decoder(DECODERS[kind], words=len(TOKENIZER), feature_dim=8).eval()


def make_batch() -> Batch:
    start, end, pad = TOKENIZER.start_id, TOKENIZER.end_id, TOKENIZER.pad_id
    rows = [[[start, *TOKENIZER.encode(c), end] for c in own] for own in CAPTIONS]
    longest = max(len(row) for own in rows for row in own)
    words = torch.tensor([[row + [pad] * (longest - len(row)) for row in own] for own in rows])
    features = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    return Batch(inputs=features, words=words, image_ids=[0, 1], captions=CAPTIONS)


def learn(decoder, **settings) -> tuple[float, float, dict[str, torch.Tensor]]:
    """Loss, measure and gradients of one step."""
    stage = StageConfig(name="test", epochs=1, **settings)
    objective = build_objective(decoder, stage, tokenizer=TOKENIZER, captions=CAPTIONS, max_words=8)
    batch = make_batch()
    decoder.zero_grad()
    torch.manual_seed(2)
    loss, measure = objective(batch.inputs, batch)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in decoder.named_parameters() if p.grad is not None}
    return loss.item(), measure.item(), gradients


def test_bleu_joins_the_reward_of_the_same_draws():
    decoder = make_decoder()
    _, alone, before = learn(decoder, objective="cider", samples=64)
    _, mixed, after = learn(decoder, objective="cider", samples=64, bleu=5.0)
    assert alone < mixed < alone + 5
    assert any(not torch.equal(before[name], after[name]) for name in before)

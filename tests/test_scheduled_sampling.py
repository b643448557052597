import pytest
import torch
from test_objectives import TOKENIZER, make_batch, make_decoder

from training.objectives import scheduled_sampling
from training.objectives.scheduled_sampling import mix_in_samples

SPECIAL = {TOKENIZER.pad_id, TOKENIZER.start_id, TOKENIZER.end_id}


@pytest.fixture
def likeliest(monkeypatch):
    """Draws are the likeliest words."""
    monkeypatch.setattr(scheduled_sampling, "draw", lambda log_p, noise: log_p.argmax(dim=-1))


def mix(decoder, *, probability: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The words that people wrote, and what is read of them."""
    batch = make_batch()
    words = batch.words[:, :, :-1]
    options = {"probability": probability, "tokenizer": TOKENIZER}
    return words, mix_in_samples(decoder, batch.inputs, words, **options)


def best(logits: torch.Tensor) -> torch.Tensor:
    banned = [*TOKENIZER.never_written, TOKENIZER.end_id]
    return logits.index_fill(-1, torch.tensor(banned), -torch.inf).argmax(dim=-1)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_none_some_or_all_words_are_replaced_but_no_marks(kind):
    decoder = make_decoder(kind)
    words, none = mix(decoder, probability=0.0)
    assert torch.equal(none, words)
    torch.manual_seed(0)
    real = ~torch.isin(words, torch.tensor(list(SPECIAL)))
    shares = []
    for probability in (0.5, 1.0):
        mixed = torch.stack([mix(decoder, probability=probability)[1] for _ in range(30)])
        assert (mixed == words)[:, ~real].all()
        assert not SPECIAL & set(mixed[:, real].flatten().tolist())
        shares.append((mixed != words)[:, real].float().mean().item())
    assert 0.35 < shares[0] < 0.55  # some draws are the word that was there
    assert shares[1] > 0.75


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_nothing_that_is_given_before_the_caption_is_replaced(kind):
    behind, decoder = TOKENIZER.behind("a dog on"), make_decoder(kind)
    batch = make_batch(behind)
    words = batch.words[:, :, :-1]
    mixed = torch.stack(
        [
            mix_in_samples(decoder, batch.inputs, words, probability=1.0, tokenizer=behind)
            for _ in range(10)
        ]
    )
    assert (mixed == words)[..., : len(behind.prefix)].all()
    assert not (mixed == words)[..., len(behind.prefix)].all()


def test_the_transformer_draws_from_a_first_reading(likeliest):
    decoder = make_decoder("transformer")
    words, mixed = mix(decoder, probability=1.0)
    said = best(decoder(make_batch().inputs, words).logits)[:, :, :-1]
    real = ~torch.isin(words[:, :, 1:], torch.tensor(list(SPECIAL)))
    assert torch.equal(mixed[:, :, 1:][real], said[real])


def test_the_lstm_continues_from_its_own_samples(likeliest):
    decoder = make_decoder("lstm")
    words, mixed = mix(decoder, probability=1.0)
    said = best(decoder(make_batch().inputs, mixed).logits)[:, :, :-1]  # having read its own words
    real = ~torch.isin(words[:, :, 1:], torch.tensor(list(SPECIAL)))
    assert torch.equal(mixed[:, :, 1:][real], said[real])

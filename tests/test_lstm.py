import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from captioner.decoders import RecurrentConfig
from captioner.model import build_decoder


def make(**settings):
    torch.manual_seed(0)
    config = RecurrentConfig(width=8, embedding_dim=6, attention_width=5, **settings)
    return build_decoder(config, words=11, feature_dim=7).double().eval()


def features(images=1):
    return torch.randn(images, 4, 7, generator=torch.Generator().manual_seed(1)).double()


WORDS = torch.tensor([[[1, 5, 3, 9]]])


def lstm_by_hand(cell, x, h, c):
    """Equations 1 to 3 of the paper, in torch's order of the gates."""
    gates = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
    i, f, g, o = gates.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_by_hand(cell, x, h, c):
    """Equations 5 to 8 of Cho et al. 2014 (arXiv:1406.1078), the reset after the product."""
    xr, xz, xn = (cell.weight_ih @ x + cell.bias_ih).chunk(3)
    hr, hz, hn = (cell.weight_hh @ h + cell.bias_hh).chunk(3)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - z) * torch.tanh(xn + r * hn) + z * h, c


def read_by_hand(d, regions, words, advance):
    """Xu et al. 2015 for one caption of one image: returns logits, attention and gates."""
    a = F.layer_norm(regions @ d.from_feature[0].weight.T + d.from_feature[0].bias, (8,))
    mean = a.mean(dim=0)
    h = torch.tanh(d.first_hidden.weight @ mean + d.first_hidden.bias)
    c = None
    if d.first_cell is not None:
        c = torch.tanh(d.first_cell.weight @ mean + d.first_cell.bias)
    logits, attention, gates = [], [], []
    for word in words:
        u_h = d.attention.from_query.weight @ h
        w_a = a @ d.attention.from_feature.weight.T + d.attention.from_feature.bias
        alpha = torch.softmax(torch.tanh(w_a + u_h) @ d.attention.to_score.weight[0], dim=0)
        beta = torch.sigmoid(d.gate.weight[0] @ h + d.gate.bias[0])
        z = beta * (alpha @ a)
        y = d.words.vectors.weight[word] * 6**0.5
        h, c = advance(d.cell, torch.cat([y, z]), h, c)
        output = y + d.from_hidden.weight @ h + d.from_hidden.bias + d.from_context.weight @ z
        logits.append(d.words.vectors.weight @ output + d.words.bias)
        attention.append(alpha)
        gates.append(beta)
    return torch.stack(logits), torch.stack(attention), torch.stack(gates)


@pytest.mark.parametrize(("cell", "advance"), [("lstm", lstm_by_hand), ("gru", gru_by_hand)])
def test_the_decoder_follows_the_papers_equations(cell, advance):
    decoder = make(cell=cell)
    reading = decoder(features(), WORDS, with_attention=True)
    logits, attention, gates = read_by_hand(decoder, features()[0], WORDS[0, 0], advance)
    assert_close(reading.logits[0, 0], logits)
    assert_close(reading.attention[0, 0, 0, 0], attention)
    assert_close(reading.gate[0, 0], gates)


def with_gate(decoder, bias):
    with torch.no_grad():
        decoder.gate.weight.zero_()
        decoder.gate.bias.fill_(bias)
    return decoder


def test_a_closed_gate_hides_what_is_attended_to():
    one = features()
    other = one.flip(-1)
    closed, opened = (with_gate(make(), bias) for bias in (-50.0, 50.0))
    for decoder in (closed, opened):
        with torch.no_grad():  # the first state must not tell the images apart
            decoder.first_hidden.weight.zero_()
            decoder.first_cell.weight.zero_()
    assert_close(closed(one, WORDS).logits, closed(other, WORDS).logits, rtol=0, atol=1e-12)
    assert (opened(one, WORDS).logits - opened(other, WORDS).logits).abs().max() > 1e-3


def test_the_gate_is_reported_for_every_word():
    reading = with_gate(make(), 0.0)(features(2), WORDS.expand(2, 3, 4))
    assert_close(reading.gate, torch.full((2, 3, 4), 0.5).double(), rtol=0, atol=0)


def test_the_gate_scales_the_context_that_cell_and_output_see():
    decoder = make()
    state = decoder.init_state(features())
    contexts = []
    for bias in (0.0, 50.0):
        _, context, _, gate = with_gate(decoder, bias)._advance(
            decoder._embed(WORDS[..., 0]), state.past, state.memory
        )
        contexts.append(context / gate[..., None])
    assert_close(contexts[0], contexts[1])


def test_the_first_state_comes_from_the_mean_of_the_regions():
    decoder = make()
    state = decoder.init_state(features())
    mean = state.memory.regions.sum(dim=1, keepdim=True) / features().shape[1]
    assert_close(state.past.hidden, decoder.first_hidden(mean).tanh())
    assert_close(state.past.cell, decoder.first_cell(mean).tanh())


def test_a_gru_keeps_no_cell():
    decoder = make(cell="gru")
    state = decoder.init_state(features())
    assert state.past.cell is None
    _, state = decoder.step(torch.tensor([[1]]), state)
    assert state.past.cell is None


def test_image_and_words_are_kept_apart_so_a_beam_copies_no_image():
    decoder = make()
    state = decoder.init_state(features(2)).reorder(torch.zeros(2, 5, dtype=torch.long))
    assert state.memory.regions.shape == (2, 4, 8)
    assert state.memory.keys.shape == (2, 4, 5)
    assert state.past.hidden.shape == (2, 5, 8)


@pytest.mark.parametrize("tie", [True, False])
def test_tying_stores_the_word_table_once(tie):
    sized = [name for name, x in make(tie=tie).state_dict().items() if x.shape == (11, 6)]
    assert sized == ["words.vectors.weight"] + ["words.output.weight"] * (not tie)


def test_dropout_happens_in_training_only():
    decoder = make(dropout=0.5)
    assert_close(decoder(features(), WORDS), decoder(features(), WORDS), rtol=0, atol=0)
    decoder.train()
    one, other = (decoder(features(), WORDS).logits for _ in range(2))
    assert not torch.equal(one, other)

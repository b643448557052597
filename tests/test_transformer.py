import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from captioner.decoders import TransformerConfig
from captioner.decoders.blocks import sinusoids
from captioner.model import build_decoder


def make(**settings):
    torch.manual_seed(0)
    settings = {"width": 8, "layers": 3, "heads": 2, "feedforward_width": 12, **settings}
    config = TransformerConfig(max_positions=settings.pop("max_positions", 9), **settings)
    decoder = build_decoder(config, words=11, feature_dim=7).eval()
    with torch.no_grad():  # norms that start at one and zero would hide a missing one
        for name, parameter in decoder.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return decoder


def features():
    return torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(1))


def captions(*, count=2, length=6):
    return torch.randint(11, (3, count, length), generator=torch.Generator().manual_seed(2))


def torchs_own(decoder, *, activation="relu", norm_first=True):
    """Copy our blocks into torch's decoder."""
    layer = nn.TransformerDecoderLayer(
        8, decoder.heads, 12, activation=activation, batch_first=True, norm_first=norm_first
    )
    last = nn.LayerNorm(8) if norm_first else nn.Identity()
    theirs = nn.TransformerDecoder(layer, len(decoder.blocks), norm=last).eval()
    for block, layer in zip(decoder.blocks, theirs.layers, strict=True):
        for ours, other in (
            (block.self_attention, layer.self_attn),
            (block.cross_attention, layer.multihead_attn),
        ):
            parts = (ours.query, ours.key, ours.value)
            other.in_proj_weight.data = torch.cat([part.weight.data for part in parts])
            other.in_proj_bias.data = torch.cat([part.bias.data for part in parts])
            other.out_proj.load_state_dict(ours.out.state_dict())
        layer.norm1.load_state_dict(block.self_norm.state_dict())
        layer.norm2.load_state_dict(block.cross_norm.state_dict())
        layer.norm3.load_state_dict(block.feedforward_norm.state_dict())
        layer.linear1.load_state_dict(block.feedforward[0].state_dict())
        layer.linear2.load_state_dict(block.feedforward[3].state_dict())
    theirs.norm.load_state_dict(decoder.norm.state_dict())
    return theirs


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_it_is_torchs_own_decoder_with_the_same_weights(positions):
    decoder = make(positions=positions)
    theirs = torchs_own(decoder)
    looked = record_looks(theirs)
    words = captions(count=2)
    reading = decoder(features(), words, with_attention=True)
    for k in range(2):
        embedded = decoder.words.vectors(words[:, k]) * math.sqrt(8) + decoder.positions[:6]
        looked.clear()
        with torch.no_grad():
            state = theirs(
                embedded,
                decoder.from_feature(features()),
                tgt_mask=torch.ones(6, 6, dtype=torch.bool).triu(1),
            )
        expected = state @ decoder.words.vectors.weight.T + decoder.words.bias
        assert_close(reading.logits[:, k], expected, rtol=1e-5, atol=1e-5)
        weights = torch.stack(looked, dim=1)  # (B, L, M, T, P)
        assert_close(reading.attention[:, k], weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "theirs"),
    [("gelu", "gelu"), ("gelu_tanh", partial(F.gelu, approximate="tanh")), ("relu", "relu")],
)
def test_normalised_after_each_part_it_is_torchs_own_decoder_too(activation, theirs):
    decoder = make(norm="post", activation=activation, scaled_words=False, embedding_norm=True)
    words = captions(count=1)
    embedded = decoder.words.vectors(words[:, 0]) + decoder.positions[:6]
    state = torchs_own(decoder, activation=theirs, norm_first=False)(
        decoder.embedding_norm(embedded),
        decoder.from_feature(features()),
        tgt_mask=torch.ones(6, 6, dtype=torch.bool).triu(1),
    )
    expected = state @ decoder.words.vectors.weight.T + decoder.words.bias
    assert_close(decoder(features(), words).logits[:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eps", [1e-12, 0.1])
def test_every_norm_adds_the_eps_asked_for(eps):
    decoder = make(eps=eps, embedding_norm=True, head=True)
    norms = [module for module in decoder.modules() if isinstance(module, nn.LayerNorm)]
    assert [norm.eps for norm in norms] == [eps] * (3 * 3 + 4)


def test_without_a_bridge_keys_and_values_read_the_features():
    decoder = make(bridge="none")
    assert decoder.from_feature(features()).equal(features())
    assert decoder.blocks[0].cross_attention.key.in_features == 7
    assert decoder.init_state(features()).memory[0].equal(features())


def record_looks(theirs):
    """Keep the weights of each cross-attention of torch's decoder, as it goes."""
    looked = []

    def look(module, arguments, settings):
        weights = module.forward(
            *arguments, **{**settings, "need_weights": True, "average_attn_weights": False}
        )[1]
        looked.append(weights)

    for layer in theirs.layers:
        layer.multihead_attn.register_forward_pre_hook(look, with_kwargs=True)
    return looked


def test_image_and_words_are_kept_apart_so_a_beam_copies_no_image():
    decoder = make()
    state = decoder.init_state(features()).reorder(torch.zeros(3, 5, dtype=torch.long))
    _, state = decoder.step(torch.ones(3, 5, dtype=torch.long), state)
    assert [x.shape for x in state.memory] == [(3, 4, 8)]
    assert {x.shape for x in state.past.keys + state.past.values} == {(3, 5, 2, 1, 4)}


@pytest.mark.parametrize("width", [8, 7])
def test_sinusoids_follow_the_papers_formula(width):
    expected = [
        [
            math.sin(p / 10_000 ** (j / width))
            if j % 2 == 0
            else math.cos(p / 10_000 ** ((j - 1) / width))
            for j in range(width)
        ]
        for p in range(20)
    ]
    assert_close(sinusoids(20, width), torch.tensor(expected))


def test_sinusoids_are_not_stored():
    assert "positions" not in make(positions="sinusoidal").state_dict()
    assert make(positions="learned").state_dict()["positions"].shape == (9, 8)


@pytest.mark.parametrize("tie", [True, False])
def test_tying_stores_the_word_table_once(tie):
    sized = [name for name, x in make(tie=tie).state_dict().items() if x.shape == (11, 8)]
    assert sized == ["words.vectors.weight"] + ["words.output.weight"] * (not tie)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_caption_too_long_is_refused_whole_and_word_by_word(positions):
    decoder = make(positions=positions, max_positions=4)
    message = "caption of 5 tokens; this decoder reads 4 at most."
    decoder(features(), captions(length=4))
    with pytest.raises(ValueError, match=message):
        decoder(features(), captions(length=5))
    state = decoder.init_state(features())
    word = torch.ones(3, 1, dtype=torch.long)
    for _ in range(4):
        _, state = decoder.step(word, state)
    with pytest.raises(ValueError, match=message):
        decoder.step(word, state)


def test_dropout_happens_in_training_only():
    decoder = make(dropout=0.5)
    words = captions()
    assert_close(decoder(features(), words), decoder(features(), words), rtol=0, atol=0)
    decoder.train()
    one, other = (decoder(features(), words).logits for _ in range(2))
    assert not torch.equal(one, other)


def test_word_order_matters():
    decoder = make()
    words = captions(count=1)
    swapped = words[:, :, [1, 0, 2, 3, 4, 5]]
    last, last_of_swapped = (decoder(features(), w).logits[:, :, -1] for w in (words, swapped))
    assert (last - last_of_swapped).abs().max() > 1e-3

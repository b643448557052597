import torch
from torch.testing import assert_close

from captioner.decoders import TransformerConfig
from captioner.model import Decoder, build_decoder
from captioner.result.rollout import rollout


def test_one_layer_is_its_own_rollout():
    looks = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]])
    between = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    assert_close(rollout(looks, between), looks[0])


def test_two_layers_pass_on_what_the_words_before_saw():
    looks = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    between = torch.tensor([[[1.0, 0.0], [0.9, 0.1]], [[1.0, 0.0], [0.5, 0.5]]])
    # After layer 1 the words hold [1/2, 0] and [0, 1/2]. In layer 2 the second takes half of its
    # words' mean, [1/4, 1/4], and half of itself: [1/8, 3/8]; then looks: [1/16, 11/16].
    expected = torch.tensor([[1 / 3, 2 / 3], [1 / 12, 11 / 12]])
    assert_close(rollout(looks, between), expected)
    many = rollout(looks.expand(3, 2, 2, 2), between.expand(3, 2, 2, 2))
    assert_close(many, expected.expand(3, 2, 2))


def make() -> Decoder:
    torch.manual_seed(0)
    config = TransformerConfig(
        width=8, layers=2, heads=2, feedforward_width=16, dropout=0.0, max_positions=8
    )
    return build_decoder(config, words=11, feature_dim=6).eval()


def test_weights_between_words_are_those_that_reading_uses():
    block = make().blocks[0]
    x = torch.randn(3, 5, 8)
    read, weights = block.read_words(x, with_weights=True)
    assert weights.shape == (3, 2, 5, 5)
    assert_close(weights.sum(dim=-1), torch.ones(3, 2, 5))
    assert (weights.triu(diagonal=1) == 0).all()
    normed = block.self_norm(x)
    _, values = block.self_attention.keys_and_values(normed)
    attended = block.self_attention.out((weights @ values).transpose(1, 2).flatten(2))
    assert_close(x + attended, read)


def test_they_come_with_the_attention_to_regions_and_only_then():
    decoder, features = make(), torch.randn(2, 4, 6)
    words = torch.randint(11, (2, 3, 5))
    reading = decoder(features, words, with_attention=True)
    assert reading.between_words.shape == (2, 3, 2, 2, 5, 5)  # B K L M T T
    x = decoder.embed(words, 0).flatten(0, 1)
    _, expected = decoder.blocks[0].read_words(x, with_weights=True)
    assert_close(reading.between_words[:, :, 0].flatten(0, 1), expected)
    assert decoder(features, words).between_words is None
    rolled_out = rollout(reading.attention.mean(dim=3), reading.between_words.mean(dim=3))
    assert rolled_out.shape == (2, 3, 5, 4)
    assert_close(rolled_out.sum(dim=-1), torch.ones(2, 3, 5))

"""Evidence, worked out by hand, and against what gradients say."""

import json
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from captioner.config import AttentionConfig, TransformerConfig
from captioner.decoders import PrefixConfig, RecurrentConfig
from captioner.errors import ConfigError
from captioner.model import build_decoder
from captioner.onnx.runner import OnnxCaptioner
from captioner.pytorch import TorchCaptioner
from captioner.result.evidence import smooth, weigh_evidence
from tests.captions import even, one_hot

GRID = (5, 5)
EVIDENCE = AttentionConfig(method="evidence")


def spot(row, col):
    """What smoothing makes of all weight on one region, away from the edges."""
    spread = np.zeros(GRID)
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for y in range(-2, 3):
        for x in range(-2, 3):
            spread[row + y, col + x] = kernel[y + 2] * kernel[x + 2]
    return spread


def test_smoothing_is_binomial_and_replicates_edges():
    assert_allclose(smooth(one_hot(GRID, 2, 2)), spot(2, 2))
    assert_allclose(smooth(even(GRID)), even(GRID), rtol=1e-6)
    corner = smooth(one_hot((5, 1), 0, 0))[:, 0]
    assert_allclose(corner, [11 / 16, 5 / 16, 1 / 16, 0, 0])


def test_where_nothing_is_added_heads_show_what_they_agree_on():
    both = np.stack([one_hot(GRID, 2, 2), one_hot(GRID, 2, 2)])
    shown = weigh_evidence(both, np.zeros(GRID, np.float32))
    floor = 0.02 / 25
    assert_allclose(shown, (spot(2, 2) + floor) / (1 + 0.02), rtol=1e-5)
    # Two heads that agree nowhere: sqrt((1 + floor) floor) on either's region, floor elsewhere.
    apart = np.stack([one_hot(GRID, 2, 1), one_hot(GRID, 2, 3)])
    agreed = np.full(GRID, floor)
    agreed[2, 1] = agreed[2, 3] = np.sqrt((1 + floor) * floor)
    expected = smooth(agreed)
    shown = weigh_evidence(apart, np.zeros(GRID, np.float32))
    assert_allclose(shown, expected / expected.sum(), rtol=1e-5)


def test_regions_count_by_what_they_add_and_not_if_they_speak_against_the_word():
    added = 3 * one_hot(GRID, 2, 2) - 7 * one_hot(GRID, 2, 1)
    expected = spot(2, 2) ** 0.75 / (spot(2, 2) ** 0.75).sum()
    assert_allclose(weigh_evidence(even(GRID)[None], added), expected, rtol=1e-6)
    twice = np.stack([even(GRID) / 2, even(GRID) / 4])  # the rest went to a class token
    assert_allclose(weigh_evidence(twice, added), expected, rtol=1e-6)


def test_the_lstm_adds_what_its_output_layer_reads_of_each_region():
    decoder = build_decoder(
        RecurrentConfig(width=8, embedding_dim=6, attention_width=5), words=11, feature_dim=7
    )
    features, words = torch.randn(2, 4, 7), torch.tensor([[3, 5, 1], [2, 2, 9]])
    attention = torch.rand(2, 1, 3, 4)
    added = decoder.evidence(features, words, attention)
    for image, t, region in ((0, 0, 1), (1, 2, 3)):
        read = decoder.from_feature(features[image, region]) * attention[image, 0, t, region]
        word = words[image, t]
        expected = decoder.words.output_weights[word] @ decoder.from_context(read)
        assert_close(added[image, t, region], expected)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_transformer_adds_what_gradients_give_without_feed_forward_and_deviations(norm):
    """Deviations of the norms are held as they are, and centred directions lose nothing by it."""
    torch.manual_seed(0)
    config = TransformerConfig(
        width=8, layers=2, heads=2, feedforward_width=12, max_positions=9, norm=norm
    )
    decoder = build_decoder(config, words=11, feature_dim=7).double().eval()
    block = decoder.blocks[-1]
    for module in (block.cross_norm, block.feedforward_norm, decoder.norm):
        for weight in module.parameters():
            torch.nn.init.normal_(weight, mean=1, std=0.3)
    features, word = torch.randn(1, 4, 7).double(), torch.tensor([[5]])
    attention = torch.rand(1, 2, 1, 4).double().requires_grad_()
    regions = decoder.from_feature(features)
    _, values = block.cross_attention.keys_and_values(regions)
    x = block.cross_attention.out((attention @ values).transpose(1, 2).flatten(2))

    def held(norm, x):  # as if the deviation were 1
        if not isinstance(norm, torch.nn.LayerNorm):
            return x
        return norm.weight * (x - x.mean(dim=-1, keepdim=True)) + norm.bias

    for layer in [] if norm == "pre" else [block.cross_norm, block.feedforward_norm]:
        x = held(layer, x)
    score = decoder.words.logits(held(decoder.norm, x))[0, 0, 5]
    (gradient,) = torch.autograd.grad(score, attention)
    added = decoder.evidence(features, word, attention)
    assert_close(added[0, 0], (attention * gradient)[0, :, 0].sum(dim=0))


def test_prefix_decoders_have_evidence_and_transformers_with_a_head_do_not():
    sizes = {"width": 8, "layers": 2, "heads": 2, "feedforward_width": 12, "max_positions": 9}
    features, words = torch.randn(2, 4, 7), torch.tensor([[3, 5, 1], [2, 2, 9]])
    attention = torch.rand(2, 2, 3, 4)
    prefix = build_decoder(PrefixConfig(**sizes), words=11, feature_dim=7).eval()
    assert prefix.evidence(features, words, attention).shape == (2, 3, 4)
    with_head = build_decoder(TransformerConfig(head=True, **sizes), words=11, feature_dim=7)
    assert with_head.evidence(features, words, attention) is None


def test_both_runtimes_show_the_same_evidence_for_every_way_to_a_caption(
    kind, checkpoints, exports, photos
):
    torch_ = TorchCaptioner.load(checkpoints[kind], device="cpu")
    onnx = OnnxCaptioner.load(exports[kind])
    photos = [onnx.prepare(photo) for photo in photos[:2]]  # PyTorch resizes otherwise
    for ours, theirs in zip(onnx.caption_batch(photos), torch_.caption_batch(photos), strict=True):
        for one, other in zip(
            ours.with_view(EVIDENCE).words, theirs.with_view(EVIDENCE).words, strict=True
        ):
            assert_allclose(one.attention, other.attention, atol=1e-4)
            assert one.attention.sum() == pytest.approx(1, abs=1e-5)
            assert not np.allclose(one.attention, one.heads[-1].mean(axis=0), atol=1e-3)
    *_, streamed = torch_.stream(photos[0])
    whole = torch_.caption(photos[0])
    for one, other in zip(streamed.words, whole.words, strict=True):
        assert_allclose(one.evidence, other.evidence, atol=1e-5)
    again = torch_.read_sentence(photos[0], whole.text)
    for one, other in zip(again.words, whole.words, strict=True):
        assert_allclose(one.evidence, other.evidence, atol=1e-5)


def test_an_export_of_an_earlier_version_says_how_to_get_it(exports, photos, tmp_path):

    shutil.copytree(exports["lstm"], tmp_path / "old")
    (tmp_path / "old" / "evidence.onnx").unlink()
    about = tmp_path / "old" / "captioner.json"
    table = json.loads(about.read_text())
    del table["borrowed"]["evidence.onnx"]
    about.write_text(json.dumps(table))
    caption = OnnxCaptioner.load(tmp_path / "old").caption(photos[0])
    with pytest.raises(ConfigError, match="or export the checkpoint again"):
        caption.with_view(EVIDENCE)

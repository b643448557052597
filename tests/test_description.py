"""From what a decoder looked at to words with attention: class tokens, gates, views."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from captioner.checkpoint.header import Header
from captioner.config import AttentionConfig, EncoderConfig, ModelConfig, PreprocessConfig
from captioner.decoders import RecurrentConfig, TransformerConfig
from captioner.decoders.output import CaptionAttention
from captioner.pytorch import TorchCaptioner
from captioner.result.description import make_words
from tests.conftest import _talkative

TRANSFORMER = TransformerConfig(width=32, layers=2, heads=2, feedforward_width=64, tie=False)
LSTM = RecurrentConfig(width=32, embedding_dim=16, attention_width=16, tie=False)


def with_class_token(tokenizer, decoder, *, seed=3) -> TorchCaptioner:
    header = Header(
        name="seer",
        model=ModelConfig(
            encoder=EncoderConfig(backbone="test_vit", class_token=True), decoder=decoder
        ),
        preprocess=PreprocessConfig(height=160, width=160),
        tokenizer=tokenizer,
    )
    return TorchCaptioner(_talkative(header, seed=seed), header)


def read(captioner, photo, caption):
    """Weights (L, M, words, P) and gate (words) on reading a caption, class token included."""
    tokenizer = captioner.header.tokenizer
    ids = torch.tensor([[[tokenizer.start_id, *tokenizer.encode(caption.text)]]])
    pixels = torch.from_numpy(captioner.prepare(photo).pixels)[None]
    with torch.no_grad():
        reading = captioner.model(pixels, ids, with_attention=True)
    words = [list(word.tokens) for word in tokenizer.words(ids[0, 0, 1:].tolist())]
    weights = np.stack([reading.attention[0, 0, :, :, own].mean(2) for own in words], axis=2)
    gate = (
        None if reading.gate is None else [float(reading.gate[0, 0, own].mean()) for own in words]
    )
    return weights, gate


def test_a_class_token_is_not_on_the_map_and_lowers_the_gate(tokenizer, photos):
    captioner = with_class_token(tokenizer, TRANSFORMER)
    caption = captioner.caption(photos[0])
    weights, _ = read(captioner, photos[0], caption)
    assert weights.shape[-1] == 101
    for view, chosen in (
        (AttentionConfig(), weights[-1].mean(axis=0)),
        (AttentionConfig(layer=1, head=2), weights[0, 1]),
        (AttentionConfig(method="mean"), weights.mean(axis=(0, 1))),
    ):
        for number, word in enumerate(caption.with_view(view).words):
            regions = chosen[number, 1:]
            assert word.gate == pytest.approx(regions.sum(), rel=1e-4)
            assert word.gate < 1
            assert_allclose(word.attention.ravel(), regions / regions.sum(), rtol=1e-3)
            assert_allclose(word.heads.reshape(2, 2, -1), weights[:, :, number, 1:], rtol=1e-3)


def test_a_recurrent_gate_is_multiplied_by_the_regions_share(tokenizer, photos):
    captioner = with_class_token(tokenizer, LSTM, seed=7)
    caption = captioner.caption(photos[0])
    weights, gate = read(captioner, photos[0], caption)
    for number, word in enumerate(caption.words):
        assert word.gate == pytest.approx(gate[number] * weights[0, 0, number, 1:].sum(), rel=1e-4)
        assert_allclose(word.attention.sum(), 1, rtol=1e-6)


def test_where_all_is_on_regions_a_transformer_has_no_gate_and_an_lstms_is_its_own(tokenizer):
    header = with_class_token(tokenizer, TRANSFORMER).header
    attended = CaptionAttention(np.full((1, 1, 2, 4), 0.25), None, np.array([0.5, 0.75]))
    ids = tokenizer.encode("a dog")
    (_, dog) = make_words(ids, [-0.1, -0.2], attended, header=header, grid=(2, 2))
    assert dog.gate == 0.75
    (_, dog) = make_words(
        ids, [-0.1, -0.2], attended._replace(gate=None), header=header, grid=(2, 2)
    )
    assert dog.gate is None


def test_rollout_counts_the_class_token_and_shows_the_regions(tokenizer, photos):
    captioner = with_class_token(tokenizer, TRANSFORMER)
    caption = captioner.caption(photos[0]).with_view(AttentionConfig(method="rollout"))
    for word in caption.words:
        assert word.rollout.shape == (10, 10)
        assert 0 < word.rollout.sum() < 1
        assert word.gate == pytest.approx(word.rollout.sum(), rel=1e-4)
        assert_allclose(word.attention, word.rollout / word.rollout.sum(), rtol=1e-4)


def test_evidence_leaves_the_class_token_out_and_its_share_as_it_is(tokenizer, photos):
    captioner = with_class_token(tokenizer, TRANSFORMER)
    caption = captioner.caption(photos[0])
    shown = caption.with_view(AttentionConfig(method="evidence"))
    for word, usual in zip(shown.words, caption.words, strict=True):
        assert word.evidence.shape == (10, 10)
        assert word.gate == pytest.approx(usual.gate, rel=1e-4)
        assert word.evidence.sum() == pytest.approx(usual.gate, rel=1e-4)
        assert_allclose(word.attention, word.evidence / word.evidence.sum(), rtol=1e-4)


def test_an_ensemble_of_models_with_class_tokens_tells_their_share(tokenizer, photos):
    one, other = (with_class_token(tokenizer, TRANSFORMER, seed=seed) for seed in (3, 5))
    caption = TorchCaptioner.ensemble([one, other]).caption(photos[0])
    looks = [read(own, photos[0], caption)[0][-1].mean(axis=0) for own in (one, other)]
    for number, word in enumerate(caption.words):
        share = np.mean([attended[number, 1:].sum() for attended in looks])
        assert word.gate == pytest.approx(share, rel=1e-4)

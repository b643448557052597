from dataclasses import replace

import numpy as np
import pytest

from captioner.config import AttentionConfig
from captioner.errors import ConfigError
from captioner.overlay import entropy
from captioner.result.caption import Caption, Word, contrast, select_attention
from tests.captions import caption_of, even, one_hot, word
from tests.photos import noise

GRID = (2, 3)
HEADS = np.stack(
    [
        np.stack([one_hot(GRID, 0, 0), one_hot(GRID, 0, 2)]),
        np.stack([one_hot(GRID, 1, 1), even(GRID)]),
    ]
)
"""Two layers of two heads."""
ROLLED = one_hot(GRID, 1, 2)
SPEAKING = one_hot(GRID, 1, 0)


def select(**view):
    return select_attention(HEADS, AttentionConfig(**view), ROLLED, SPEAKING)


def test_by_default_attention_is_the_mean_over_heads_of_the_last_layer():
    assert np.array_equal(select(), HEADS[1].mean(axis=0))


def test_a_layer_and_a_head_are_counted_from_1():
    assert np.array_equal(select(layer=1), HEADS[0].mean(axis=0))
    assert np.array_equal(select(layer=1, head=2), HEADS[0, 1])
    assert np.array_equal(select(head=1), HEADS[1, 0])


def test_all_layers_are_averaged_or_rolled_out():
    assert np.array_equal(select(method="mean"), HEADS.mean(axis=(0, 1)))
    assert np.array_equal(select(method="mean", head=2), HEADS[:, 1].mean(axis=0))
    assert np.array_equal(select(method="rollout"), ROLLED)
    assert np.array_equal(select(method="evidence"), SPEAKING)


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ({"layer": 3}, "attention.layer is 3; the last layer is 2."),
        ({"head": 3}, "attention.head is 3; the last head is 2."),
        ({"layer": 0}, "attention.layer is 0; layers are counted from 1."),
        ({"head": -1}, "attention.head is -1; heads are counted from 1."),
        (
            {"method": "mean", "layer": 1},
            "attention.method is 'mean', which uses all layers; leave out attention.layer = 1.",
        ),
        (
            {"method": "rollout", "head": 1},
            "attention.method is 'rollout', which uses all heads; leave out attention.head = 1.",
        ),
        (
            {"method": "evidence", "layer": 1, "head": 2},
            "attention.method is 'evidence', which uses the last layer; "
            "leave out attention.layer = 1.",
        ),
    ],
)
def test_requesting_missing_attention_is_an_error(view, problem):
    with pytest.raises(ConfigError) as caught:
        select(**view)
    assert str(caught.value) == problem


def test_a_recurrent_decoder_has_nothing_to_roll_out():
    with pytest.raises(ConfigError) as caught:
        select_attention(HEADS[:1, :1], AttentionConfig(method="rollout"))
    assert str(caught.value) == (
        "attention.method is 'rollout', which needs a single Transformer, not an LSTM or an "
        "ensemble; choose 'layer'."
    )


def test_requesting_missing_evidence_is_an_error():
    with pytest.raises(ConfigError) as caught:
        select_attention(HEADS, AttentionConfig(method="evidence"))
    assert str(caught.value) == (
        "attention.method is 'evidence', which ensembles, BLIP and exports of earlier versions do "
        "not have; choose 'layer', or export the checkpoint again."
    )


def test_a_caption_shows_another_view_and_keeps_the_rest():
    dog = Word(
        text="dog",
        probability=0.5,
        attention=select(),
        heads=HEADS,
        gate=None,
        rollout=ROLLED,
    )
    caption = caption_of(noise(20, 30), [dog])
    assert caption.view == AttentionConfig()
    view = AttentionConfig(layer=1, head=2)
    other = caption.with_view(view)
    assert other.view == view
    assert np.array_equal(other.words[0].attention, HEADS[0, 1])
    assert np.array_equal(other.words[0].heads, HEADS)
    assert np.array_equal(caption.words[0].attention, select())
    assert (other.text, other.geometry) == (caption.text, caption.geometry)
    assert np.array_equal(other.with_view(AttentionConfig()).words[0].attention, select())


@pytest.mark.parametrize(
    "change",
    [
        {"words": [{"word": "dog"}]},
        {"geometry": {"height": 5}},
        {"search": {"beam": 0}},
        {"words": None},
    ],
)
def test_json_that_holds_no_caption_is_an_error(change):
    table = caption_of(noise(20, 30), [word("dog", even(GRID))]).to_dict()
    with pytest.raises(ConfigError):
        Caption.from_dict(table | change)


def test_json_tells_view_gate_and_entropy():
    sharp, diffuse = word("dog", one_hot(GRID, 0, 1)), word("the", even(GRID))
    gated = replace(diffuse, gate=0.25)
    table = caption_of(noise(20, 30), [sharp, gated]).with_view(AttentionConfig(head=1)).to_dict()
    assert table["view"] == {"method": "layer", "layer": None, "head": 1}
    assert [entry["gate"] for entry in table["words"]] == [None, 0.25]
    assert [entry["entropy"] for entry in table["words"]] == pytest.approx([0, entropy(even(GRID))])


def test_contrast_takes_what_all_words_have_in_common_from_each_region():
    maps = np.array([[[0.5, 0.25], [0.25, 0.0]], [[0.5, 0.0], [0.25, 0.25]]], np.float32)
    expected = [[[0, 1], [0, 0]], [[0, 0], [0, 1]]]
    assert contrast(maps).tolist() == expected


def test_words_that_keep_nothing_in_contrast_stay_as_they_are():
    maps = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    assert contrast(maps).tolist() == maps.tolist()
    maps = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]], np.float32)
    assert contrast(maps[:1]).tolist() == maps[:1].tolist()
    assert contrast(maps).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_caption_in_contrast_keeps_its_gate_and_its_layer():
    heads = np.zeros((2, 1, *GRID), np.float32)
    one, other = heads.copy(), heads.copy()
    one[0, 0, 0, :2], other[0, 0, 0, 1:3] = 0.25, 0.25  # half of it went elsewhere
    one[1], other[1] = 1 / one[1].size, 1 / other[1].size
    words = [
        Word(text=text, probability=0.5, attention=x[1, 0], heads=x, gate=0.9)
        for text, x in (("a", one), ("dog", other))
    ]
    caption = caption_of(noise(20, 30), words)
    shown = caption.with_view(AttentionConfig(method="contrast", layer=1))
    assert [np.flatnonzero(word.attention).tolist() for word in shown.words] == [[0], [2]]
    assert [word.attention.sum() for word in shown.words] == [1, 1]
    assert [word.gate for word in shown.words] == pytest.approx([0.45, 0.45])
    assert np.array_equal(shown.with_view(AttentionConfig()).words[0].attention, one[1, 0])

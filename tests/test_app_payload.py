from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from app.payload import pack_caption, pack_captions, write_script
from tests.captions import caption_of, even, one_hot, word
from tests.photos import quarters

TILTED = np.array([[0.5, 0.25], [0.25, 0.0]], np.float32)


def maps(packed: dict) -> np.ndarray:
    """The weights of a word, map by map."""
    levels = np.frombuffer(b64decode(packed["levels"]), np.uint8).reshape(len(packed["peaks"]), -1)
    return levels / 255 * np.array(packed["peaks"])[:, None]


def test_a_packed_caption_has_everything_the_page_shows():
    words = [word("A", even((2, 2)), 0.9), replace(word("dog's", TILTED, 0.5), gate=0.25)]
    caption = replace(caption_of(quarters(100, 50), words, fit="letterbox"), score=-0.5)
    packed = pack_caption(caption)
    assert [(w["text"], w["spaced"], w["probability"], w["gate"]) for w in packed["words"]] == [
        ("A", False, 0.9, None),
        ("dog's", True, 0.5, 0.25),
    ]
    known = {"text": "A dog's", "score": -0.5, "grid": [2, 2], "width": 50, "height": 100}
    assert {name: packed[name] for name in known} == known
    assert packed["telling"] == 1
    assert packed["seen"] == [0.0, -0.5, 1.0, 2.0]  # the model saw as much again of padding
    assert packed["warnings"] == ['Attention is nearly uniform for "A".']


def test_weights_of_all_layers_and_heads_and_derived_maps_are_packed_in_8_bits():
    heads = np.stack([TILTED, TILTED.T, TILTED[::-1], even((2, 2))]).reshape(2, 2, 2, 2)
    seen = word("dog", heads[1].mean(0))
    seen = replace(seen, heads=heads, rollout=TILTED, evidence=TILTED.T)
    packed = pack_caption(caption_of(quarters(), [seen]))
    assert (packed["layers"], packed["heads"]) == (2, 2)
    assert packed["derived"] == ["rollout", "evidence"]
    expected = np.concatenate([heads, [[TILTED, TILTED.T]]]).reshape(6, 4)
    assert maps(packed["words"][0]) == pytest.approx(expected, abs=0.5 / 510)


def test_a_partial_caption_is_sent_with_its_default_view_only():
    heads = np.tile(TILTED, (3, 4, 1, 1))
    caption = caption_of(quarters(), [replace(word("dog", TILTED), heads=heads, rollout=TILTED)])
    (packed,) = pack_captions([caption], key="k", kind="partial")["captions"]
    assert (packed["layers"], packed["heads"], packed["derived"]) == (1, 1, [])
    assert maps(packed["words"][0]) == pytest.approx(TILTED.reshape(1, 4), abs=0.001)


def test_an_empty_caption_can_be_packed():
    packed = pack_caption(caption_of(quarters(), []))
    assert (packed["words"], packed["telling"], packed["grid"]) == ([], None, [1, 1])


def test_unprintable_characters_become_spaces():
    caption = caption_of(quarters(), [word("a\u2028b\0c\ud800", one_hot((2, 2), 0, 0))])
    assert pack_caption(caption)["words"][0]["text"] == "a b c "


def test_scripts_are_joined_after_their_constants():
    script = write_script("elements", "attention")
    assert script.startswith("const VIEWS = [];\nconst COLOURS = ")
    assert script.index("function make(") < script.index("function unpack(")

from dataclasses import replace

import pytest

from app.plain_text import describe, describe_word, locate_peak
from captioner.result.caption import Candidate
from tests.captions import caption_of, even, one_hot, word
from tests.photos import quarters

WORDS = [
    word("A", even((5, 5)), 0.97),
    word("dog's", one_hot((5, 5), 1, 1), 0.6),
    word("ball", one_hot((5, 5), 3, 4), 0.002),
]


@pytest.mark.parametrize(
    ("row", "col", "expected"),
    [
        (0, 0, "top left"),
        (0, 4, "top"),
        (4, 0, "left"),
        (4, 4, "centre"),
        (8, 8, "bottom right"),
        (4, 8, "right"),
        (8, 4, "bottom"),
    ],
)
def test_the_attention_peak_is_located_by_thirds_of_the_photo(row, col, expected):
    geometry = caption_of(quarters(), []).geometry
    assert locate_peak(one_hot((9, 9), row, col), geometry) == expected


def test_the_gate_of_a_recurrent_decoder_is_described():
    gated = replace(word("A", one_hot((5, 5), 2, 2), 0.5), gate=0.25)
    text = describe_word(gated, caption_of(quarters(), []).geometry)
    assert text == "A: 50%, 25x uniform, most at the centre, gate 25%"


def test_a_caption_is_described_as_plain_text():
    caption = replace(caption_of(quarters(), WORDS, text="A dog's ball"), score=-0.5)
    other = Candidate(text="A ball", log_probability=-2.25, score=-0.75, tokens=())
    assert describe(replace(caption, candidates=(other,))).splitlines() == [
        "A dog's ball",
        "",
        "Word by word:",
        "- A: 97%, 1.0x uniform, nearly everywhere",
        "- dog's: 60%, 25x uniform, most at the top left",
        "- ball: <1%, 25x uniform, most at the bottom right",
        'Attention is nearly uniform for "A".',
        "",
        "Candidates by score (length-normalised log-probability):",
        "- -0.500 this caption",
        "- -0.750 A ball",
        "",
        "Model: toy.",
    ]
    assert describe(caption_of(quarters(), [])) == "Empty caption."

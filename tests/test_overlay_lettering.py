from dataclasses import replace
from itertools import pairwise

import pytest
from PIL import ImageFont

from captioner.overlay import lettering
from captioner.overlay.lettering import (
    clean,
    format_note,
    format_probability,
    load_font,
    split_caption,
    wrap,
)
from tests.captions import caption_of, even, word
from tests.photos import noise

FONT = ImageFont.load_default(20)


def caption_with(text, *words):
    return caption_of(noise(), [word(w, even()) for w in words], text=text)


def test_english_is_written_in_the_font_that_is_always_there():
    font = load_font(20, for_text="A dog's ball, 93%")
    assert font.getname() == FONT.getname()
    assert load_font(20, for_text="").getname() == FONT.getname()


@pytest.mark.parametrize(
    "text", ["кот", "γάτα", "قطة", "बिल्ली", "猫", "고양이", "แมว", "🐈", "\u0301", "\u200b"]
)
def test_every_script_can_be_measured_and_drawn(text):
    font = load_font(20, for_text=text)
    assert font.getlength(text) >= 0
    assert font.getmask(text).size[1] >= 0


def test_a_font_that_knows_the_letters_is_preferred():
    try:
        other = ImageFont.truetype("DejaVuSans.ttf", 20)
    except OSError:
        pytest.skip("this machine has no font that knows Cyrillic")
    assert load_font(20, for_text="кот и dog").getname() == other.getname()


def test_where_no_font_knows_the_letters_the_one_always_there_is_used(monkeypatch):
    monkeypatch.setattr(lettering, "_FONTS", (None, "no such font.ttf"))
    lettering._choose.cache_clear()
    try:
        assert load_font(20, for_text="猫").getname() == FONT.getname()
    finally:
        lettering._choose.cache_clear()


def test_clean_text_is_one_line_that_can_be_written():
    assert clean(" a\n dog\t\0\x1b runs\ud800 ") == "a dog runs"
    assert clean("чашка «кофе»") == "чашка «кофе»"
    clean("".join(map(chr, range(0x300)))).encode()


def test_lines_break_at_spaces_and_stay_within_the_width():
    text = "a brown dog runs over the green grass after a ball"
    lines = wrap(text, FONT, width=120)
    assert " ".join(lines) == text
    assert len(lines) > 3
    assert all(FONT.getlength(line) <= 120 for line in lines)
    for line, following in pairwise(lines):
        first = following.split()[0]
        assert FONT.getlength(f"{line} {first}") > 120


def test_a_word_wider_than_the_line_is_broken():
    text = "a Donaudampfschifffahrtsgesellschaft ends"
    lines = wrap(text, FONT, width=100)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(FONT.getlength(line) <= 100 for line in lines)
    assert wrap("猫猫", FONT, width=1) == ["猫", "猫"]


def test_nothing_has_no_lines():
    assert wrap("", FONT, width=100) == []


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "0%"),
        (1e-9, "<1%"),
        (0.0049, "<1%"),
        (0.0051, "1%"),
        (0.931, "93%"),
        (0.994, "99%"),
        (0.996, ">99%"),
        (1 - 1e-9, ">99%"),
        (1.0, "100%"),
    ],
)
def test_probabilities_are_never_rounded_to_certainty(probability, text):
    assert format_probability(probability) == text


def test_the_heaviest_weight_and_a_gate_are_written_beside_the_probability():
    plain = word("dog", even(), 0.6)
    assert format_note(plain) == "60%, 1.0x uniform"
    assert format_note(replace(plain, gate=0.25)) == "60%, 1.0x uniform, gate 25%"


def test_the_words_of_a_sentence_know_the_spaces_before_them():
    caption = caption_with("A dog's ball, red", "A", "dog's", "ball", ",", "red")
    assert split_caption(caption) == [
        (False, "A"),
        (True, "dog's"),
        (True, "ball"),
        (False, ","),
        (True, "red"),
    ]
    assert split_caption(caption_with("一个男人", "一个", "男人")) == [
        (False, "一个"),
        (False, "男人"),
    ]


def test_words_are_found_in_order_and_repeated_ones_each_at_its_place():
    caption = caption_with("a cat and a dog", *["a", "cat", "and", "a", "dog"])
    assert [spaced for spaced, _ in split_caption(caption)] == [False, True, True, True, True]


def test_words_that_the_sentence_lacks_are_listed_all_the_same():
    caption = caption_with("a dog", "a", "cat", "dog")
    assert split_caption(caption) == [(False, "a"), (True, "cat"), (True, "dog")]

import re
from dataclasses import replace

import pytest
import torch

from app.html import BatchRow, data_uri, draw_batch, draw_growing, draw_stage, draw_words
from app.wording import describe, place
from captioner.overlay import Style, heat_layer, shared_scale, spread
from captioner.result.caption import Candidate
from tests.captions import caption_of, even, one_hot, word
from tests.photos import noise, quarters
from tests.test_overlay_page import HOSTILE, Page, picture

WORDS = [
    word("A", even((5, 5)), 0.97),
    word("dog's", one_hot((5, 5), 1, 1), 0.6),
    word("ball", one_hot((5, 5), 3, 4), 0.002),
]


def drawn(words=WORDS, *, text=None, photo=None) -> Page:
    photo = photo or quarters(100, 150)
    caption = caption_of(photo, words, text=text)
    return Page(draw_words(caption, photo, colour_map="inferno", key="toy"))


def layers(page: Page) -> list:
    styles = [tag["style"] for _, tag in page.tags if "data-layer" in tag]
    return [picture(re.search(r"url\((data:[^)]+)\)", style)[1]) for style in styles]


def test_every_word_is_a_radio_button_with_what_a_reader_needs_to_know():
    page = drawn()
    radios = [tag for tag in page.named("input") if tag["type"] == "radio"]
    assert [radio["value"] for radio in radios] == ["0", "1", "2", ""]
    assert {radio["name"] for radio in radios} == {"toy"}
    assert [tag["data-note"] for tag in page.named("label")] == [
        "A: 97% sure, looked nearly everywhere",
        "dog's: 60% sure, looked most at the top left",
        "ball: <1% sure, looked most at the bottom right",
        "The photo alone",
    ]


def test_the_gate_of_the_recurrent_decoder_is_told():
    gated = replace(word("A", one_hot((5, 5), 2, 2), 0.5), gate=0.25)
    (note, _) = (tag["data-note"] for tag in drawn([gated]).named("label"))
    assert note == "A: 50% sure, looked most at the centre, gate 0.25"


def test_overlays_are_those_of_the_library_and_share_one_scale():
    page = drawn()
    caption = caption_of(quarters(100, 150), WORDS)
    maps = [
        spread(w.attention, caption.geometry, smooth=True, size=(320, 480)) for w in caption.words
    ]
    scale = shared_scale(maps)
    for layer, weights in zip(layers(page), maps, strict=True):
        assert layer.size == (480, 320)
        ours = torch.tensor(list(layer.convert("RGBA").tobytes())).view(320, 480, 4).float()
        expected = heat_layer(weights, scale=scale, style=Style(alpha=1.0)).convert("RGBA")
        theirs = torch.tensor(list(expected.tobytes())).view(320, 480, 4).float()
        assert (ours - theirs).abs().mean() < 4  # of 255 levels; WebP is not exact


def test_probabilities_are_plotted_in_order():
    bars = [tag["style"] for tag in drawn().named("div") if tag.get("class") == "bar"]
    assert bars == ["--p: 0.970", "--p: 0.600", "--p: 0.002"]


def test_attention_that_tells_nothing_is_pointed_out():
    assert "looked nearly everywhere" in drawn([word("A", even()), word("dog", even())]).text
    assert "looked nearly everywhere" not in drawn([WORDS[1], WORDS[2]]).text


@pytest.mark.parametrize("hostile", [HOSTILE, "</style><script>alert(1)</script>", "a\u2028b\0c"])
def test_no_word_can_become_part_of_the_page(hostile):
    words = [word(hostile, one_hot((5, 5), 1, 1)), WORDS[2]]
    tame = drawn([word("tame", one_hot((5, 5), 1, 1)), WORDS[2]])
    page = drawn(words, text=hostile)
    assert [name for name, _ in page.tags] == [name for name, _ in tame.tags]
    assert [set(tag) for _, tag in page.tags] == [set(tag) for _, tag in tame.tags]
    caption = caption_of(quarters(), words, text=hostile)
    growing = Page(draw_growing(caption, "inferno"))
    assert {name for name, _ in growing.tags} == {"div", "span", "small"}


def test_a_caption_without_words_says_so():
    assert drawn([]).text == "The model has nothing to say."
    assert draw_growing(caption_of(quarters(), []), "inferno") == ""


def test_a_growing_caption_shows_the_overlay_of_its_latest_word():
    page = Page(draw_growing(caption_of(quarters(100, 150), WORDS[:2]), "viridis"))
    (outer, *_), shown = page.named("div"), layers(page)
    assert outer["data-select"] == "1"
    assert len(shown) == 1
    assert shown[0].convert("RGBA").getpixel((144, 96))[:3] != shown[0].getpixel((470, 310))[:3]


def test_the_stage_shows_the_photo_whole():
    photo = noise(60, 200)
    (shown,) = Page(draw_stage(photo, title="a <b>")).named("img")
    assert picture(shown["src"]).size == (200, 60)
    assert shown["alt"] == "The photo"
    assert "a <b>" in Page(draw_stage(photo, title="a <b>")).text


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
def test_places_are_named_by_thirds_of_the_photo(row, col, expected):
    assert place(one_hot((9, 9), row, col)) == expected


def test_a_batch_tells_what_went_wrong_with_each_photo():
    rows = [
        BatchRow(
            name="a.jpg", caption="A dog", log_probability=-0.125, thumbnail=data_uri(noise(9, 9))
        ),
        BatchRow(name=HOSTILE, error=f"{HOSTILE}: not an image"),
    ]
    page = Page(draw_batch(rows, total=3))
    assert "2 of 3 photos done, 1 could not be read" in page.text
    assert "A dog-0.12" in page.text
    assert len(page.named("img")) == 1
    assert page.named("script") == []
    assert page.text.count(": not an image") == 0  # the name stands beside it
    assert page.named("progress") == [{"max": "3", "value": "2", "aria-label": "Photos done"}]
    assert "Stopped: 2 of 3 photos done" in Page(draw_batch(rows, total=3, stopped=True)).text


def test_a_caption_is_described_in_words():
    caption = caption_of(quarters(), WORDS, text="A dog's ball")
    other = Candidate(text="A ball", log_probability=-2.25, tokens=())
    assert describe(replace(caption, candidates=(other,))).splitlines() == [
        "A dog's ball",
        "",
        "Word by word:",
        "- A: 97% sure, looked nearly everywhere",
        "- dog's: 60% sure, looked most at the top left",
        "- ball: <1% sure, looked most at the bottom right",
        'The model looked nearly everywhere at once for "A".',
        "",
        "Log-probability of the candidates:",
        "- -1.50 this caption",
        "- -2.25 A ball",
        "",
        "Written by toy.",
    ]
    assert describe(caption_of(quarters(), [])) == "The model has nothing to say."

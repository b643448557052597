import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from captioner.overlay import Style, draw_page, heat_layer
from captioner.overlay.heat import word_maps
from tests.captions import caption_of, even, one_hot, word
from tests.photos import noise, quarters

WORDS = [
    word("A", even((5, 5)), 0.97),
    word("dog's", one_hot((5, 5), 1, 1), 0.6),
    word("ball", one_hot((5, 5), 3, 3), 0.002),
]
HOSTILE = "\"><script>alert(1)</script>' onload=x style=y <img src=http://a.example/b>&amp;"


class Page(HTMLParser):
    """Every tag with its attributes, and all text outside the style."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != "style":
            self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def picture(uri):
    kind, content = re.fullmatch(r"data:image/(\w+);base64,(.+)", uri).groups()
    image = Image.open(BytesIO(b64decode(content)))
    assert image.format == kind.upper()
    return image


def test_every_word_is_a_choice_and_brings_its_own_overlay():
    photo = quarters(100, 150)
    caption = caption_of(photo, WORDS)
    page = Page(draw_page(photo, caption, style=Style(smooth=False)))
    shown, *layers = page.named("img")
    maps, scales = word_maps(caption, size=(100, 150), style=Style(smooth=False))
    assert len(layers) == 3
    for layer, weights, scale in zip(layers, maps, scales, strict=True):
        expected = heat_layer(weights, scale=scale).convert("RGBA")
        assert picture(layer["src"]).convert("RGBA").tobytes() == expected.tobytes()
    difference = np.asarray(picture(shown["src"])).astype(int) - np.asarray(photo)
    assert abs(difference).mean() < 4
    assert shown["alt"] == "A dog's ball"
    radios = page.named("input")
    assert [r["type"] for r in radios] == ["radio"] * 4
    assert len({r["name"] for r in radios}) == 1
    assert ["checked" in r for r in radios] == [False, True, False, False]  # the most telling
    (radio,) = Page(draw_page(photo, caption_of(photo, []))).named("input")
    assert "checked" in radio  # the photo alone


def test_words_carry_their_probability_as_text_and_as_colour():
    photo = noise(50, 50)
    page = Page(draw_page(photo, caption_of(photo, WORDS)))
    names = [a.get("style") for a in page.named("span") if a.get("class") == "name"]
    assert names == ["--p: 0.970", "--p: 0.600", "--p: 0.002", None]
    assert "A97%, 1.0x uniform dog's60%, 25x uniform ball<1%, 25x uniform" in page.text


def test_a_recurrent_decoders_gate_stands_beside_the_probability_and_is_explained():
    photo = noise(50, 50)
    page = Page(draw_page(photo, caption_of(photo, [replace(WORDS[1], gate=0.25)])))
    assert "dog's60%, 25x uniform, gate 25%" in page.text
    assert "Gate (beta): how much of the attended feature reached the word." in page.text
    assert "Gate" not in Page(draw_page(photo, caption_of(photo, WORDS))).text


def test_nothing_is_loaded_and_nothing_runs():
    photo = noise(50, 50)
    source = draw_page(photo, caption_of(photo, WORDS))
    page = Page(source)
    assert not {name for name, _ in page.tags} & {"script", "link", "iframe", "object", "base"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert all(attributes[name].startswith("data:") for name in ("src",) if name in attributes)
    assert "url(" not in source
    assert "://" not in source
    assert "@import" not in source
    assert {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    } in page.named("meta")


def test_no_text_can_leave_its_place():
    photo = noise(50, 50)
    texts = [HOSTILE, "a\nb\0\ud800", "</style>", "{x}", "&lt;"]
    caption = caption_of(photo, [word(t, even((5, 5))) for t in texts], image=f"/x/{HOSTILE}\ud800")
    plain = Page(draw_page(photo, caption_of(photo, [word("x", even((5, 5)))] * 5)))
    source = draw_page(photo, caption)
    page = Page(source)
    assert [name for name, _ in page.tags] == [name for name, _ in plain.tags]
    assert [set(a) for _, a in page.tags] == [set(a) for _, a in plain.tags]
    assert HOSTILE in page.text
    assert "&lt;" in page.text
    source.encode()


def test_words_of_languages_without_spaces_are_written_without():
    photo = noise(50, 50)
    words = [word(text, even((5, 5))) for text in ("一个", "男人")]
    page = Page(draw_page(photo, caption_of(photo, words, text="一个男人")))
    assert "一个50%, 1.0x uniform男人50%, 1.0x uniform" in page.text


def test_the_page_says_which_file_and_model_and_what_to_mind():
    photo = noise(50, 50)
    words = [word("a", even((5, 5))), word("dog", one_hot((5, 5), 1, 1))]
    page = Page(draw_page(photo, caption_of(photo, words, image="/home/me/dog & cat.jpg")))
    assert "dog & cat.jpg | toy | log-probability -1.50" in page.text
    assert "/home" not in page.text
    assert "0 to the heaviest weight of each word" in page.text
    shared = Page(draw_page(photo, caption_of(photo, words), style=Style(scale="caption")))
    assert "0 to 25x uniform" in shared.text
    assert 'Attention is nearly uniform for "a".' in page.text


@pytest.mark.parametrize(("size", "shown"), [((20, 30), (30, 20)), ((900, 1200), (960, 720))])
def test_a_large_photo_is_made_smaller_and_a_small_one_left(size, shown):
    photo = noise(*size)
    page = Page(draw_page(photo, caption_of(photo, WORDS)))
    assert [picture(i["src"]).size for i in page.named("img")] == [shown] * 4
    assert {"class": "overlay", "style": f"--shape: {shown[0]} / {shown[1]}"} in page.named("div")


def test_a_caption_without_words_is_a_page_with_the_photo():
    photo = noise(50, 50)
    page = Page(draw_page(photo, caption_of(photo, [])))
    assert len(page.named("img")) == 1

from dataclasses import replace

import numpy as np
import pytest

from captioner.overlay import Style, contact_sheet, heatmap
from captioner.overlay.heat import word_maps
from tests.captions import caption_of, even, one_hot, word
from tests.photos import noise

MARGIN, GAP = 28, 24
PAPER = (255, 255, 255)


def words(count, probability=0.5):
    return [word(f"word{n}", one_hot((5, 5), n % 5, n // 5 % 5), probability) for n in range(count)]


def crop(sheet, left, top, width, height):
    return sheet.crop((left, top, left + width, top + height))


def has_ink(picture):
    return bool((np.asarray(picture) < 128).any())


def top_of(sheet, picture, left=MARGIN):
    """Where a picture stands in a column of the sheet."""
    tops = range(MARGIN, sheet.height - picture.height)
    return next(
        y for y in tops if crop(sheet, left, y, *picture.size).tobytes() == picture.tobytes()
    )


def test_the_first_panel_is_the_photo_and_the_others_the_overlays_of_the_words_in_order():
    photo = noise(120, 200)
    caption = caption_of(photo, words(3))
    style = Style(smooth=False)
    sheet = contact_sheet(photo, caption, style=style, panel=200)
    overlays = [
        heatmap(photo, weights, scale=scale, style=style)
        for weights, scale in zip(*word_maps(caption, size=(120, 200), style=style), strict=True)
    ]
    first_row = top_of(sheet, photo)
    for place, picture in enumerate(overlays[:2], start=1):
        assert top_of(sheet, picture, MARGIN + place * (200 + GAP)) == first_row
    assert top_of(sheet, overlays[2]) > first_row + 120 + GAP


def test_the_caption_stands_over_the_photo_and_word_and_probability_under_each_overlay():
    photo = noise(120, 200)
    sheet, surer = (
        contact_sheet(photo, caption_of(photo, words(2, probability)), panel=200)
        for probability in (0.5, 0.9)
    )
    top = top_of(sheet, photo)
    assert has_ink(crop(sheet, MARGIN, 0, 200, top))
    for place in range(3):
        left = MARGIN + place * (200 + GAP)
        assert has_ink(crop(sheet, left, top + 120, 200, 36))
    beside = crop(sheet, MARGIN + 200, top, GAP, 120)
    assert beside.getcolors() == [(GAP * 120, PAPER)]
    word_box = (MARGIN + 200 + GAP, top + 120, 200, 34)
    assert crop(surer, *word_box).tobytes() == crop(sheet, *word_box).tobytes()
    probability_box = (MARGIN + 200 + GAP, top + 120 + 34, 200, 30)
    assert crop(surer, *probability_box).tobytes() != crop(sheet, *probability_box).tobytes()


def test_a_warning_makes_the_foot_longer():
    photo = noise(120, 200)
    sharp = [word("a", one_hot((5, 5), 0, 0)), word("dog", one_hot((5, 5), 3, 3))]
    diffuse = [word("a", even((5, 5))), word("dog", one_hot((5, 5), 3, 3))]
    heights = [contact_sheet(photo, caption_of(photo, w)).height for w in (sharp, diffuse)]
    assert heights[1] > heights[0]


def test_a_recurrent_decoders_gate_stands_under_each_overlay_and_is_explained_in_the_foot():
    photo = noise(120, 200)
    plain = contact_sheet(photo, caption_of(photo, words(2)), panel=200)
    gated = [replace(word, gate=0.25) for word in words(2)]
    sheet = contact_sheet(photo, caption_of(photo, gated), panel=200)
    top = top_of(sheet, photo)
    note = (MARGIN + 200 + GAP + 134, top + 120 + 34, 66, 30)  # right of probability and peak
    assert not has_ink(crop(plain, *note))
    assert has_ink(crop(sheet, *note))
    assert sheet.height > plain.height


@pytest.mark.parametrize("count", [0, 1, 5, 24])
def test_every_length_of_caption_makes_a_sheet_of_a_handy_shape(count):
    photo = noise(96, 128)
    sheet = contact_sheet(photo, caption_of(photo, words(count)), panel=160)
    assert sheet.mode == "RGB"
    if count > 2:
        assert 0.8 < sheet.width / sheet.height < 2.5


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(1, 999), (999, 1), (1, 1), (700, 30)])
def test_every_shape_of_photo_makes_a_sheet(size, fit):
    photo = noise(*size)
    sheet = contact_sheet(photo, caption_of(photo, words(3), fit=fit))
    assert sheet.width < 1200
    assert sheet.height < 1500


def test_any_text_makes_a_sheet_within_its_columns():
    texts = ["кот", "猫", "قطة", "a\nb\0", "\ud800", "W" * 200, "", "🐈", "<b>"]
    photo = noise(200, 300)
    caption = caption_of(photo, [word(text, even((5, 5))) for text in texts])
    sheet = contact_sheet(photo, caption, panel=300)
    top = top_of(sheet, photo)
    for place in range(3):
        left = MARGIN + 300 + place * (300 + GAP) + 2
        assert not has_ink(crop(sheet, left, top, GAP - 4, sheet.height - 120 - top))

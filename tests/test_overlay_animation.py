from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from captioner.overlay import animate, draw_frames, heatmap
from captioner.overlay.animation import _place_words
from captioner.overlay.heat import word_maps
from captioner.overlay.lettering import load_font
from tests.captions import caption_of, even, one_hot, word
from tests.photos import noise, quarters

WORDS = [
    word("A", even((5, 5)), 0.97),
    word("dog", one_hot((5, 5), 1, 1), 0.6),
    word("runs", one_hot((5, 5), 3, 3), 0.2),
]


def frames_of(file):
    with Image.open(BytesIO(file)) as animation:
        for number in range(animation.n_frames):
            animation.seek(number)
            yield animation.convert("RGB"), animation.info["duration"]


def mean_difference(one, other):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean()


def test_the_photo_comes_first_then_every_word_and_the_most_telling_once_more():
    photo = noise(320, 480)
    caption = caption_of(photo, WORDS)
    frames = draw_frames(photo, caption)
    overlays = [
        heatmap(photo, weights, scale=scale)
        for weights, scale in zip(*word_maps(caption, size=(320, 480)), strict=True)
    ]
    expected = [photo, *overlays, overlays[1]]
    assert len(frames) == 5
    for frame, picture in zip(frames, expected, strict=True):
        assert frame.size == frames[0].size
        assert frame.crop((0, 0, 480, 320)).tobytes() == picture.tobytes()


def test_the_word_of_a_frame_is_underlined_in_the_caption():
    photo = noise(320, 480)
    _, *frames, _ = draw_frames(photo, caption_of(photo, WORDS))
    line = np.array([0xFC, 0xA5, 0x0A])
    ends = []
    for frame in frames:
        below = np.asarray(frame)[320:]
        columns = np.nonzero((below == line).all(2).any(0))[0]
        ends.append((columns.min(), columns.max()))
    for (_, end), (start, _) in pairwise(ends):
        assert end < start


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_the_file_plays_every_frame_and_lingers_on_the_first_and_the_last(kind):
    photo = quarters(320, 480)
    caption = caption_of(photo, WORDS)
    file = animate(photo, caption, kind=kind, seconds=0.5)
    played = list(frames_of(file))
    assert [duration for _, duration in played] == [1000, 500, 500, 500, 1000]
    drawn = draw_frames(photo, caption)
    for (frame, _), expected in zip(played, drawn, strict=True):
        assert mean_difference(frame, expected) < 4
    with Image.open(BytesIO(file)) as animation:
        assert animation.info["loop"] == 0


def test_the_colours_of_the_overlay_survive_in_a_gif():
    photo = noise(320, 480)
    caption = caption_of(photo, WORDS)
    frame = list(frames_of(animate(photo, caption)))[2][0]
    bright = (96, 64, 192, 128)  # region 1, 1
    drawn = draw_frames(photo, caption)[2].crop(bright)
    means = [np.asarray(part).mean((0, 1)) for part in (frame.crop(bright), drawn)]
    assert means[0] == pytest.approx(means[1], abs=4)


def test_a_long_caption_takes_several_lines_and_no_word_leaves_the_frame():
    photo = noise(320, 480)
    texts = ["A", *["brown"] * 20, "W" * 60, "end"]
    caption = caption_of(photo, [word(text, even((5, 5))) for text in texts])
    font = load_font(22, for_text=caption.text)
    placed = _place_words(caption, font, 448)
    pieces = [piece for word_pieces in placed for piece in word_pieces]
    assert all(x + font.getlength(text) <= 448 for x, _, text in pieces)
    assert [(line, x) for x, line, _ in pieces] == sorted((line, x) for x, line, _ in pieces)
    assert "".join(text for _, _, text in pieces) == "".join(texts)
    assert len(draw_frames(photo, caption)) == 25


@pytest.mark.parametrize("size", [(1, 999), (999, 1), (1, 1)])
def test_every_shape_of_photo_and_any_text_can_be_animated(size):
    photo = noise(*size)
    texts = ["кот", "猫", "a\nb\0", "\ud800", "", "🐈"]
    caption = caption_of(photo, [word(text, even((5, 5)), 0.1 * n) for n, text in enumerate(texts)])
    assert len(list(frames_of(animate(photo, caption, longest=100)))) > 3
    assert len(draw_frames(photo, caption_of(photo, []))) == 1

import numpy as np
import pytest
from PIL import Image

from app.whatif import change, paint_out
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS
from tests.photos import noise


def test_nothing_is_left_of_a_part_but_the_colour_around_it():
    photo = Image.new("RGB", (80, 40), (10, 200, 90))
    photo.paste((255, 0, 0), (20, 10, 40, 30))
    painted = np.asarray(paint_out(photo, (0.25, 0.25, 0.75, 0.5))).astype(int)
    assert np.abs(painted - (10, 200, 90)).max() <= 2
    assert photo.getpixel((30, 20)) == (255, 0, 0)  # the photo itself stays as it was


def test_the_rest_of_the_photo_stays_as_it_was():
    photo = noise(40, 80)
    painted = np.asarray(paint_out(photo, (0, 0.5, 0.5, 1)))
    kept = np.ones((40, 80), bool)
    kept[:20, 40:] = False
    assert (painted[kept] == np.asarray(photo)[kept]).all()
    assert painted[~kept].std() < np.asarray(photo)[~kept].std() / 3


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.99, 0.99, 1, 1), (0, 0, 0.001, 0.001)])
def test_a_part_may_be_all_or_next_to_nothing(box):
    assert paint_out(noise(30, 50), box).size == (50, 30)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 1), (-0.1, 0, 1, 1), (0, 0.5, 1, 0.4), (0, 0, float("nan"), 1)]
)
def test_a_part_outside_the_photo_is_none(box):
    with pytest.raises(ValueError, match=r"^the box is .*; it must lie within the photo\.$"):
        paint_out(noise(30, 50), box)


def test_words_are_read_again_and_the_caption_is_written_again(tokenizer):
    model = TorchCaptioner(*TOYS["transformer"](tokenizer))
    photo, box = noise(60, 90), (0.1, 0.1, 0.9, 0.8)
    changed = change(model, photo, "A dog's ball", box)
    painted = model.prepare(paint_out(photo, box))
    expected = model.read_sentence(painted, "A dog's ball")
    shares = [word["probability"] for word in changed["read"]["words"]]
    assert shares == pytest.approx([word.probability for word in expected.words])
    assert changed["text"] == model.caption(painted).text
    assert changed["src"].startswith("data:image/jpeg;base64,")

import numpy as np
import pytest
from PIL import Image

from app.occlusion import occlude, paint_out
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS
from tests.photos import noise


def test_a_painted_region_has_the_colour_of_its_surroundings():
    photo = Image.new("RGB", (80, 40), (10, 200, 90))
    photo.paste((255, 0, 0), (20, 10, 40, 30))
    painted = np.asarray(paint_out(photo, (0.25, 0.25, 0.75, 0.5))).astype(int)
    assert np.abs(painted - (10, 200, 90)).max() <= 2
    assert photo.getpixel((30, 20)) == (255, 0, 0)  # the photo itself stays as it was


def test_pixels_outside_the_region_do_not_change():
    photo = noise(40, 80)
    painted = np.asarray(paint_out(photo, (0, 0.5, 0.5, 1)))
    kept = np.ones((40, 80), bool)
    kept[:20, 40:] = False
    assert (painted[kept] == np.asarray(photo)[kept]).all()
    assert painted[~kept].std() < np.asarray(photo)[~kept].std() / 3


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.99, 0.99, 1, 1), (0, 0, 0.001, 0.001)])
def test_a_region_may_be_the_whole_photo_or_tiny(box):
    assert paint_out(noise(30, 50), box).size == (50, 30)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 1), (-0.1, 0, 1, 1), (0, 0.5, 1, 0.4), (0, 0, float("nan"), 1)]
)
def test_an_empty_region_or_one_outside_the_photo_is_an_error(box):
    with pytest.raises(
        ValueError, match=r"^top, left, bottom and right are .*; use fractions from 0 to 1"
    ):
        paint_out(noise(30, 50), box)


def test_the_caption_is_scored_again_and_a_new_one_generated(tokenizer):
    model = TorchCaptioner(*TOYS["transformer"](tokenizer))
    photo, box = noise(60, 90), (0.1, 0.1, 0.9, 0.8)
    found = occlude(model, photo, "A dog's ball", box)
    assert (np.asarray(found.painted) == np.asarray(paint_out(photo, box))).all()
    painted = model.prepare(paint_out(photo, box))
    expected = model.read_sentence(painted, "A dog's ball")
    probabilities = [word.probability for word in found.rescored.words]
    assert probabilities == pytest.approx([word.probability for word in expected.words])
    assert found.recaptioned.text == model.caption(painted).text

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from training.nonphotos.__main__ import main
from training.nonphotos.drawing import KINDS, draw_nonphoto


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_kind_depend_on_their_number_alone(kind):
    contents = [draw_nonphoto(kind, number) for number in range(8)]
    assert [draw_nonphoto(kind, number) for number in range(8)] == contents
    assert len(set(contents)) == 8
    images = [Image.open(BytesIO(content)) for content in contents]
    assert {image.format for image in images} == {"JPEG", "PNG"}
    for image in images:
        assert image.mode == "RGB"
        assert min(image.size) >= 224


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blank"])
def test_images_show_something(kind):
    for number in range(4):
        levels = np.asarray(Image.open(BytesIO(draw_nonphoto(kind, number))), dtype=float)
        assert np.ptp(levels, axis=(0, 1)).max() > 20


def test_the_command_writes_some_of_each_kind(tmp_path, capsys):
    assert main([str(tmp_path / "new"), "--count", "1"]) == 0
    files = sorted((tmp_path / "new").iterdir())
    assert [file.stem for file in files] == sorted(f"{kind}-0" for kind in KINDS)
    for file in files:
        content = file.read_bytes()
        assert content == draw_nonphoto(file.stem.removesuffix("-0"), 0)
        assert (file.suffix == ".png") == content.startswith(b"\x89PNG")
    (tmp_path / "taken").write_text("")
    assert main([str(tmp_path / "taken")]) == 1
    assert capsys.readouterr().err.startswith(f"error: Image {tmp_path / 'taken'}")

"""What is no photo, or a broken one, says so."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.errors import ImageError
from captioner.photo import load_photo, load_reduced, opening
from tests.photos import encode, noise, png, quarters


def error(source, **options) -> str:
    with pytest.raises(ImageError) as caught:
        load_photo(source, **options)
    return str(caught.value)


def test_a_missing_file_a_folder_and_an_impossible_path_say_so(tmp_path):
    assert error(tmp_path / "no.jpg") == f"{tmp_path}/no.jpg: no such file; check the path."
    assert error(tmp_path) == (
        f"{tmp_path}: this is a folder, not a photo; `captioner folder` captions all photos in it."
    )
    assert error("a\0b") == "a\0b: cannot be opened (embedded null byte); check the path."
    long = "x" * 5000
    assert error(long) == f"{long}: cannot be opened (File name too long); check the path."


def test_a_file_one_may_not_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    quarters().save(path)
    if os.access(path, os.R_OK) and os.geteuid() == 0:  # nothing is forbidden to root

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    path.chmod(0)
    assert (
        error(path) == f"{path}: no permission to read it; allow reading it, or copy it elsewhere."
    )


def test_a_stream_without_an_end_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(opening, "_LONGEST_STREAM", 2**20)
    letters = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    with letters:
        path = f"/dev/fd/{letters.stdout.fileno()}"
        assert error(path) == f"{path}: over 1 MB long; give a photo."
        letters.kill()


def test_an_empty_file_and_something_else_than_a_photo_say_so(tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_text("Dear reader, this is no picture.")
    assert error(path) == (
        f"{path}: not an image (it starts with b'Dear reader, thi'); save it as JPEG or PNG."
    )
    path.write_bytes(b"")
    assert error(path) == f"{path}: the file is empty (0 bytes); copy or download it again."
    assert error(path, name="upload 3") == (
        "upload 3: the file is empty (0 bytes); copy or download it again."
    )
    assert error(json) == (
        "the photo: a module is not a photo; "
        "give a path, the bytes of a file, a Pillow picture or a NumPy array."
    )


def test_drawings_and_heic_photos_are_told_apart_from_broken_ones():
    drawing = "the photo: SVG is a drawing, not a photo; export it as PNG first."
    assert error(b'<svg xmlns="http://www.w3.org/2000/svg"/>') == drawing
    assert (
        error(b'<?xml version="1.0"?>\n<!-- a > b -->\n<!DOCTYPE svg>\n<svg width="1">') == drawing
    )
    assert "not an image" in error(b'<?xml version="1.0"?><html><svg>')
    assert error(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n") == (
        "the photo: EPS is a drawing, not a photo; export it as PNG first."
    )
    assert error(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == (
        "the photo: HEIC photos cannot be read; save it as JPEG."
    )


@pytest.mark.filterwarnings("ignore:.*EXIF data|Truncated File Read")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("AVIF", {}),
    ],
)
def test_a_photo_cut_short_anywhere_is_an_error_and_never_half_a_photo(kind, options):
    if kind == "AVIF" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow reads no AVIF")
    whole = encode(noise(), kind, **options)
    for part in (0.01, 0.1, 0.4, 0.7, 0.9, 0.98):
        for at_least in (None, (8, 8)):
            with pytest.raises(ImageError) as caught:
                load_reduced(whole[: int(len(whole) * part)], at_least=at_least, name="holiday")
            assert str(caught.value).startswith("holiday: damaged or cut short (")
            assert str(caught.value).endswith("); copy or download it again.")


def test_a_png_with_flipped_bits_is_an_error():
    damaged = bytearray(encode(noise(), "PNG"))
    damaged[len(damaged) // 2] ^= 0xFF
    assert error(bytes(damaged)).startswith("the photo: damaged or cut short (")


def test_a_decompression_bomb_is_refused_from_its_header(monkeypatch):
    bomb = png((20000, 10000), 8, 2, b"")
    assert error(bomb) == ("the photo: over the limit of 178 megapixels; make it smaller first.")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a host program may lift Pillow's limit
    assert error(bomb) == (
        "the photo: 20000 x 10000 is 200 megapixels, over the limit of 178; make it smaller first."
    )
    monkeypatch.setattr(opening, "MAX_PIXELS", 48 * 32 - 1)
    assert "over the limit" in error(quarters())


def test_a_picture_without_pixels_or_with_pixels_that_are_no_numbers_is_an_error():
    assert error(Image.new("RGB", (0, 5))) == (
        "the photo: it is 0 x 5 pixels; a photo needs one or more."
    )
    assert error(Image.fromarray(np.array([[0.5, np.inf]], np.float32))) == (
        "the photo: it holds pixels that are not numbers; save it as JPEG or PNG."
    )

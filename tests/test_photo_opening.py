"""What is no photo, or a broken one, says so."""

import json
import os
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner import photo
from captioner.errors import ImageError
from captioner.photo import faults, load_photo, load_reduced, opening
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
        f"{path}: not an image (it starts with 'Dear reader, thi'); save it as JPEG or PNG."
    )
    path.write_bytes(b"")
    assert error(path) == f"{path}: the file is empty (0 bytes); copy or download it again."
    assert error(path, name="upload 3") == (
        "upload 3: the file is empty (0 bytes); copy or download it again."
    )
    assert error(json) == (
        "the photo: a module is not a photo; "
        "give a path, the bytes of a file, a Pillow image or a NumPy array."
    )


def test_drawings_and_broken_photos_have_different_errors():
    drawing = "the photo: SVG is a drawing, not a photo; export it as PNG first."
    assert error(b'<svg xmlns="http://www.w3.org/2000/svg"/>') == drawing
    assert (
        error(b'<?xml version="1.0"?>\n<!-- a > b -->\n<!DOCTYPE svg>\n<svg width="1">') == drawing
    )
    assert "not an image" in error(b'<?xml version="1.0"?><html><svg>')
    assert error(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n") == (
        "the photo: EPS is a drawing, not a photo; export it as PNG first."
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
    monkeypatch.setattr(faults, "MAX_PIXELS", 48 * 32 - 1)
    assert "over the limit" in error(quarters())


def test_a_picture_without_pixels_or_with_pixels_that_are_no_numbers_is_an_error():
    assert error(Image.new("RGB", (0, 5))) == (
        "the photo: it is 0 x 5 pixels; a photo needs one or more."
    )
    assert error(Image.fromarray(np.array([[0.5, np.inf]], np.float32))) == (
        "the photo: it holds pixels that are not numbers; save it as JPEG or PNG."
    )


# Whose fault it is


@pytest.mark.parametrize("fault", [AttributeError, TypeError, AssertionError, NameError])
def test_a_mistake_of_the_program_is_not_blamed_on_the_photo(fault, monkeypatch):
    def mistaken(*_):
        raise fault("a mistake in the program")

    for name in ("to_rgb", "upright"):
        with monkeypatch.context() as patch:
            patch.setattr(photo, name, mistaken)
            with pytest.raises(fault, match="a mistake in the program"):
                load_photo(encode(quarters(), "PNG"))
    for name, kind in {"open_png": "PNG", "JpegImageFile": "JPEG"}.items():
        with monkeypatch.context() as patch:
            patch.setattr(opening, name, mistaken)
            with pytest.raises(fault, match="a mistake in the program"):
                load_photo(encode(quarters(), kind))


def test_what_pillow_stumbles_over_in_a_file_is_damage():
    file = bytearray(encode(quarters(), "TIFF"))
    place = file.index(struct.pack("<HHI", 273, 4, 1))
    file[place + 2] = 2  # where the pixels lie is said in letters
    with pytest.raises(TypeError), Image.open(BytesIO(file)) as image:
        image.load()
    with Image.open(BytesIO(file)) as image:
        assert error(image) == (
            "the photo: damaged or cut short ('str' object cannot be interpreted as an integer); "
            "copy or download it again."
        )
    assert error(bytes(file)) == (
        "the photo: damaged or cut short (tag 273 holds no whole numbers); copy or download it "
        "again."
    )


def test_a_sound_file_of_a_kind_that_is_not_read_is_not_called_damaged():
    deep = bytearray(encode(quarters(), "JPEG"))
    deep[deep.index(b"\xff\xc0") + 4] = 12  # bits a sample
    assert error(bytes(deep)) == (
        "the photo: of a kind that cannot be read (cannot handle 12-bit layers); save it as JPEG "
        "or PNG."
    )
    flat = bytearray(encode(quarters(), "BMP"))
    flat[30] = 7  # a way of compression
    assert error(bytes(flat)) == (
        "the photo: of a kind that cannot be read (Unsupported BMP compression (7)); save it as "
        "JPEG or PNG."
    )


def test_out_of_memory_is_reported_as_such_with_the_megapixels(tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (12000, 9000)).save(path)
    reader = (
        "import resource, sys, warnings\n"
        "from captioner.photo import load_photo, numpy_array\n"
        "warnings.simplefilter('ignore')\n"  # Pillow's, of large photos
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), -1))\n"
        "try:\n"
        "    load_photo(sys.argv[1])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    for megabytes in (100, 600):  # not enough to decode; enough, but not for what follows
        command = [sys.executable, "-c", reader, path, str(megabytes << 20)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ran.stdout == (
            f"ImageError {path}: there is not enough memory for its 108 megapixels; end other "
            "programs, or make it smaller first.\n"
        )

"""Broken and odd photos by the hundred: each is shown as it should be, or says why not."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from app.controls import open_upload
from captioner.errors import CaptionerError, ImageError
from captioner.photo import load_photo, load_reduced
from tests.odd_images import FLAG, Odd, corpus, write_corpus
from tests.photos import encode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damage, before it fails

SLOW = 5.0  # seconds of a processor
FILES = [
    encode(FLAG, kind, **options)
    for kind, options in [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ]
]


def outcome(content: bytes, at_least: tuple[int, int] | None) -> tuple:
    """The photo and its size, or why there is none."""
    try:
        return load_reduced(content, at_least=at_least)
    except ImageError as error:
        return str(error), None


def fault(
    path: Path, odd: Odd, *, load: Callable[[Path], Image.Image] = load_photo, name: str = ""
) -> str | None:
    """What is wrong about how this photo was read."""
    start = time.process_time()
    try:
        photo = load(path)
    except CaptionerError as error:
        found = str(error)
        if odd.shown is not None:
            return f"not shown: {found}"
        name = re.escape(name or str(path))
        if not re.fullmatch(f"{name}: {odd.reason or '.+'}", found, re.DOTALL):
            return f"failed for another reason: {found}"
    else:
        if odd.reason is not None:
            return f"shown, but should fail: {odd.reason}"
        if odd.shown is not None:
            if photo.size != odd.shown.size:
                return f"shown with size {photo.size}"
            levels = np.asarray(photo).astype(int) - np.asarray(odd.shown)
            if np.abs(levels).max() > odd.tolerance:
                return f"shown {np.abs(levels).max()} levels wrong"
    slow = time.process_time() - start
    return f"took {slow:.1f} seconds" if slow > SLOW else None


def test_there_are_hundreds_and_no_two_are_the_same():
    odds = corpus()
    assert len(odds) >= 400
    assert len({odd.name for odd in odds}) == len(odds)
    assert len({odd.content for odd in odds}) == len(odds)
    settled = [odd for odd in odds if odd.shown is not None or odd.reason is not None]
    assert len(settled) >= 350


def test_each_is_shown_as_it_should_be_or_fails_for_its_reason(tmp_path):
    faults = {odd.name: fault(path, odd) for path, odd in write_corpus(tmp_path)}
    assert {name: wrong for name, wrong in faults.items() if wrong} == {}


def test_the_app_shows_each_as_it_should_be_or_gives_its_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def load(path: Path) -> Image.Image:
        return open_upload(path, size=(1280, 1280)).picture

    for odd in corpus():  # what is odd about a file itself does not come through an upload
        (tmp_path / odd.name).write_bytes(odd.content)
        largest = max(odd.shown.size) if odd.shown is not None else 0
        expected = odd if largest <= 1280 else replace(odd, shown=None)
        assert fault(tmp_path / odd.name, expected, load=load, name=odd.name) is None, odd.name


def test_the_app_opens_nothing_but_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("folder.jpg", "pipe.jpg", "missing.jpg"):
        with pytest.raises(CaptionerError, match=rf"^{name}: not an uploaded file"):
            open_upload(tmp_path / name, size=(1280, 1280))


def test_a_jpeg_decoded_small_is_refused_or_shown_like_the_whole():
    jpegs = [odd.content for odd in corpus() if odd.content.startswith(b"\xff\xd8")]
    assert len(jpegs) > 70
    for content in jpegs:
        (whole, size), (small, small_size) = outcome(content, None), outcome(content, (8, 8))
        assert small_size == size
        assert small == whole if size is None else whole.width % small.width == 0


@pytest.mark.parametrize("n", range(len(FILES)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_changed_files_are_read_or_refused_and_never_crash(n, data):
    file = bytearray(FILES[n])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(file) - 1))
        file[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    start = time.process_time()
    shown, size = outcome(bytes(file), None)
    assert shown.startswith("the photo: ") if size is None else shown.mode == "RGB"
    assert time.process_time() - start < SLOW

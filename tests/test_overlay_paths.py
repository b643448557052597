import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.cli.overlay_paths import overlay_paths


def named(*photos, folder="out", kind="png"):
    paths = overlay_paths(photos, Path(folder), kind=kind)
    assert list(paths) == list(photos)
    return [path.as_posix() for path in paths.values()]


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (["photo.jpg"], ["out/photo.jpg.png"]),
        (["a/1.jpg", "b/2.jpg"], ["out/1.jpg.png", "out/2.jpg.png"]),
        (["a/1.jpg", "b/1.jpg"], ["out/a/1.jpg.png", "out/b/1.jpg.png"]),
        (["a/1.jpg", "b/1.JPG", "2.jpg"], ["out/a/1.jpg.png", "out/b/1.JPG.png", "out/2.jpg.png"]),
        (
            ["x/a/1.jpg", "y/a/1.jpg", "x/b/1.jpg"],
            ["out/x/a/1.jpg.png", "out/y/a/1.jpg.png", "out/x/b/1.jpg.png"],
        ),
        (["A.jpg", "a.jpg"], ["out/A.jpg.png", "out/a.jpg-2.png"]),
        (["a/1.jpg", "./a/1.jpg"], ["out/1.jpg.png", "out/1.jpg.png"]),
        (["A.jpg", "a.jpg", "a.jpg-2"], ["out/A.jpg.png", "out/a.jpg-2.png", "out/a.jpg-2-2.png"]),
    ],
)
def test_every_photo_has_an_overlay_of_its_own_and_a_single_name_stays_plain(photos, expected):
    assert named(*photos) == expected


def test_names_that_differ_in_unicode_form_only_are_kept_apart():
    nfc, nfd = (unicodedata.normalize(form, "Größe.jpg") for form in ("NFC", "NFD"))
    assert named(nfc, nfd) == [f"out/{nfc}.png", f"out/{nfd}-2.png"]


def test_no_overlay_takes_the_place_of_a_photo():
    assert named("p/1.jpg", "p/1.jpg.png", folder="p") == ["p/1.jpg-2.png", "p/1.jpg.png.png"]


def test_a_folder_at_the_root_is_no_reason_to_fail():
    assert named(os.path.abspath(os.sep), kind="gif") == ["out/..gif"]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "A", "b", "1.jpg", "1.jpg-2"]), min_size=1, max_size=3).map(
            "/".join
        ),
        unique=True,
    )
)
def test_no_two_photos_share_a_file_whatever_their_names(photos):
    paths = named(*photos)
    assert len({path.casefold() for path in paths}) == len(photos)

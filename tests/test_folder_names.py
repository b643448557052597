"""Names as the file system compares them: on a real exFAT, and on one that is played."""

import os
import unicodedata

import pytest

from captioner.folder.sidecars import names
from captioner.folder.sidecars.names import folded
from tests.ignoring import exfat
from tests.photos import noise, quarters
from tests.test_folder import captions


@pytest.fixture(scope="module")
def mounted(tmp_path_factory):
    with exfat(tmp_path_factory.mktemp("mounted")) as place:
        yield place


@pytest.fixture(autouse=True)
def fresh():
    """What is known of folders is forgotten: their names come again."""
    for cached in (names._ignores_case, names._ignores_form):
        cached.cache_clear()


def test_names_differ_in_case_where_the_file_system_tells_them_apart(tmp_path):
    (tmp_path / "IMG.JPG").touch()
    if (tmp_path / "img.jpg").exists():
        pytest.skip("this one does not")
    assert folded(str(tmp_path / "IMG.JPG")) == str(tmp_path / "IMG.JPG")


def test_names_are_the_same_in_any_case_where_the_file_system_ignores_it(mounted):
    (mounted / "IMG.JPG").touch()
    assert folded(str(mounted / "IMG.JPG")) == folded(str(mounted / "img.JPG"))


def test_names_are_the_same_in_any_unicode_form_where_the_file_system_ignores_it(
    tmp_path, monkeypatch
):
    """No such file system can be mounted here, so one is played."""
    composed = unicodedata.normalize("NFC", "é.jpg")
    decomposed = unicodedata.normalize("NFD", "é.jpg")
    (tmp_path / decomposed).touch()
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    monkeypatch.setattr(names, "_ignores_case", lambda folder: False)
    assert folded(str(tmp_path / decomposed)) == str(tmp_path / composed)


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("existing", ["skip", "append", "overwrite"])
def test_two_photos_that_would_share_a_text_file_do_not(command, mounted, size, existing):
    folder = mounted / f"{existing}-{size}"
    folder.mkdir()
    quarters(32, 32).save(folder / "IMG.JPG", format="JPEG")
    noise(32, 32).save(folder / "img.png")
    options = ("--sidecar", "txt", "--existing", existing, "--batch-size", size)
    for before in (0, 1):
        status, lines, _ = command(folder, *options)
        assert status == 0
        assert f"{1 - before} captioned, {before} already captioned, 1 skipped" in lines[0]
        told = captions(folder / "captions.jsonl")
        assert list(told) == ["IMG.JPG"]
        assert (folder / "IMG.txt").read_text() == told["IMG.JPG"] + "\n"
    status, lines, _ = command(folder, *options, "--dry-run")
    assert lines == [
        "done\tIMG.JPG",
        "skip\timg.png\timg.txt belongs to another photo of the same name",
    ]

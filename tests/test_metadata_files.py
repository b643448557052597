"""Sidecars, and files that are replaced as a whole."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from captioner import metadata
from captioner.metadata import embed, sidecar, sidecar_path
from tests.test_metadata import FILES


def test_a_sidecar_is_named_as_photo_managers_expect():
    photo = Path("a/b.c.JPG")
    assert sidecar_path(photo) == Path("a/b.c.JPG.xmp")
    assert sidecar_path(photo, naming="stem") == Path("a/b.c.xmp")


def test_a_new_sidecar_is_this_text():
    assert sidecar("a <dog>", name="p").decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="captioner">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about="">'
        '<dc:description xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Alt><rdf:li xml:lang="x-default">a &lt;dog&gt;</rdf:li></rdf:Alt>'
        "</dc:description></rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
    )


def test_a_file_is_replaced_whole_and_keeps_its_mode_and_if_asked_its_time(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.utime(path, (10**9, 10**9))
    metadata.replace_file(path, b"new", keep_times=True)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert path.stat().st_mtime == 10**9
    metadata.replace_file(path, b"newer")
    assert path.stat().st_mtime > 10**9
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"newer", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_gets_the_mode_any_file_gets(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    metadata.replace_file(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_stays_a_link_to_the_new_content(tmp_path):
    (tmp_path / "there").mkdir()
    photo = tmp_path / "there" / "photo.jpg"
    photo.write_bytes(b"old")
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    metadata.replace_file(link, b"new")
    assert link.is_symlink()
    assert photo.read_bytes() == b"new"


def test_when_replacing_fails_the_old_file_and_nothing_else_is_there(tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        metadata.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_finds_the_caption_and_no_fault(tmp_path):
    sound = [kind for kind in FILES if "with" not in kind and "turned" not in kind]
    paths = [tmp_path / f"{kind}.{kind.split()[-1]}" for kind in sound]
    for path in paths:
        path.write_bytes(embed(FILES[path.stem], "a dog: 犬", language="en", name="p"))
    (tmp_path / "beside.xmp").write_bytes(sidecar("a dog: 犬", language="en", name="p"))
    command = ["exiftool", "-q", "-validate", "-p", "$validate|$xmp:description", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "OK|a dog: 犬\n" * (len(paths) + 1)

"""Sidecars, and what exiftool finds in files of every kind."""

import shutil
import subprocess

import pytest

from captioner.folder.sidecars import SIDECARS
from captioner.metadata import embed, sidecar
from tests.test_metadata import FILES


def test_a_sidecar_is_named_as_photo_managers_expect():
    assert SIDECARS["xmp"].path_for("a/b.c.JPG") == "a/b.c.JPG.xmp"
    assert SIDECARS["lightroom"].path_for("a/b.c.JPG") == "a/b.c.xmp"


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


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_finds_the_caption_and_no_fault(tmp_path):
    sound = [kind for kind in FILES if "with" not in kind and "turned" not in kind]
    paths = [tmp_path / f"{kind}.{kind.split()[-1]}" for kind in sound]
    for path in paths:
        path.write_bytes(embed(FILES[path.stem], "a dog: 犬", name="p"))
    (tmp_path / "beside.xmp").write_bytes(sidecar("a dog: 犬", name="p"))
    command = ["exiftool", "-q", "-validate", "-p", "$validate|$xmp:description", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "OK|a dog: 犬\n" * (len(paths) + 1)

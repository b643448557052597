import os
import shutil
import sys
from types import SimpleNamespace

import pytest

from captioner.errors import CaptionerError, MissingExtraError
from training.scoring import official

REFERENCES = {1: ["A dog runs on the beach."], 2: ["Two cats sleep."]}
CAPTIONS = {1: "a dog runs on a beach", 2: "two dogs"}

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")


def test_official_scores_without_their_package_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    monkeypatch.setitem(sys.modules, "pycocoevalcap.tokenizer.ptbtokenizer", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pycocoevalcap>=1.2'"):
        official.score_official(REFERENCES, CAPTIONS)


@pytest.fixture
def broken_java(tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho no memory >&2\nexit 1\n", encoding="utf-8")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("broken_java")
def test_a_tokenizer_that_fails_is_reported():
    for captions in (CAPTIONS, {1: CAPTIONS[1]}):
        with pytest.raises(CaptionerError, match=r"did not return every sentence.*`java -version`"):
            official.score_official(REFERENCES, captions)


@pytest.mark.usefixtures("broken_java")
def test_a_meteor_that_fails_is_reported_and_not_waited_for():
    with pytest.raises(CaptionerError, match="METEOR's Java program failed: no memory"):
        official._meteor({1: ["a dog"]}, {1: ["a dog"]})


@needs_java
def test_blank_captions_and_odd_line_breaks_keep_their_place():
    sentences = {5: ["", "a dog\x0bruns\x85far", "\N{DOG FACE}"], 6: ["a cat\n", ""]}
    assert official.tokenize_officially(sentences) == {
        5: ["", "a dog runs far", ""],
        6: ["a cat", ""],
    }


def test_spice_says_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setattr(official, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pycocoevalcap>=1.2'"):
        official.score_spice({1: ["a dog"]}, {1: ["a dog"]})
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="no `java` on the PATH"):
        official.score_spice({1: ["a dog"]}, {1: ["a dog"]})
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n", encoding="utf-8")
    java.chmod(0o755)
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(official, "find_spec", lambda name: package)
    with pytest.raises(MissingExtraError) as missing:
        official.score_spice({1: ["a dog"]}, {1: ["a dog"]})
    assert str(missing.value) == (
        "SPICE needs Stanford CoreNLP 3.6.0 (2015-12-09): put stanford-corenlp-3.6.0.jar and "
        f"stanford-corenlp-3.6.0-models.jar into {tmp_path}/spice/lib."
    )


@pytest.fixture
def spice_program(tmp_path, monkeypatch):
    """What pycocoevalcap starts, in place of Java: a script, with the parser seemingly there."""
    from pycocoevalcap.spice import spice as package

    library = tmp_path / "spice" / "lib"
    library.mkdir(parents=True)
    for name in official._PARSER:
        (library / name).touch()
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(official, "find_spec", lambda name: found)
    monkeypatch.setattr(package, "get_stanford_models", lambda: None)  # it would fetch
    monkeypatch.setattr(package, "__file__", str(tmp_path / "spice.py"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def write(script: str) -> None:
        (tmp_path / "java").write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
        (tmp_path / "java").chmod(0o755)

    return write


def test_spice_gives_its_program_the_captions_and_takes_the_mean(spice_program):
    spice_program(
        "import json, sys\n"
        "rows = json.load(open(sys.argv[4]))\n"
        "assert rows[0] == {'image_id': 1, 'test': 'a dog', 'refs': ['the dog', 'a pup']}, rows\n"
        "scores = [{'image_id': r['image_id'], 'scores': {'All': {'f': r['image_id'] / 4}}} "
        "for r in rows]\n"
        "json.dump(scores, open(sys.argv[sys.argv.index('-out') + 1], 'w'))\n"
    )
    references = {1: ["the dog", "a pup"], 2: ["a cat"]}
    assert official.score_spice(references, {1: ["a dog"], 2: ["a cat"]}) == pytest.approx(0.375)


def test_a_spice_that_fails_is_reported(spice_program):
    spice_program("import sys; sys.exit(3)")
    with pytest.raises(CaptionerError, match=r"SPICE's Java program failed .* exit status 3"):
        official.score_spice({1: ["a dog"]}, {1: ["a dog"]})

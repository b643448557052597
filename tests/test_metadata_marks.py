"""Marks of captions that a model wrote, and alt text, as other programs see them."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.metadata import (
    Mark,
    alt_text,
    embed,
    is_bare,
    read_captions,
    read_digests,
    read_sidecar_captions,
    read_sidecar_digests,
    sidecar,
    text_digest,
)
from captioner.metadata.marks import LONGEST_ALT_TEXT
from tests.test_metadata import FILES

MARK = Mark(model="vit-tiny", confidence=0.625)
LONG = "two dogs run along the beach, " * 6
KINDS = ["jpeg", "png", "webp"]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def tags(path, *names):
    out = run("exiftool", "-s3", "-f", *(f"-{name}" for name in names), str(path))
    return out.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_stands_in_a_namespace_of_its_own(kind, tmp_path):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    marked = embed(FILES[kind], "a dog", mark=MARK, name="p")
    path = tmp_path / f"photo.{kind}"
    path.write_bytes(marked)
    ours = ("XMP-captioner:Model", "XMP-captioner:Confidence", "XMP-captioner:Digest")
    assert tags(path, "XMP-dc:Description", *ours) == [
        "a dog", "vit-tiny", "0.625", text_digest("a dog"),
    ]  # fmt: skip
    assert tags(path, "validate") == ["OK"]
    assert read_digests(marked, name="p") == {text_digest("a dog")}

    run("exiftool", "-q", "-overwrite_original", "-XMP:Rating=5", str(path))
    assert read_digests(path.read_bytes(), name="p") == {text_digest("a dog")}
    run("exiftool", "-q", "-overwrite_original", "-MWG:Description=my dog", str(path))
    edited = path.read_bytes()
    assert [text_digest(text) for text in read_captions(edited, name="p")] != [
        *read_digests(edited, name="p")
    ]


def test_exiv2_reads_mark_and_alt_text(tmp_path):
    if shutil.which("exiv2") is None:
        pytest.skip("exiv2 is not installed")
    path = tmp_path / "photo.jpg"
    path.write_bytes(embed(FILES["jpeg"], LONG, fields="both", mark=MARK, name="p"))
    found = dict(line.split(maxsplit=1) for line in run("exiv2", "-PXkv", str(path)).splitlines())
    assert found["Xmp.dc.description"] == f'lang="x-default" {LONG}'
    alt = "two dogs run along the beach, " * 4
    assert found["Xmp.iptc.AltTextAccessibility"] == f'lang="x-default" {alt}two'
    assert found["Xmp.captioner.model"] == "vit-tiny"
    assert found["Xmp.captioner.altTextDigest"] == text_digest(alt + "two")


@pytest.mark.parametrize("kind", KINDS)
def test_alt_text_alone_leaves_the_caption_and_its_mark(kind, tmp_path):
    before = embed(FILES[kind], "a dog", mark=MARK, name="p")
    both = embed(before, LONG, fields="alt-text", name="p")
    assert read_captions(both, name="p") == ["a dog"]
    assert read_captions(both, fields="alt-text", name="p") == [alt_text(LONG)]
    assert read_captions(both, fields="both", name="p") == ["a dog", alt_text(LONG)]
    assert read_digests(both, name="p") == {text_digest("a dog")}
    if shutil.which("exiftool"):
        path = tmp_path / f"photo.{kind}"
        path.write_bytes(both)
        assert tags(path, "XMP:AltTextAccessibility", "XMP:Description", "validate") == [
            alt_text(LONG), "a dog", "OK",
        ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_human_caption_that_replaces_ours_has_no_mark(kind):
    marked = embed(FILES[kind], "a dog", fields="both", mark=MARK, name="p")
    assert read_digests(embed(marked, "my dog", fields="both", name="p"), name="p") == set()
    half = embed(marked, "my dog", name="p")
    assert read_digests(half, name="p") == {text_digest("a dog")}  # of the alt text
    other = Mark(model="other")
    again = embed(marked, "a cat", fields="both", mark=other, name="p")
    assert again == embed(embed(FILES[kind], "a cat", fields="both", mark=other, name="p"),
                          "a cat", fields="both", mark=other, name="p")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_caption_takes_out_what_was_written_and_nothing_else(kind):
    file = embed(FILES[kind], "a dog", fields="both", mark=MARK, name="p")
    bare = embed(file, "", fields="both", name="p")
    assert read_captions(bare, fields="both", name="p") == []
    assert read_digests(bare, name="p") == set()
    for trace in (b"dog", b"captioner:", b"dc:description", b"AltText"):
        assert trace not in bare
    assert embed(bare, "", fields="both", name="p") == bare
    assert embed(FILES[kind], "", fields="both", name="p") == FILES[kind]


def test_a_sidecar_is_bare_again_and_others_properties_stay():
    mine = sidecar("a dog", fields="both", mark=MARK, name="p")
    assert read_sidecar_digests(mine, name="p") == {text_digest("a dog")}
    assert is_bare(sidecar("", mine, fields="both", name="p"))
    assert not is_bare(mine)
    theirs = mine.replace(b"<dc:description", b"<xmp:Rating>5</xmp:Rating><dc:description").replace(
        b"<rdf:RDF", b'<rdf:RDF xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    )
    left = sidecar("", theirs, fields="both", name="p")
    assert b"<xmp:Rating>5</xmp:Rating>" in left
    assert read_sidecar_captions(left, fields="both", name="p") == []
    assert not is_bare(left)


def test_marks_that_programs_write_as_attributes_are_read_and_replaced():
    packet = sidecar("a dog", mark=MARK, name="p")
    element = f'<captioner:digest xmlns:captioner="urn:captioner:xmp:1/">{text_digest("a dog")}'
    element += "</captioner:digest>"
    assert element.encode() in packet
    attribute = packet.replace(element.encode(), b"").replace(
        b'rdf:about=""',
        f'rdf:about="" xmlns:captioner="urn:captioner:xmp:1/" '
        f'captioner:digest="{text_digest("a dog")}"'.encode(),
    )
    assert read_sidecar_digests(attribute, name="p") == {text_digest("a dog")}
    again = sidecar("a cat", attribute, mark=MARK, name="p")
    assert read_sidecar_digests(again, name="p") == {text_digest("a cat")}


@given(st.text())
def test_alt_text_is_whole_words_from_the_beginning(text):
    alt = alt_text(text)
    words, whole = alt.split(), text.split()
    assert len(alt) <= LONGEST_ALT_TEXT
    assert alt == " ".join(words)
    if len(" ".join(whole)) <= LONGEST_ALT_TEXT:
        assert alt == " ".join(whole)


@pytest.mark.parametrize(
    ("text", "alt"),
    [
        ("a dog", "a dog"),
        ("a " * 62 + "b", "a " * 62 + "b"),  # 125 characters
        ("a " * 62 + "bc", ("a " * 62).strip()),  # 126
        ("a" * 120 + ", and so on", "a" * 120 + ", and"),
        ("a" * 122 + ", on and on", "a" * 122),
        ("犬" * 130, "犬" * 125),
    ],
)
def test_alt_text_is_cut_at_the_end_of_a_word(text, alt):
    assert alt_text(text) == alt

"""Photos of many makers, captioned in place: exiftool and exiv2 find nothing else changed."""

import json
import os
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.makers import HUMAN, PREVIEW, make
from tests.test_folder import captions
from tests.written import read_caption, read_sidecar

CAPTIONED = {
    "alpha.jpg", "canon.jpg", "casio.jpg", "digikam.jpg", "editor.webp", "eos300d.jpg",
    "exif.png", "exif.webp", "iphone.jpg", "nikon.jpg", "scan.tif", "scanner.jpg", "text.png",
    "windows.jpg",
}  # fmt: skip
"""Those with a human caption."""

PREVIEWED = {"alpha.jpg", "casio.jpg", "eos300d.jpg"}
"""Those whose maker's notes point to a preview behind the picture."""

EXIFTOOL = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
EXIV2 = pytest.mark.skipif(shutil.which("exiv2") is None, reason="exiv2 is not installed")

HOMES = {
    "IFD0:ImageDescription", "IFD0:XPTitle", "ExifIFD:UserComment", "IPTC:Caption-Abstract",
    "XMP-dc:Description", "XMP-tiff:ImageDescription", "XMP-exif:UserComment",
    "XMP-acdsee:Notes", "PNG:Description", "PNG:Comment",
}  # fmt: skip
"""Where a caption may change; what stands there afterwards is the new caption."""
FOLLOWING = {
    "IPTC:CodedCharacterSet", "IPTC:ApplicationRecordVersion", "XMP-x:XMPToolkit",
    "File:CurrentIPTCDigest", "File:FileType", "RIFF:ImageWidth", "RIFF:ImageHeight",
    "RIFF:WebP_Flags", "MPImage1:MPImageLength", "MPImage2:MPImageStart",
    "Canon:PreviewImageStart", "Casio:PreviewImageStart",
    "XMP-captioner:Model", "XMP-captioner:Digest", "XMP-captioner:Confidence",
}  # fmt: skip
"""What must follow: heads of new packets and records, digests, the mark, where pictures lie."""
KEYS = {
    "Exif.Image.ImageDescription", "Exif.Image.XPTitle", "Exif.Photo.UserComment",
    "Iptc.Application2.Caption", "Xmp.dc.description", "Xmp.tiff.ImageDescription",
    "Xmp.exif.UserComment", "Xmp.acdsee.notes", "Iptc.Envelope.CharacterSet",
    "Iptc.Application2.RecordVersion", "Exif.Canon.PreviewImageInfo",
    "Exif.Casio2.PreviewImageStart", "Exif.Sony1.PreviewImage",
}  # fmt: skip
"""The same for exiv2."""


@pytest.fixture
def makers(tmp_path):
    folder = tmp_path / "makers"
    folder.mkdir()
    for n, (name, content) in enumerate(make().items()):
        (folder / name).write_bytes(content)
        os.utime(folder / name, ns=(10**18, 10**18 + n))
    return folder


def seen_by_exiftool(folder: Path) -> dict[str, dict[str, str]]:
    """Every tag of every photo by group and number, binary ones too."""
    command = ["exiftool", "-json", "-q", "-G1:4", "-a", "-u", "-b", "--ext", "xmp", str(folder)]
    ran = subprocess.run(command, capture_output=True, check=True)
    photos = {}
    for tags in json.loads(ran.stdout):
        name = Path(tags.pop("SourceFile")).name
        photos[name] = {
            key: value
            for key, value in tags.items()
            if not key.startswith(("ExifTool:", "System:", "Composite:"))
        }
    return photos


def preview(path: Path) -> bytes:
    """The preview that maker's notes point to."""
    command = ["exiftool", "-b", "-PreviewImage", str(path)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def seen_by_exiv2(path: Path) -> list[str]:
    """Every key with its value."""
    ran = subprocess.run(["exiv2", "-q", "-Pkv", str(path)], capture_output=True, check=False)
    return ran.stdout.decode("utf-8", "replace").splitlines()


def others(name: str, lines: list[str]) -> list[str]:
    """Lines of exiv2 that must stay; maker's notes that hold a pointer are compared by field."""
    passed = {*KEYS, "Exif.Photo.MakerNote"} if name in PREVIEWED else KEYS
    heads = ("XMPToolkit", "Xmp.captioner.")
    return [
        line
        for line in lines
        if line.split()[0] not in passed and not any(head in line for head in heads)
    ]


def pixels(path: Path) -> np.ndarray:
    with Image.open(BytesIO(path.read_bytes())) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes of every photo and when it was changed."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.name in make()
    }


@EXIFTOOL
def test_exiftool_reads_what_the_makers_wrote(makers):
    seen = seen_by_exiftool(makers)
    assert len(seen) == 24
    notes = {
        "canon.jpg": {"Canon:CanonImageType": "Canon EOS 40D", "Canon:OwnerName": "Ada Lovelace"},
        "eos300d.jpg": {"Canon:PreviewImageWidth": 48},
        "nikon.jpg": {"Nikon:Quality": "Fine", "Nikon:SerialNumber": "No= 0012345"},
        "olympus.jpg": {"Olympus:CameraID": "OLYMPUS DIGITAL CAMERA"},
        "panasonic.jpg": {"Panasonic:InternalSerialNumber": "F12 0908070001"},
        "sony.jpg": {"Sony:CreativeStyle": "Standard       "},
        "fujifilm.jpg": {"FujiFilm:Quality": "NORMAL "},
        "iphone.jpg": {"Apple:MediaGroupUUID": "0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9"},
    }
    for name, tags in notes.items():
        assert {key: seen[name].get(key) for key in tags} == tags
    for name in PREVIEWED:
        assert preview(makers / name) == PREVIEW


@EXIFTOOL
@EXIV2
@pytest.mark.parametrize(
    ("existing", "prefix"),
    [
        ("skip", ""),
        ("overwrite", ""),  # fits into the old one's place
        ("overwrite", "a photograph that shows, as far as anybody can tell by looking at it, "),
    ],
)
def test_nothing_but_the_caption_changes(command, makers, existing, prefix):
    before, exiftool = contents(makers), seen_by_exiftool(makers)
    exiv2 = {name: seen_by_exiv2(makers / name) for name in before}
    assert any(line.startswith("Exif.Canon.OwnerName ") for line in exiv2["canon.jpg"])
    shown = {name: pixels(makers / name) for name in before}
    options = ("--in-place", "--sidecar", "xmp", "--existing", existing, "--prefix", prefix)
    status, lines, errors = command(makers, *options)
    assert status == 0, (lines, errors)
    told = captions(makers / "captions.jsonl")
    assert told.keys() == (before.keys() - CAPTIONED if existing == "skip" else before.keys())
    after, changed = contents(makers), seen_by_exiftool(makers)
    for name, caption in told.items():
        if name == "scan.tif":  # it cannot be changed; its caption is beside it
            assert after[name] == before[name]
            assert read_sidecar((makers / "scan.tif.xmp").read_bytes(), name=name) == caption
            continue
        assert read_caption(after[name][0], name=name) == caption
        assert after[name][1] == before[name][1], "the time of change stays"
        for key in {*exiftool[name], *changed[name]}:
            tag = re.sub(r":Copy\d+", "", key)
            is_home = tag in HOMES and (name, tag) != ("diffusion.png", "PNG:Comment")
            if is_home:
                assert changed[name][key] == caption, (name, key)
            elif tag not in FOLLOWING:
                assert changed[name].get(key) == exiftool[name].get(key), (name, key)
        ours, theirs = others(name, seen_by_exiv2(makers / name)), others(name, exiv2[name])
        assert ours == theirs, name
        if name in PREVIEWED:
            assert preview(makers / name) == PREVIEW
        np.testing.assert_array_equal(pixels(makers / name), shown[name])
        asked = ["exiftool", "-s3", "-MWG:Description", str(makers / name)]
        ran = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert ran.stdout.removesuffix("\n") == caption, name
    untouched = before.keys() - told.keys()
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    assert not any((makers / f"{name}.xmp").exists() for name in untouched)
    if existing == "overwrite":
        kept = {"scan.tif", "windows.jpg"}  # the second has a title, too
        for old in (HUMAN.encode(), HUMAN.encode("utf-16-le")):
            assert not [name for name in told.keys() - kept if old in after[name][0]]


@EXIFTOOL
def test_skipping_leaves_the_file_unchanged(command, makers):
    command(makers, "--in-place", "--output", makers.parent / "first.jsonl")
    before = contents(makers)
    command(makers, "--in-place", "--output", makers.parent / "second.jsonl")
    assert captions(makers.parent / "second.jsonl") == {}
    assert contents(makers) == before


@EXIFTOOL
def test_a_caption_is_added_to_the_human_one(command, makers):
    command(makers, "--in-place", "--sidecar", "xmp", "--existing", "append")
    told = captions(makers / "captions.jsonl")
    for name in CAPTIONED - {"scan.tif"}:
        old = "a" if name == "nikon.jpg" else HUMAN
        asked = ["exiftool", "-s3", "-MWG:Description", str(makers / name)]
        ran = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert ran.stdout.removesuffix("\n") == f"{old}, {told[name]}", name
    assert read_sidecar((makers / "scan.tif.xmp").read_bytes(), name="x") == (
        f"{HUMAN}, {told['scan.tif']}"
    )


@EXIFTOOL
def test_a_sidecar_is_read_before_what_the_photo_says(command, makers):
    command(makers, "--sidecar", "xmp", "--existing", "overwrite")
    for name, caption in captions(makers / "captions.jsonl").items():
        files = [makers / name, makers / f"{name}.xmp"]
        assert files[0].read_bytes() == make()[name]
        tags = {}
        for path in files:  # as Immich does
            asked = ["exiftool", "-json", "-ImageDescription", "-Description", str(path)]
            ran = subprocess.run(asked, capture_output=True, check=True)
            tags |= json.loads(ran.stdout)[0]
        assert (tags.get("ImageDescription") or tags["Description"]) == caption, name
        assert read_sidecar(files[1].read_bytes(), name=name) == caption

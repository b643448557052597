"""Captions beside photos and in them, worded as the user likes."""

import codecs
import os
import re

import pytest

from captioner.folder.sidecars.targets import Target
from captioner.folder.sources.inputs import Photo
from captioner.metadata import Mark, embed, sidecar
from captioner.photo import load_photo
from tests.photos import noise, quarters
from tests.test_folder import NAMES, captions
from tests.written import read_caption, read_sidecar


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ("skip", "sks dog"),
        ("overwrite", "{caption}\n"),
        ("append", "sks dog, {caption}\n"),
        ("prepend", "{caption}, sks dog\n"),
    ],
)
def test_sidecars_lie_beside_their_photos_and_respect_those_there(
    command, folder, existing, expected
):
    (folder / "flag.txt").write_text("sks dog")
    (folder / "tower.txt").write_text("")  # no caption
    status, lines, _ = command(folder, "--sidecar", "txt", "--existing", existing)
    told = captions(folder / "captions.jsonl")
    skipped = int(existing == "skip")
    assert status == 0
    assert f"{4 - skipped} captioned, 0 already captioned, {skipped} skipped" in lines[0]
    assert ("flag.png" in told) != skipped
    text = (folder / "flag.txt").read_text()
    assert text == expected.format(caption=told.get("flag.png"))
    for name in NAMES[1:]:
        assert (folder / name).with_suffix(".txt").read_text() == told[name] + "\n"
    again = command(folder, "--sidecar", "txt", "--existing", existing)
    assert again[0] == 0
    assert (folder / "flag.txt").read_text() == text


def test_captions_go_into_xmp_files_and_photos_without_touching_a_pixel(command, folder):
    before = {name: load_photo(folder / name).tobytes() for name in NAMES}
    arguments = (folder, "--sidecar", "xmp", "--sidecar", "txt", "--in-place")
    status, lines, errors = command(*arguments)
    assert (status, errors) == (0, [])
    assert lines[0].endswith("4 photos: 4 captioned, 0 already captioned, 0 skipped, 0 failed")
    told = captions(folder / "captions.jsonl")
    for name in NAMES:
        photo = folder / name
        assert read_caption(photo.read_bytes(), name=name) == told[name]
        assert read_sidecar((folder / f"{name}.xmp").read_bytes(), name=name) == told[name]
        assert photo.with_suffix(".txt").read_text() == told[name] + "\n"
        assert load_photo(photo).tobytes() == before[name]


def test_a_format_without_captions_needs_a_sidecar_or_fails(command, folder):
    gif, flag = folder / "old.gif", folder / "flag.png"
    noise().save(gif)
    flag.chmod(0o444)
    before = {path: path.read_bytes() for path in (gif, flag)}
    only = (folder, "--in-place", "--include", "old.gif", "--include", "flag.png")
    status, lines, errors = command(*only)
    assert status == 1
    assert "0 captioned, 0 already captioned, 0 skipped, 2 failed" in lines[0]
    assert errors == [
        "captioner: flag.png: flag.png is read-only and was left alone; make it writable (chmod "
        "u+w), or choose another kind of output.",
        "captioner: old.gif: captions can be written into JPEG, PNG and WebP files only; write a "
        "sidecar.",
    ]
    status, lines, errors = command(*only, "--sidecar", "xmp", "--overwrite", "--existing", "skip")
    assert (status, len(errors)) == (1, 1), "the read-only photo fails, as a whole"
    told = captions(folder / "captions.jsonl")
    assert read_sidecar((folder / "old.gif.xmp").read_bytes(), name="x") == told["old.gif"]
    assert not (folder / "flag.png.xmp").exists()
    assert {path: path.read_bytes() for path in (gif, flag)} == before


def test_a_caption_in_the_photo_counts_for_the_file_beside_it_too(command, folder):
    flag = folder / "flag.png"
    flag.write_bytes(embed(flag.read_bytes(), "a flag", name="flag"))
    before = flag.read_bytes()
    only = (folder, "--include", "flag.png", "--include", "strip.jpg")
    for places in (["--in-place"], ["--sidecar", "xmp"], ["--in-place", "--sidecar", "xmp"]):
        _, lines, _ = command(*only, *places, "--dry-run")
        assert lines == ["skip\tflag.png\tit already has a caption", "caption\tstrip.jpg"]
    _, lines, _ = command(*only, "--in-place", "--sidecar", "xmp", "--sidecar", "txt")
    assert "2 captioned, 0 already captioned, 0 skipped" in lines[0]
    told = captions(folder / "captions.jsonl")["flag.png"]
    assert flag.read_bytes() == before
    assert not (folder / "flag.png.xmp").exists()
    assert (folder / "flag.txt").read_text() == told + "\n", "training programs read nothing else"


def test_captions_are_joined_wherever_one_is(command, folder):
    flag = folder / "flag.png"
    flag.write_bytes(embed(flag.read_bytes(), "a flag", name="flag"))
    (folder / "strip.xmp").write_bytes(sidecar("a strip", name="strip"))
    only = (folder, "--include", "flag.png", "--include", "strip.jpg", "--separator", " | ")
    command(*only, "--in-place", "--sidecar", "xmp", "--existing", "prepend")
    told = captions(folder / "captions.jsonl")
    for name, old in (("flag.png", "a flag"), ("strip.jpg", "a strip")):
        expected = f"{told[name]} | {old}"
        assert read_caption((folder / name).read_bytes(), name=name) == expected
        assert read_sidecar((folder / f"{name}.xmp").read_bytes(), name=name) == expected
    expected = f"{told['strip.jpg']} | a strip"
    assert read_sidecar((folder / "strip.xmp").read_bytes(), name="strip") == expected


def test_captions_that_differ_are_all_kept_when_one_is_added(command, folder):
    flag = folder / "flag.png"
    flag.write_bytes(embed(flag.read_bytes(), "a flag", name="flag"))
    (folder / "flag.png.xmp").write_bytes(sidecar("in the wind", name="flag"))
    command(folder, "--include", "flag.png", "--in-place", "--existing", "append")
    told = captions(folder / "captions.jsonl")["flag.png"]
    assert read_caption(flag.read_bytes(), name="flag") == f"a flag, {told}"
    beside = (folder / "flag.png.xmp").read_bytes()
    assert read_sidecar(beside, name="flag") == f"in the wind, {told}"


@pytest.mark.parametrize("place", ["--in-place", "--sidecar=xmp"])
@pytest.mark.parametrize("beside", ["flag.xmp", "flag.png.xmp", "flag.XMP"])
def test_an_xmp_file_beside_the_photo_is_seen_and_never_left_stale(command, folder, place, beside):
    stale = folder / beside
    stale.write_bytes(sidecar("Rome, 1974", name="flag").replace(b"captioner", b"Lightroom"))
    only = (folder, "--include", "flag.png", place)
    before = stale.read_bytes()
    _, lines, _ = command(*only, "--dry-run")
    assert lines == [f"skip\tflag.png\t{beside} exists"]
    command(*only)
    assert stale.read_bytes() == before
    command(*only, "--existing", "overwrite", "--overwrite")
    told = captions(folder / "captions.jsonl")["flag.png"]
    assert stale.read_bytes() == sidecar(told, before, mark=Mark(model="toy-lstm"), name="flag")


def test_an_xmp_file_that_says_nothing_of_the_photo_is_no_reason_and_stays(command, folder):
    beside = folder / "flag.xmp"
    beside.write_bytes(sidecar(" ", name="flag"))
    (folder / "flag.png.xmp").write_bytes(b"")
    (folder / "strip.xmp").write_bytes(b"<damaged")
    (folder / "flag.png.png").write_bytes((folder / "tower.png").read_bytes())
    before = beside.read_bytes()
    only = (folder, "--include", "flag.png", "--include", "strip.jpg", "--include", "flag.png.png")
    status, lines, _ = command(*only, "--in-place", "--sidecar", "xmp", "--existing", "overwrite")
    told = captions(folder / "captions.jsonl")
    assert (status, len(told)) == (0, 3), lines
    assert beside.read_bytes() == before
    assert (folder / "strip.xmp").read_bytes() == b"<damaged"
    for name in told:  # flag.png.xmp is not the file that Lightroom would write for flag.png.png
        assert read_sidecar((folder / f"{name}.xmp").read_bytes(), name=name) == told[name]


def test_one_file_for_two_photos_gets_one_caption(command, folder):
    quarters().save(folder / "flag.jpg")
    (folder / "flag.xmp").write_bytes(sidecar("Rome", name="flag"))
    only = (folder, "--include", "flag.*", "--in-place", "--existing", "append")
    assert command(*only, "--batch-size", "1")[0] == 0
    told = captions(folder / "captions.jsonl")
    shared = read_sidecar((folder / "flag.xmp").read_bytes(), name="flag")
    assert shared in {f"Rome, {caption}" for caption in told.values()}
    assert len(told) == 2


def test_the_same_caption_elsewhere_is_no_reason_to_leave_a_photo_alone(folder):
    photo = Photo(name="flag.png", path=str(folder / "flag.png"))
    (folder / "flag.png.xmp").write_bytes(sidecar("a flag", name="flag"))
    target = Target(kind="photo")
    assert target.plan(photo, "a ship") == "flag.png.xmp exists"
    (change,) = target.plan(photo, "a flag")
    change.apply()
    assert read_caption((folder / "flag.png").read_bytes(), name="flag") == "a flag"


def test_a_photo_that_vanishes_before_its_caption_is_written_fails(folder):
    photo = Photo(name="gone.png", path=str(folder / "gone.png"))
    for kind in ("photo", "xmp"):
        target = Target(kind=kind)
        assert target.refuse(photo) is None
        with pytest.raises(FileNotFoundError, match=re.escape(photo.path)):
            target.plan(photo, "a flag")


def test_a_photo_keeps_the_time_it_was_changed(command, folder):
    times = {}
    for n, name in enumerate(NAMES):
        times[name] = 10**18 + n
        os.utime(folder / name, ns=(10**18, times[name]))
    command(folder, "--in-place")
    for name, time in times.items():
        assert (folder / name).stat().st_mtime_ns == time
        assert read_caption((folder / name).read_bytes(), name=name)


HUMAN = "Großmutter in Rom,\r\n1974"


@pytest.mark.parametrize("existing", ["append", "prepend"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF8, "utf-8"),
        (b"", "utf-8"),
    ],
)
def test_a_text_file_keeps_its_encoding_and_line_ends(command, folder, mark, encoding, existing):
    text = folder / "flag.txt"
    text.write_bytes(mark + (HUMAN + "\r\n").encode(encoding))
    command(folder, "--include", "flag.png", "--sidecar", "txt", "--existing", existing)
    told = captions(folder / "captions.jsonl")["flag.png"]
    joined = f"{HUMAN}, {told}" if existing == "append" else f"{told}, {HUMAN}"
    assert text.read_bytes() == mark + (joined + "\r\n").encode(encoding)


@pytest.mark.parametrize("existing", ["append", "prepend"])
@pytest.mark.parametrize("content", [HUMAN.encode("cp1252"), "my dog".encode("utf-16-le")])
def test_a_text_file_in_an_unknown_encoding_is_refused_and_stays(
    command, folder, content, existing
):
    text = folder / "flag.txt"
    text.write_bytes(content)
    only = (folder, "--include", "flag.png", "--sidecar", "txt")
    assert command(*only, "--dry-run")[1] == ["skip\tflag.png\tflag.txt exists"]
    status, _, errors = command(*only, "--existing", existing)
    assert (status, text.read_bytes()) == (1, content)
    assert errors == [
        "captioner: flag.png: flag.txt is not UTF-8 and has no byte order mark, so it was left "
        "alone; save it as UTF-8."
    ]


@pytest.mark.parametrize("blank", [b"\xff\xfe", " \r\n".encode("utf-16"), b"\xef\xbb\xbf\n", b"\0"])
def test_a_blank_text_file_is_not_a_caption(command, folder, blank):
    (folder / "flag.txt").write_bytes(blank)
    command(folder, "--include", "flag.png", "--sidecar", "txt")
    assert captions(folder / "captions.jsonl")["flag.png"]


def test_two_photos_never_share_a_sidecar(command, folder):
    quarters().save(folder / "flag.jpg")
    for _ in range(2):
        assert command(folder, "--sidecar", "txt", "--existing", "append")[0] == 0
    _, lines, _ = command(folder, "--sidecar", "txt", "--existing", "append", "--dry-run")
    told = captions(folder / "captions.jsonl")
    assert (folder / "flag.txt").read_text() == told["flag.jpg"] + "\n"
    assert "flag.png" not in told
    assert lines[1] == "skip\tflag.png\tflag.txt belongs to another photo of the same name"


def test_the_wording_is_the_users_own(command, folder):
    command(
        folder, "--include", "large.jpg", "--prefix", "a photo of ", "--suffix", ".",
        "--template", "{stem} in {folder}: {caption} {{{name}}}", "--sidecar", "txt",
    )  # fmt: skip
    (text,) = captions(folder / "captions.jsonl").values()
    assert text.startswith("large in more: a photo of ")
    assert text.endswith(". {large.jpg}")
    assert (folder / "more/large.txt").read_text() == text + "\n"


def test_a_folder_that_photos_lie_in_has_a_name_at_the_top_too(command, folder):
    command(folder, "--template", "{folder}/{name}")
    assert list(captions(folder / "captions.jsonl").values()) == [
        "photos/flag.png",
        "more/large.jpg",
        "photos/strip.jpg",
        "photos/tower.png",
    ]

"""Captions beside photos and in them, worded as the user likes."""

import pytest

from captioner.metadata import embed, read_caption, read_sidecar
from captioner.photo import load_photo
from tests.photos import noise, quarters
from tests.test_folder import NAMES, captions


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
    assert f"{4 - skipped} captioned, 0 captioned before, {skipped} skipped" in lines[0]
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
    assert lines[0].endswith("4 photos: 4 captioned, 0 captioned before, 0 skipped, 0 failed")
    told = captions(folder / "captions.jsonl")
    for name in NAMES:
        photo = folder / name
        assert read_caption(photo.read_bytes(), name=name) == told[name]
        assert read_sidecar((folder / f"{name}.xmp").read_bytes(), name=name) == told[name]
        assert photo.with_suffix(".txt").read_text() == told[name] + "\n"
        assert load_photo(photo).tobytes() == before[name]


def test_what_cannot_hold_its_caption_has_it_in_a_sidecar_or_fails(command, folder):
    gif, flag = folder / "old.gif", folder / "flag.png"
    noise().save(gif)
    flag.chmod(0o444)
    before = {path: path.read_bytes() for path in (gif, flag)}
    only = (folder, "--in-place", "--include", "old.gif", "--include", "flag.png")
    status, lines, errors = command(*only)
    assert status == 1
    assert "0 captioned, 0 captioned before, 0 skipped, 2 failed" in lines[0]
    assert errors == [
        "captioner: flag.png: flag.png is read-only, and stays as it is; allow writing it (chmod "
        "u+w), or choose another place for captions.",
        "captioner: old.gif: captions can be written into JPEG, PNG and WebP files only; write a "
        "sidecar.",
    ]
    status, lines, errors = command(*only, "--sidecar", "xmp", "--overwrite", "--existing", "skip")
    assert (status, len(errors)) == (1, 1), "the read-only photo fails, as a whole"
    told = captions(folder / "captions.jsonl")
    assert read_sidecar((folder / "old.gif.xmp").read_bytes(), name="x") == told["old.gif"]
    assert not (folder / "flag.png.xmp").exists()
    assert {path: path.read_bytes() for path in (gif, flag)} == before


def test_each_file_keeps_or_joins_the_caption_it_has(command, folder):
    flag = folder / "flag.png"
    flag.write_bytes(embed(flag.read_bytes(), "a flag", name="flag"))
    only = (folder, "--include", "flag.png", "--include", "strip.jpg")
    _, lines, _ = command(*only, "--in-place", "--dry-run")
    assert lines == ["skip\tflag.png\tit has a caption already", "caption\tstrip.jpg"]
    _, lines, _ = command(*only, "--in-place", "--sidecar", "xmp")
    assert "2 captioned, 0 captioned before, 0 skipped" in lines[0]
    told = captions(folder / "captions.jsonl")["flag.png"]
    assert read_caption(flag.read_bytes(), name="flag") == "a flag"
    assert read_sidecar((folder / "flag.png.xmp").read_bytes(), name="flag") == told
    command(*only, "--in-place", "--existing", "prepend", "--separator", " | ", "--overwrite")
    assert read_caption(flag.read_bytes(), name="flag") == f"{told} | a flag"


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

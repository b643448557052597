"""What captioner wrote is known again, replaced alone, and taken out again; alt text."""

import json
import shutil
import subprocess

import pytest

from captioner.folder.sidecars.changes import Change
from captioner.metadata import (
    Mark,
    alt_text,
    embed,
    read_captions,
    read_sidecar_captions,
    read_sidecar_digests,
    sidecar,
    text_digest,
)
from tests.test_folder import captions, records


class Killed(BaseException):
    """The end of a process, as far as a test of one can tell."""


ONLY = ("--include", "flag.png", "--include", "strip.jpg")
AGAIN = ("--overwrite", "--existing", "own", "--prefix", "new: ")


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("captions.")
    }


def test_own_captions_are_replaced_and_edited_ones_stay(command, folder):
    command(folder, "--in-place", "--sidecar", "txt", "--sidecar", "xmp")
    first = captions(folder / "captions.jsonl")
    (folder / "flag.txt").write_text("my flag\n")
    photo = folder / "strip.jpg"
    photo.write_bytes(embed(photo.read_bytes(), "my strip", name="p"))
    (folder / "tower.png.xmp").write_bytes(sidecar("my tower", name="p"))
    kept = (folder / "tower.png").read_bytes()

    targets = ("--in-place", "--sidecar", "txt", "--sidecar", "xmp")
    status, _, errors = command(folder, *targets, *AGAIN)
    assert status == 0, errors
    told = captions(folder / "captions.jsonl")
    assert all(told[name] == f"new: {first[name]}" for name in told)
    assert (folder / "flag.txt").read_text() == "my flag\n"
    assert read_captions((folder / "flag.png").read_bytes(), name="p") == [told["flag.png"]]
    assert (folder / "strip.txt").read_text() == f"{told['strip.jpg']}\n"
    assert read_captions(photo.read_bytes(), name="p") == ["my strip"]
    assert read_sidecar_captions((folder / "strip.jpg.xmp").read_bytes(), name="p") == [
        first["strip.jpg"]  # beside a caption of somebody's it is left as it is
    ]
    assert (folder / "tower.png").read_bytes() == kept
    assert read_sidecar_captions((folder / "more/large.jpg.xmp").read_bytes(), name="p") == [
        told["more/large.jpg"]
    ]


def test_marks_are_enough_to_know_own_captions_without_a_journal(command, folder, tmp_path):
    command(folder, "--in-place", *ONLY)
    strip = folder / "strip.jpg"
    strip.write_bytes(embed(strip.read_bytes(), "my strip", name="p"))
    other = tmp_path / "other.jsonl"
    status, lines, _ = command(
        folder, *ONLY, "--in-place", "--existing", "own", "--prefix", "new: ", "--output", other
    )
    assert status == 0
    assert lines[0].endswith("2 photos: 1 captioned, 0 already captioned, 1 skipped, 0 failed")
    flag = captions(other)["flag.png"]
    assert flag.startswith("new: ")
    assert read_captions((folder / "flag.png").read_bytes(), name="p") == [flag]
    assert read_captions(strip.read_bytes(), name="p") == ["my strip"]


def test_a_text_joined_to_a_human_caption_is_not_replaced(command, folder):
    for name in ("flag.txt", "strip.txt"):
        (folder / name).write_text("trigger\n")
    command(folder, *ONLY, "--sidecar", "txt", "--existing", "append")
    joined = (folder / "flag.txt").read_text()
    assert joined.startswith("trigger, ")
    command(folder, *ONLY, "--sidecar", "txt", *AGAIN)
    assert (folder / "flag.txt").read_text() == joined


def test_the_journal_says_what_was_written(command, folder):
    (folder / "flag.txt").write_text("trigger\n")
    command(folder, *ONLY, "--sidecar", "txt", "--in-place", "--existing", "append")
    for record in records(folder / "captions.jsonl"):
        stem = record["image"].partition(".")[0]
        had = {"had": "trigger"} if stem == "flag" else {}
        text = "trigger, " * bool(had) + record["caption"]
        assert record["files"] == sorted(
            [
                {"file": f"{stem}.txt", "kind": "txt", "digest": text_digest(text), **had},
                {
                    "file": record["image"],
                    "kind": "photo",
                    "digest": text_digest(record["caption"]),
                },
            ],
            key=lambda file: file["file"],
        )


def test_revert_restores_all_files_of_a_run(command, folder):
    (folder / "flag.txt").write_text("trigger\n")
    (folder / "strip.jpg.xmp").write_bytes(sidecar("", name="p"))
    tower = folder / "tower.png"
    tower.write_bytes(embed(tower.read_bytes(), "my tower", name="p"))
    before = snapshot(folder)
    options = ("--in-place", "--sidecar", "txt", "--sidecar", "xmp", "--sidecar", "caption")
    command(folder, *options, "--existing", "append")
    assert len(snapshot(folder)) == 4 * 4
    status, lines, errors = command(folder, "--revert")
    assert (status, errors) == (0, [])
    assert lines == [f"{folder / 'captions.jsonl'}: files restored: 16, left unchanged: 0"]
    after = snapshot(folder)
    assert after.keys() - {"strip.jpg.xmp"} == before.keys() - {"strip.jpg.xmp"}
    assert after["flag.txt"] == before["flag.txt"]
    assert read_captions(after["tower.png"], name="p") == ["my tower"]
    for name in ("flag.png", "strip.jpg", "more/large.jpg"):
        assert read_captions(after[name], fields="both", name="p") == []
    assert all("files" not in record for record in records(folder / "captions.jsonl"))
    assert command(folder, "--revert")[:2] == (
        0,
        [f"{folder / 'captions.jsonl'}: files restored: 0, left unchanged: 0"],
    )
    assert snapshot(folder) == after


def test_what_was_edited_since_stays_and_is_named(command, folder):
    options = ("--sidecar", "txt", "--sidecar", "xmp")
    command(folder, *ONLY, *options, "--output", folder / "captions.csv")
    (folder / "flag.txt").write_text("my flag\n")
    (folder / "strip.jpg.xmp").write_bytes(
        sidecar("my strip", (folder / "strip.jpg.xmp").read_bytes(), name="p")
    )
    status, lines, errors = command(folder, "--revert")
    assert (status, errors) == (1, [
        "captioner: flag.png: flag.txt kept: edited since it was written.",
        "captioner: strip.jpg: strip.jpg.xmp kept: edited since it was written.",
    ])  # fmt: skip
    assert lines == [f"{folder / 'captions.jsonl'}: files restored: 2, left unchanged: 2"]
    assert (folder / "flag.txt").read_text() == "my flag\n"
    assert not (folder / "flag.png.xmp").exists()
    assert not (folder / "strip.txt").exists()
    assert [file["file"] for file in records(folder / "captions.jsonl")[0]["files"]] == ["flag.txt"]


def test_revert_keeps_captions_that_people_edited_in_tables(command, folder):
    table = folder / "captions.csv"
    command(folder, *ONLY, "--sidecar", "txt", "--output", table)
    old = captions(folder / "captions.jsonl")["flag.png"]
    table.write_text(table.read_text(encoding="utf-8-sig").replace(old, "my flag", 1))
    command(folder, *ONLY, "--sidecar", "txt", "--output", table)
    assert (folder / "flag.txt").read_text() == "my flag\n"
    status, _, errors = command(folder, "--revert")
    assert status == 1
    assert errors == ["captioner: flag.png: flag.txt kept: its caption was written by a person."]
    assert not (folder / "strip.txt").exists()


@pytest.mark.parametrize("place", range(1, 6, 2))
def test_a_revert_that_was_killed_is_completed_by_the_next(command, folder, monkeypatch, place):
    for name in ("flag.txt", "strip.txt"):
        (folder / name).write_text("trigger\n")
    before = {name: (folder / name).read_bytes() for name in ("flag.txt", "strip.txt")}
    options = ("--in-place", "--sidecar", "txt", "--sidecar", "xmp", "--existing", "append")
    command(folder, *ONLY, *options)
    applied, apply = [], Change.apply

    def dying(change):
        applied.append(change)
        if len(applied) == place:
            raise Killed
        apply(change)

    with monkeypatch.context() as patched:
        patched.setattr(Change, "apply", dying)
        with pytest.raises(Killed):
            command(folder, "--revert")
    assert command(folder, "--revert")[0] == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert not list(folder.glob("*.xmp"))
    for name in ("flag.png", "strip.jpg"):
        assert read_captions((folder / name).read_bytes(), name="p") == []
    assert all("files" not in record for record in records(folder / "captions.jsonl"))
    assert not (folder / "captions.pending.json").exists()


@pytest.mark.parametrize(
    "second", [("--alt-text", "only"), ("--alt-text",), ("--alt-text", "--existing", "overwrite")]
)
def test_revert_removes_what_several_runs_wrote_into_one_file(command, folder, second):
    flag = folder / "flag.png"
    flag.write_bytes(embed(flag.read_bytes(), "my flag", name="p"))
    options = (*ONLY, "--in-place", "--sidecar", "lightroom")
    command(folder, *options, "--existing", "append")
    assert command(folder, *options, *second)[0] == 0
    told = captions(folder / "captions.jsonl")["flag.png"]
    content = flag.read_bytes()
    joined = told if "overwrite" in second else f"my flag, {told}"
    assert read_captions(content, name="p") == [joined]
    assert read_captions((folder / "strip.jpg").read_bytes(), fields="both", name="p") != []
    status, _, errors = command(folder, "--revert")
    assert (status, errors) == (0, [])
    assert read_captions(flag.read_bytes(), fields="both", name="p") == ["my flag"]
    assert read_captions((folder / "strip.jpg").read_bytes(), fields="both", name="p") == []
    assert not list(folder.glob("*.xmp"))


def test_revert_needs_captions_of_a_folder(command, folder):
    status, _, errors = command(folder, "--revert")
    assert (status, errors) == (2, [
        f"captioner: {folder / 'captions.jsonl'}: no journal of an earlier run; use the --output "
        "of that run.",
    ])  # fmt: skip


@pytest.mark.parametrize("mode", ["also", "only"])
def test_alt_text_is_written_beside_the_caption_or_alone(command, folder, mode):
    long = "a sentence that goes on and on " * 6
    options = ("--in-place", "--sidecar", "lightroom", "--sidecar", "txt", "--suffix", long)
    status, _, errors = command(folder, *ONLY, *options, "--alt-text", mode)
    assert (status, errors) == (0, [])
    for name, told in captions(folder / "captions.jsonl").items():
        alone = [] if mode == "only" else [told.strip()]
        stem = name.partition(".")[0]
        assert (folder / f"{stem}.txt").read_text().strip() == told.strip()
        beside = (folder / f"{stem}.xmp").read_bytes()
        for read, content in ((read_captions, (folder / name).read_bytes()),
                              (read_sidecar_captions, beside)):  # fmt: skip
            assert [text.strip() for text in read(content, name="p")] == alone
            assert read(content, fields="alt-text", name="p") == [alt_text(told)]
            assert len(alt_text(told)) <= 125
        assert text_digest(alt_text(told)) in read_sidecar_digests(beside, name="p")
        if shutil.which("exiftool"):
            out = subprocess.run(
                ["exiftool", "-s3", "-XMP-iptcCore:AltTextAccessibility", folder / name],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert out.stdout == f"{alt_text(told)}\n"
    assert command(folder, *ONLY, *options, "--alt-text", mode)[1][0].endswith(
        "2 photos: 0 captioned, 2 already captioned, 0 skipped, 0 failed"
    )
    assert command(folder, "--revert")[0] == 0
    assert not list(folder.glob("*.xmp"))
    for name in ("flag.png", "strip.jpg"):
        assert read_captions((folder / name).read_bytes(), fields="both", name="p") == []


def test_a_human_caption_does_not_prevent_alt_text(command, folder):
    flag = folder / "flag.png"
    flag.write_bytes(embed(flag.read_bytes(), "my flag", name="p"))
    strip = folder / "strip.jpg"
    strip.write_bytes(embed(strip.read_bytes(), "my alt", fields="alt-text", mark=None, name="p"))
    status, lines, _ = command(folder, *ONLY, "--in-place", "--alt-text", "only")
    assert status == 0
    assert lines[0].endswith("2 photos: 1 captioned, 0 already captioned, 1 skipped, 0 failed")
    told = captions(folder / "captions.jsonl")["flag.png"]
    content = flag.read_bytes()
    assert read_captions(content, name="p") == ["my flag"]
    assert read_captions(content, fields="alt-text", name="p") == [alt_text(told)]
    assert read_captions(strip.read_bytes(), fields="alt-text", name="p") == ["my alt"]


def test_alt_text_can_be_added_later(command, folder):
    command(folder, *ONLY, "--in-place")
    assert command(folder, *ONLY, "--in-place", "--alt-text")[0] == 0
    for name, told in captions(folder / "captions.jsonl").items():
        content = (folder / name).read_bytes()
        assert read_captions(content, name="p") == [told]
        assert read_captions(content, fields="alt-text", name="p") == [alt_text(told)]


def test_files_of_lightroom_and_kohya_are_beside_the_photo(command, folder):
    shutil.copy(folder / "strip.jpg", folder / "flag.jpg")
    only = ("--include", "flag.*", "--sidecar", "lightroom", "--sidecar", "caption")
    status, _, errors = command(folder, *only)
    reason = "flag.caption belongs to another photo of the same name"
    assert (status, errors) == (0, [f"captioner: skipped flag.png: {reason}."])
    told = captions(folder / "captions.jsonl")
    assert list(told) == ["flag.jpg"]
    assert (folder / "flag.caption").read_text() == f"{told['flag.jpg']}\n"
    packet = (folder / "flag.xmp").read_bytes()
    assert packet == sidecar(told["flag.jpg"], mark=Mark(model="toy-lstm"), name="p")
    assert json.loads((folder / "captions.jsonl").read_text())["also_in"] == [
        "caption", "lightroom",
    ]  # fmt: skip

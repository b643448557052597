"""`captions.failed.jsonl`, and trying again what is in it."""

import tarfile

from tests.photos import quarters
from tests.test_folder import NAMES, captions, records


def fill(archive, folder, *names):
    with tarfile.open(archive, "w") as tar:
        for name in names:
            tar.add(folder / name, name)


def test_trying_again_takes_the_photos_of_an_archive_that_was_broken_and_no_others(command, folder):
    shard = folder / "shard.tar"
    shard.write_bytes(b"no archive")
    assert command(folder)[0] == 1
    fill(shard, folder, "flag.png", "strip.jpg")
    quarters().save(folder / "new.png")
    _, lines, _ = command(folder, "--retry-failed", "--dry-run")
    assert [line.partition("\t")[0] for line in lines] == [
        "done", "done", "skip", "caption", "caption", "done", "done",
    ]  # fmt: skip
    status, lines, _ = command(folder, "--retry-failed")
    assert status == 0
    assert lines[0].endswith("7 photos: 2 captioned, 4 already captioned, 1 skipped, 0 failed")
    told = captions(folder / "captions.jsonl")
    assert list(told) == [*NAMES, "shard.tar/flag.png", "shard.tar/strip.jpg"]
    assert not (folder / "captions.failed.jsonl").exists()


def test_an_archive_given_in_place_of_a_folder_is_tried_again_too(command, folder, tmp_path):
    shard = tmp_path / "shard.tar"
    fill(shard, folder, "flag.png", "strip.jpg")
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        second = tar.getmembers()[1].offset
    shard.write_bytes(whole[: second + 600])  # inside the second photo
    assert command(shard)[0] == 1
    shard.write_bytes(whole)
    assert command(shard, "--retry-failed")[0] == 0
    assert list(captions(tmp_path / "shard.captions.jsonl")) == ["flag.png", "strip.jpg"]


def test_a_photo_that_failed_and_is_deleted_leaves_the_report(command, folder, tmp_path):
    for name in ("gone.png", "here.png"):
        (folder / name).write_bytes(b"")
    assert command(folder)[0] == 1
    (folder / "gone.png").unlink()
    for chosen in ((), ("--include", "flag.png")):
        command(folder, *chosen)
        (failed,) = records(folder / "captions.failed.jsonl")
        assert failed["image"] == "here.png"
    (tmp_path / "list.txt").write_text("none.png\n")
    listed = (folder, "--list", tmp_path / "list.txt", "--output", tmp_path / "c.jsonl")
    for _ in range(2):  # what is asked for by name and is not there stays
        assert command(*listed)[0] == 1
        assert records(tmp_path / "c.failed.jsonl")[0]["image"] == "none.png"


def test_a_photo_listed_twice_has_the_same_outcome_twice(command, folder, tmp_path):
    (folder / "bad.png").write_bytes(b"")
    (tmp_path / "list.txt").write_text("bad.png\nbad.png\nflag.png\nflag.png\n")
    _, lines, errors = command(
        folder, "--list", tmp_path / "list.txt", "--output", tmp_path / "c.jsonl",
        "--batch-size", 8,
    )  # fmt: skip
    assert lines[0].endswith("4 photos: 1 captioned, 1 already captioned, 0 skipped, 2 failed")
    assert len(errors) == 1
    assert len(records(tmp_path / "c.jsonl")) == 2


def test_a_photo_found_under_two_names_is_captioned_once(command, folder, tmp_path):
    (folder / "link.png").symlink_to("flag.png")
    (tmp_path / "list.txt").write_text("flag.png\n./flag.png\nlink.png\n")
    for existing in ("append", "prepend"):
        (folder / "flag.txt").write_text("sks dog")
        output = tmp_path / f"{existing}.jsonl"
        listed = ("--list", tmp_path / "list.txt", "--output", output, "--batch-size", 1)
        assert command(folder, *listed, "--sidecar", "txt", "--existing", existing)[0] == 0
        text = captions(output)["flag.png"]
        expected = {"append": f"sks dog, {text}\n", "prepend": f"{text}, sks dog\n"}
        assert (folder / "flag.txt").read_text() == expected[existing]

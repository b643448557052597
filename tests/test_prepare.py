import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from data.coco import Record, load_records
from data.image_source import ImageSource
from data.overlap import find_shared
from data.prepare.__main__ import main
from data.prepare.shard_plan import ShardSettings, plan_shards
from tests.photos import noise

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Twelve photos, and captions of which some are Arabic."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = ["image,caption,split"]
    for number in range(12):
        noise(30, 40, seed=number).save(photos / f"{number}.jpg")
        split = "val" if number % 4 == 3 else "train"
        rows += [f"{number}.jpg,photo {number},{split}", f"{number}.jpg,صورة,{split}"]
    (tmp_path / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def prepare(place: Path, *options: str, output: str = "shards") -> int:
    arguments = [str(place / "captions.csv"), "--root", str(place / "photos")]
    return main([*arguments, "--output", str(place / output), "--workers", "1", *options])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# Shards


def test_shards_are_what_training_reads(mine, capsys):
    assert prepare(mine, "--photos", "4") == 0
    shards = mine / "shards"
    names = ["train-00000", "train-00001", "train-00002", "val-00000"]
    assert list(files(shards)) == ["captions.jsonl", "manifest.json", *(f"{n}.tar" for n in names)]
    before = {r.image: r for r in load_records(mine / "captions.csv")}
    after = {r.image: r for r in load_records(shards / "captions.jsonl")}
    assert after == before
    source = ImageSource(shards)
    assert sorted(source.names()) == sorted([*before, "captions.jsonl", "manifest.json"])
    for name in before:
        assert source.read(name) == (mine / "photos" / name).read_bytes()
    out, err = capsys.readouterr()
    assert out == f'annotations = "{shards / "captions.jsonl"}"\nimages = ["{shards}"]\n'
    assert err.splitlines()[:2] == ["9 train, 3 val", "train-00000.tar  4 photos, 0.0 MB  1/4"]
    manifest = json.loads((shards / "manifest.json").read_text())
    assert [(s["split"], s["photos"], s["captions"]) for s in manifest["shards"]] == [
        ("train", 4, 8),
        ("train", 4, 8),
        ("train", 1, 2),
        ("val", 3, 6),
    ]
    assert all(s["bytes"] == (shards / s["name"]).stat().st_size for s in manifest["shards"])


def test_numbers_of_rows_stay_such_in_shards(mine):
    """Otherwise shards of two tables would seem to hold the same photos."""
    sets = []
    for split, seed in (("train", 1), ("val", 2)):
        photos = mine / split
        photos.mkdir()
        noise(30, 40, seed=seed).save(photos / "0001.jpg")
        (mine / f"{split}.csv").write_text(f"image,caption,split\n0001.jpg,a,{split}\n")
        shards = mine / f"{split}_shards"
        assert main([str(mine / f"{split}.csv"), "--root", str(photos)]) == 0
        sets += [load_records(shards / "captions.jsonl"), ImageSource(shards)]
    assert find_shared(*sets) == []


def test_webdataset_reads_the_shards(mine):
    prepare(mine, "--photos", "20")
    program = (  # in a process of its own: it leaves files open
        "import json, sys, webdataset; shard = webdataset.WebDataset(sys.argv[1], "
        "shardshuffle=False); print(json.dumps([{k: v.hex() if isinstance(v, bytes) else str(v) "
        "for k, v in sample.items()} for sample in shard]))"
    )
    run = [sys.executable, "-c", program, str(mine / "shards" / "train-00000.tar")]
    samples = json.loads(subprocess.run(run, capture_output=True, check=True).stdout)
    assert len(samples) == 9
    numbers = [int(sample["__key__"]) for sample in samples]
    assert sorted(numbers) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert numbers != sorted(numbers)  # a shard is a sample
    for number, sample in zip(numbers, samples, strict=True):
        assert sample["jpg"] == (mine / "photos" / f"{number}.jpg").read_bytes().hex()
        told = json.loads(bytes.fromhex(sample["json"]))
        assert told["captions"] == [f"photo {number}", "صورة"]
        assert (told["image"], told["image_id"], told["split"]) == (
            f"{number}.jpg",
            number,
            "train",
        )


def test_the_same_photos_give_the_same_bytes_with_any_number_of_workers(mine):
    prepare(mine, "--photos", "4", "--short-side", "16")
    prepare(mine, "--photos", "4", "--short-side", "16", "--workers", "2", output="again")
    assert files(mine / "again") == files(mine / "shards")


def start(place: Path, output: str) -> subprocess.Popen:
    program = [sys.executable, "-m", "data.prepare", place / "captions.csv"]
    options = ["--root", place / "photos", "--output", place / output]
    options += ["--photos", "3", "--short-side", "100", "--workers", "2"]
    return subprocess.Popen(
        [*program, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_killed_run_resumes_and_leaves_no_process_and_no_trace(mine):
    for number in range(12):  # large enough to be interrupted at
        noise(900, 1200, seed=number).save(mine / "photos" / f"{number}.jpg")
    peace = start(mine, "peace")
    peace.communicate()
    assert peace.returncode == 0
    killed = 0
    for wait in (0.0, 0.02, 0.05):
        process = start(mine, "killed")
        known = set((mine / "killed").glob("*")) if (mine / "killed").exists() else set()
        while process.poll() is None:
            if set((mine / "killed").glob("*.tar")) - known:
                time.sleep(wait)
                killed += process.poll() is None
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()  # ends when the workers, who hold the other ends, are gone too
    assert killed
    last = start(mine, "killed")
    _, err = last.communicate()
    assert last.returncode == 0
    assert b"shards exist already" in err
    assert files(mine / "killed") == files(mine / "peace")


def test_shards_of_other_settings_or_captions_are_not_mixed(mine, capsys):
    prepare(mine)
    assert prepare(mine, "--short-side", "20") == 1
    (mine / "captions.csv").write_text("image,caption\n0.jpg,something else\n")
    assert prepare(mine) == 1
    err = capsys.readouterr().err.splitlines()
    told = [line for line in err if line.startswith("error")]
    assert told == [
        f"error: {mine}/shards holds shards made with other {what}; choose another folder with "
        "--output, or delete this one."
        for what in ("short_side", "captions or photos")
    ]


def test_shards_of_a_photo_that_was_replaced_since_are_not_kept(mine, capsys):
    prepare(mine)
    shards, photo = files(mine / "shards"), mine / "photos" / "7.jpg"
    prepare(mine)
    assert "2 of 2 shards exist already" in capsys.readouterr().err
    content = photo.read_bytes()
    photo.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    assert prepare(mine) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {mine}/shards holds shards made with other captions or photos; choose another "
        "folder with --output, or delete this one."
    )
    assert files(mine / "shards") == shards


def test_archives_of_somebody_else_are_left_alone(mine, capsys):
    (mine / "shards").mkdir()
    (mine / "shards" / "holiday.tar").write_bytes(b"")
    assert prepare(mine) == 1
    assert "holds archives that were not made by data.prepare" in capsys.readouterr().err
    assert sorted(files(mine / "shards")) == ["holiday.tar"]


def test_a_broken_photo_is_named_and_the_shards_before_it_stay(mine, capsys):
    (mine / "photos" / "7.jpg").write_bytes((mine / "photos" / "7.jpg").read_bytes()[:300])
    assert prepare(mine, "--photos", "3") == 1
    assert "error: 7.jpg: damaged or cut short" in capsys.readouterr().err
    assert "train-00000.tar" in files(mine / "shards")
    assert not any(name.endswith("unfinished") for name in files(mine / "shards"))


def test_a_full_disk_is_reported(mine, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert prepare(mine) == 1
    assert "cannot be written: No space left on device. Make room" in capsys.readouterr().err
    assert list((mine / "shards").iterdir()) == []


def test_shards_do_not_lie_among_the_photos(mine, capsys):
    assert prepare(mine, output="photos/shards") == 1
    assert "lies inside" in capsys.readouterr().err


def test_a_missing_caption_file_is_not_taken_for_a_data_set(mine, capsys):
    assert main(["coca", "--root", str(mine)]) == 1
    assert capsys.readouterr().err == (
        "error: Caption file coca does not exist, and no known data set (coco, flickr8k, "
        "flickr30k) has this name; check the path.\n"
    )


def test_no_two_photos_share_a_name_and_no_name_has_a_dot():
    names = ["a.b.jpg", "a_b.png", "x/a.b.jpg", "../up.jpg", "/root.jpg", ".jpg", "猫.jpg"]
    records = [
        Record(image=name, image_id=n, captions=("x",), split="train")
        for n, name in enumerate(names)
    ]
    (shard,) = plan_shards(records, ShardSettings())
    keys = {r.image: key for r, key in zip(shard.records, shard.keys, strict=True)}
    assert [keys[name] for name in names] == ["a_b", "a_b_2", "x/a_b", "up", "root", "_jpg", "猫"]


# Photos


# Checks alone


def test_a_checked_data_set_writes_nothing(mine, capsys):
    assert prepare(mine, "--check") == 0
    assert "all photos exist and can be read, and none is in two splits" in capsys.readouterr().err
    assert not (mine / "shards").exists()


def test_a_check_logs_its_progress_without_a_terminal(mine, capsys, monkeypatch):
    monkeypatch.setattr("data.progress.LOG_SECONDS", 0.0)
    assert prepare(mine, "--check") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("opening: 1 of ")
    assert lines[-2].startswith("opening: ")
    assert lines[-2].endswith(" photos, 0 s left")


def test_a_check_lists_all_faults(mine, capsys):
    photos = mine / "photos"
    whole = {name: (photos / name).read_bytes() for name in ("2.jpg", "3.jpg")}
    (photos / "1.jpg").write_bytes(b"no photo")
    (photos / "2.jpg").unlink()
    (photos / "3.jpg").write_bytes((photos / "8.jpg").read_bytes())  # 3 is val, 8 is train
    assert prepare(mine, "--check") == 1
    said = capsys.readouterr().err.partition("error: ")[2].splitlines()
    assert said[0] == "3 problems:"
    assert said[1].startswith("1.jpg: not an image")
    assert said[2].startswith("Image '2.jpg' is not in ")
    assert said[3] == "8.jpg of split train is also 3.jpg of split val; remove one of them."
    for name, content in whole.items():
        (photos / name).write_bytes(content)
    assert prepare(mine, "--check") == 1
    assert capsys.readouterr().err.partition("error: ")[2].startswith("1 problem:\n1.jpg: ")


def said_by_check(mine, capsys, captions="captions.json") -> list[str]:
    """Lines of the error, with the caption file as FILE."""
    arguments = [str(mine / captions), "--root", str(mine / "photos"), "--check"]
    assert main([*arguments, "--workers", "1"]) == 1
    said = capsys.readouterr().err.partition("error: ")[2]
    return said.replace(str(mine / captions), "FILE").splitlines()


def test_a_check_lists_faults_of_captions_and_of_photos_together(mine, capsys):
    names = [*(f"{n}.jpg" for n in range(12)), "3.jpg"]
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    images.append({"id": 4, "file_name": "extra.jpg"})
    said = [{"id": n, "image_id": n, "caption": "a"} for n in range(13) if n != 5]
    said += [{"id": 77, "image_id": 99, "caption": "b"}, {"id": 78, "image_id": 98, "caption": "b"}]
    (mine / "captions.json").write_text(json.dumps({"images": images, "annotations": said}))
    noise(30, 40, seed=50).save(mine / "photos" / "extra.jpg")
    for number in (0, 5, 7):
        path = mine / "photos" / f"{number}.jpg"
        path.write_bytes(path.read_bytes()[:300])
    lines = said_by_check(mine, capsys)
    damaged = [line.partition(":")[0] for line in lines[6:]]
    assert lines[:6] == [
        "8 problems:",
        "FILE: image 99 of annotation 77 is not listed; add the image, or remove its annotations.",
        "FILE: image 98 of annotation 78 is not listed; add the image, or remove its annotations.",
        "FILE, image 5: image '5.jpg' has no captions; add one, or remove the image from the file.",
        "FILE: '3.jpg' is listed twice (image 3 and image 12); move all its captions to one of "
        "them.",
        "FILE: '4.jpg' (image 4) and 'extra.jpg' (image 4) share the id 4; give each image its "
        "own.",
    ]
    assert damaged == ["0.jpg", "5.jpg", "7.jpg"]


def test_a_check_lists_any_number_of_faults(mine, capsys):
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(1500)]
    (mine / "captions.json").write_text(json.dumps({"images": images, "annotations": []}))
    lines = said_by_check(mine, capsys)
    assert lines[0] == "2988 problems:"
    assert [line.partition(":")[0] for line in lines[1:1501]] == [
        f"FILE, image {n}" for n in range(1500)
    ]
    assert [line.split("'")[1] for line in lines[1501:]] == [f"{n}.jpg" for n in range(12, 1500)]


def test_a_check_names_every_photo_that_equals_one_of_another_split(mine, capsys):
    photos = mine / "photos"
    for number in (3, 7):  # of val; 8 is of train
        (photos / f"{number}.jpg").write_bytes((photos / "8.jpg").read_bytes())
    assert said_by_check(mine, capsys, "captions.csv") == [
        "2 problems:",
        *(
            f"8.jpg of split train is also {number}.jpg of split val; remove one of them."
            for number in (3, 7)
        ),
    ]


def test_a_check_goes_on_after_a_photo_that_cannot_be_read(mine, capsys):
    packed = mine / "photos" / "all.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((mine / "photos").glob("*.jpg")):
            archive.write(path, path.name)
            path.unlink()
        places = {info.filename: info.header_offset for info in archive.infolist()}
    content = bytearray(packed.read_bytes())
    for name in ("1.jpg", "8.jpg"):
        start = places[name] + 30 + len(name)
        content[start : start + 8] = b"\xff" * 8
    packed.write_bytes(content)
    arguments = [str(mine / "captions.csv"), "--root", str(packed), "--check", "--workers", "1"]
    assert main(arguments) == 1
    lines = capsys.readouterr().err.partition("error: ")[2].splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "2 problems", *(f"Image '{n}.jpg' cannot be read" for n in (1, 8))
    ]  # fmt: skip


def test_a_check_lists_all_damaged_archives(mine, capsys):
    captions = (mine / "captions.csv").read_text().replace("0.jpg,photo 0", "0.jpg,")
    (mine / "captions.csv").write_text(captions.replace("0.jpg,صورة", "0.jpg,"))
    for name in ("a.tar", "b.tar", "c.tar"):
        with tarfile.open(mine / "photos" / name, "w", format=tarfile.USTAR_FORMAT) as archive:
            archive.add(mine / "photos" / "2.jpg", f"{name}.jpg")
    for name in ("a.tar", "c.tar"):
        (mine / "photos" / name).write_bytes((mine / "photos" / name).read_bytes()[:700])
    photos = mine / "photos"
    assert said_by_check(mine, capsys, "captions.csv") == [
        "3 problems:",
        "FILE, line 2: image '0.jpg' has no captions; add one, or remove the image from the file.",
        *(
            f"{photos}/{name}: damaged tar archive (it ends inside {name}.jpg); download it again."
            for name in ("a.tar", "c.tar")
        ),
    ]


def test_a_check_of_rows_that_cannot_be_used_prints_their_faults_alone(mine, capsys):
    (mine / "captions.csv").write_text("image,caption\n0.jpg,a,b\n1.jpg\n")
    assert prepare(mine, "--check") == 1
    assert capsys.readouterr().err.replace(str(mine), "HERE").splitlines() == [
        "error: 2 problems:",
        *(
            f"HERE/captions.csv, line {line}: the header has 2 columns, this row {columns}. Quote "
            "captions that contain commas."
            for line, columns in ((2, 3), (3, 1))
        ),
    ]

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from captioner.errors import ConfigError, DataError, ImageError
from captioner.photo import load_photo
from data.archives import ImageSource
from data.coco import Record, load_records
from data.prepare.__main__ import main
from data.prepare.checks import find
from data.prepare.known import ANNOTATIONS, KNOWN, DataSet
from data.prepare.photos import pack
from data.prepare.plan import ShardSettings, plan
from tests.photos import encode, noise, quarters, turned

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


def test_a_killed_run_goes_on_and_leaves_no_process_and_no_trace(mine):
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
    assert b"shards are there already" in err
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


def test_a_full_disk_is_told(mine, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert prepare(mine) == 1
    assert "cannot be written: No space left on device. Make room" in capsys.readouterr().err
    assert list((mine / "shards").iterdir()) == []


def test_shards_do_not_lie_among_the_photos(mine, capsys):
    assert prepare(mine, output="photos/shards") == 1
    assert "lies inside" in capsys.readouterr().err


def test_captions_that_are_no_file_are_told_apart_from_data_sets(mine, capsys):
    assert main(["coca", "--root", str(mine)]) == 1
    assert capsys.readouterr().err == (
        "error: 'coca' is neither a data set that is known (coco, flickr8k, flickr30k) nor a file "
        "of captions.\n"
    )


def test_no_two_photos_share_a_name_and_no_name_has_a_dot():
    names = ["a.b.jpg", "a_b.png", "x/a.b.jpg", "../up.jpg", "/root.jpg", ".jpg", "猫.jpg"]
    records = [
        Record(image=name, image_id=n, captions=("x",), split="train")
        for n, name in enumerate(names)
    ]
    (shard,) = plan(records, ShardSettings())
    keys = {r.image: key for r, key in zip(shard.records, shard.keys, strict=True)}
    assert [keys[name] for name in names] == ["a_b", "a_b_2", "x/a_b", "up", "root", "_jpg", "猫"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_side": -1}, "short_side is -1; it must be 0 to 10000."),
        ({"quality": 96}, "quality is 96; it must be 1 to 95."),
        ({"photos": 0}, "photos is 0; it must be 1 or more."),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        ShardSettings(**settings)
    assert str(error.value) == message


# Photos


def test_a_photo_made_smaller_has_the_short_side_asked_for_and_stands_upright():
    content = turned(quarters(480, 640), 6, "JPEG", quality=95)
    packed, suffix = pack(content, name="x", short_side=120, quality=90)
    photo = load_photo(packed)
    assert (photo.size, suffix) == ((160, 120), "jpg")
    assert photo.getpixel((20, 20))[0] > 200  # red at the top left
    assert photo.getpixel((140, 20))[1] > 200
    assert len(packed) < len(content)


def test_quality_says_how_much_of_a_photo_is_kept():
    content = encode(noise(200, 200), "PNG")
    sizes = [
        len(pack(content, name="x", short_side=100, quality=quality)[0]) for quality in (50, 90)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_that_is_small_enough_stays_as_it_is(kind):
    content = encode(noise(40, 60), kind)
    suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
    assert pack(content, name="photo", short_side=0, quality=90) == (content, suffix)
    assert pack(content, name="photo", short_side=40, quality=90) == (content, suffix)


def test_a_photo_that_cannot_be_read_is_refused_in_any_size():
    for short_side in (0, 20):
        with pytest.raises(ImageError, match=r"^broken\.jpg: "):
            pack(encode(noise(), "JPEG")[:400], name="broken.jpg", short_side=short_side, quality=9)


# Data sets


def small(root: Path, *, photos: int = 6) -> DataSet:
    """COCO with a few tiny photos, as it would be downloaded: two zip files and Karpathy's."""
    root.mkdir()
    entries = []
    parts = []
    for part, folder in zip(KNOWN["coco"].photos, ("train2014", "val2014"), strict=True):
        with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
            archive.mkdir(folder)
            for number in range(photos):
                name = f"COCO_{folder}_{number + 100 * len(parts):012}.jpg"
                method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
                content = encode(noise(20, 30, seed=number), "JPEG")
                archive.writestr(f"{folder}/{name}", content, compress_type=method)
                val = ("val", "test", "restval")[number % 3]
                entries.append(
                    {
                        "filepath": folder,
                        "filename": name,
                        "cocoid": number + 100 * len(parts),
                        "split": "train" if folder == "train2014" else val,
                        "sentences": [{"raw": f"photo {number}"}],
                    }
                )
        content = (root / f"{folder}.zip").read_bytes()
        download = replace(
            part.download,
            size=len(content),
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        )
        parts.append(replace(part, download=download))
    text = json.dumps({"dataset": "coco", "images": entries})
    (root / "dataset_coco.json").write_text(text)
    return replace(
        KNOWN["coco"],
        photos=tuple(parts),
        annotations_size=len(text),
        splits={"train": photos + photos // 3, "val": photos // 3, "test": photos // 3},
    )


def test_downloads_are_read_in_place(tmp_path):
    data_set = small(tmp_path / "coco")
    found = find(tmp_path / "coco", data_set, checked=tmp_path / "checked.json")
    assert found.images == [str(tmp_path / "coco" / f"{n}2014.zip") for n in ("train", "val")]
    source = ImageSource(found.images)
    source.require(record.image for record in found.records)
    assert len(found.records) == len(source) == 12
    for record in found.records:
        content = source.read(record.image)
        assert len(content) == source.size(record.image)
        assert load_photo(content).size == (30, 20)


def test_unpacked_photos_go_before_the_download(tmp_path):
    data_set = small(tmp_path / "coco")
    with zipfile.ZipFile(tmp_path / "coco" / "val2014.zip") as archive:
        archive.extractall(tmp_path / "coco")
    (tmp_path / "coco" / "val2014.zip").unlink()
    found = find(tmp_path / "coco", data_set, checked=tmp_path / "checked.json")
    assert found.images == [str(tmp_path / "coco" / n) for n in ("train2014.zip", "val2014")]
    ImageSource(found.images).require(record.image for record in found.records)


def test_the_captions_may_be_compressed_or_still_packed(tmp_path, monkeypatch):
    data_set = small(root := tmp_path / "coco")
    expected = find(root, data_set, checked=tmp_path / "x").records
    content = (root / "dataset_coco.json").read_bytes()
    (root / "dataset_coco.json").unlink()
    (root / "dataset_coco.json.gz").write_bytes(gzip.compress(content))
    assert find(root, data_set, checked=tmp_path / "x").records == expected
    (root / "dataset_coco.json.gz").unlink()
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("dataset_coco.json", content)
    (root / ANNOTATIONS.name).write_bytes(stream.getvalue())
    packed = replace(ANNOTATIONS, size=len(stream.getvalue()))
    monkeypatch.setattr("data.prepare.checks.ANNOTATIONS", packed)
    assert find(root, data_set, checked=tmp_path / "x").records == expected


def test_what_is_missing_is_told_all_at_once_with_where_to_get_it(tmp_path, capsys):
    (tmp_path / "coco").mkdir()
    assert main(["coco", "--root", str(tmp_path / "coco")]) == 1
    place = tmp_path / "coco"
    assert capsys.readouterr().err.splitlines() == [
        f"error: COCO is not ready in {place}:",
        "  train2014.zip is missing, 13.51 GB. Get it from "
        f"http://images.cocodataset.org/zips/train2014.zip and put it into {place}",
        "  val2014.zip is missing, 6.65 GB. Get it from "
        f"http://images.cocodataset.org/zips/val2014.zip and put it into {place}",
        "  dataset_coco.json: caption_datasets.zip is missing, 36.7 MB. Get it from "
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip and put it "
        f"into {place}",
    ]
    assert main(["coco", "--root", str(tmp_path / "nowhere")]) == 1
    assert "is no folder; make it, and put the downloads there" in capsys.readouterr().err


def wrong(root: Path, data_set: DataSet) -> str:
    with pytest.raises(DataError) as error:
        find(root, data_set, checked=root / "checked.json")
    return str(error.value).partition(":\n  ")[2]


def test_a_download_that_stopped_is_told_from_a_damaged_and_another_one(tmp_path):
    data_set = small(root := tmp_path / "coco")
    path = root / "train2014.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert wrong(root, data_set) == (
        f"train2014.zip is {len(whole) // 2 / 1000:.3g} kB of {len(whole) / 1000:.3g} kB: its "
        f"download stopped. Go on with it: curl -C - -o {path} "
        "http://images.cocodataset.org/zips/train2014.zip"
    )
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert "train2014.zip is damaged: its md5 is" in wrong(root, data_set)
    path.write_bytes(whole + b"0")
    assert "which is more than the" in wrong(root, data_set)


def test_a_checksum_is_computed_once(tmp_path, monkeypatch):
    data_set = small(root := tmp_path / "coco")
    find(root, data_set, checked=tmp_path / "checked.json")

    def never(path):
        raise AssertionError(path)

    monkeypatch.setattr("data.prepare.checks._md5", never)
    find(root, data_set, checked=tmp_path / "checked.json")
    os.utime(root / "val2014.zip")
    with pytest.raises(AssertionError):
        find(root, data_set, checked=tmp_path / "checked.json")
    find(root, data_set, checked=tmp_path / "none.json", md5=False)


def test_captions_missing_cut_short_or_of_another_split_are_told(tmp_path):
    data_set = small(root := tmp_path / "coco")
    path = root / "dataset_coco.json"
    text = path.read_text()
    path.write_text(text[:-10])
    assert wrong(root, data_set).startswith("dataset_coco.json holds ")
    path.unlink()
    (root / "captions_train2014.json").write_text("{}")
    assert wrong(root, data_set).startswith(
        "dataset_coco.json (captions_train2014.json has the captions, but not the split): "
        "caption_datasets.zip is missing"
    )
    path.write_text(text.replace("restval", "tseting"))
    with pytest.raises(DataError, match=r"has 6 train, 2 val, 2 test, 2 tseting; COCO has"):
        find(root, data_set, checked=tmp_path / "x")


def test_photos_of_another_year_are_recognised(tmp_path):
    data_set = small(root := tmp_path / "coco")
    (root / "train2014.zip").rename(root / "train2017.zip")
    told = wrong(root, data_set).splitlines()
    assert told[0].startswith("train2014.zip is missing")
    assert told[1].startswith("  train2017.zip: photos of another year, which have other names.")


def test_photos_that_a_folder_lacks_are_counted(tmp_path):
    data_set = small(root := tmp_path / "coco")
    with zipfile.ZipFile(root / "val2014.zip") as archive:
        archive.extractall(root)
    sorted((root / "val2014").iterdir())[0].unlink()
    found = find(root, data_set, checked=tmp_path / "x")
    with pytest.raises(DataError, match=r"Image 'val2014/COCO_val2014_0+100\.jpg' is not in"):
        ImageSource(found.images).require(record.image for record in found.records)


def test_a_checked_data_set_writes_nothing(mine, capsys):
    assert prepare(mine, "--check") == 0
    assert "all photos are there" in capsys.readouterr().err
    assert not (mine / "shards").exists()

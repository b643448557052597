"""Downloads are looked through before any work: what is there, whole and of the right year."""

import gzip
import hashlib
import json
import os
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from captioner.errors import DataError
from captioner.photo import load_photo
from data.image_source import ImageSource
from data.prepare.__main__ import main
from data.prepare.checks import find
from data.prepare.known import ANNOTATIONS, KNOWN, DataSet
from tests.photos import encode, noise


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


def test_all_missing_downloads_are_listed_with_their_addresses(tmp_path, capsys):
    (tmp_path / "coco").mkdir()
    assert main(["coco", "--root", str(tmp_path / "coco")]) == 1
    place = tmp_path / "coco"
    assert capsys.readouterr().err.splitlines() == [
        f"error: COCO is not ready in {place}:",
        "  train2014.zip is missing, 13.51 GB. Download it from "
        f"http://images.cocodataset.org/zips/train2014.zip to {place}",
        "  val2014.zip is missing, 6.65 GB. Download it from "
        f"http://images.cocodataset.org/zips/val2014.zip to {place}",
        "  dataset_coco.json: caption_datasets.zip is missing, 36.7 MB. Download it from "
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip "
        f"to {place}",
    ]
    assert main(["coco", "--root", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder; create it, and put the downloads there" in capsys.readouterr().err


def wrong(root: Path, data_set: DataSet) -> str:
    with pytest.raises(DataError) as error:
        find(root, data_set, checked=root / "checked.json")
    return str(error.value).partition(":\n  ")[2]


def test_incomplete_damaged_and_other_downloads_are_distinguished(tmp_path):
    data_set = small(root := tmp_path / "coco")
    path = root / "train2014.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert wrong(root, data_set) == (
        f"train2014.zip is {len(whole) // 2 / 1000:.3g} kB of {len(whole) / 1000:.3g} kB: the "
        f"download is incomplete. Resume it: curl -C - -o {path} "
        "http://images.cocodataset.org/zips/train2014.zip"
    )
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert "train2014.zip is damaged: its MD5 is" in wrong(root, data_set)
    path.write_bytes(whole + b"0")
    assert "bytes, more than the" in wrong(root, data_set)


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


def test_captions_missing_truncated_or_of_another_split_are_reported(tmp_path):
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
    with pytest.raises(DataError, match=r"has 6 train, 2 val, 2 test, 2 tseting, but"):
        find(root, data_set, checked=tmp_path / "x")


def test_photos_of_another_year_are_recognised(tmp_path):
    data_set = small(root := tmp_path / "coco")
    (root / "train2014.zip").rename(root / "train2017.zip")
    told = wrong(root, data_set).splitlines()
    assert told[0].startswith("train2014.zip is missing")
    assert told[1].startswith("  train2017.zip: photos of another year, with other names.")


def test_photos_that_a_folder_lacks_are_counted(tmp_path):
    data_set = small(root := tmp_path / "coco")
    with zipfile.ZipFile(root / "val2014.zip") as archive:
        archive.extractall(root)
    sorted((root / "val2014").iterdir())[0].unlink()
    found = find(root, data_set, checked=tmp_path / "x")
    with pytest.raises(DataError, match=r"Image 'val2014/COCO_val2014_0+100\.jpg' is not in"):
        ImageSource(found.images).require(record.image for record in found.records)

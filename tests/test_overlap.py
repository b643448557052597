"""Photos that are learned from and measured on are found, whatever they are called."""

from pathlib import Path

from data.coco import Record
from data.image_source import ImageSource
from data.overlap import find_shared
from tests.photos import noise


def photo_set(folder: Path, photos: dict[str, int], *, first: int = 0, width: int = 40):
    """Photos of noise by name and seed, their ids counted from the first."""
    records = []
    for number, (name, seed) in enumerate(photos.items(), start=first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(30, width, seed=seed).save(path)
        records.append(Record(image=name, image_id=number, captions=("a",), split="train"))
    return records, ImageSource(folder)


def test_a_photo_of_the_same_bytes_is_found_under_another_name(tmp_path):
    val = photo_set(tmp_path / "val", {"x.png": 1, "y.png": 2})
    train = photo_set(tmp_path / "train", {"a.png": 3, "b/c.png": 2}, first=10)
    assert find_shared(*val, *train) == [("y.png", "b/c.png")]


def test_a_photo_made_smaller_is_found_by_its_id_and_name(tmp_path):
    val = photo_set(tmp_path / "val", {"COCO_7.png": 1}, first=7)
    train = photo_set(tmp_path / "train", {"val2014/COCO_7.png": 1}, first=7, width=20)
    assert find_shared(*val, *train) == [("COCO_7.png", "val2014/COCO_7.png")]


def test_the_same_id_or_name_alone_tells_nothing(tmp_path):
    val = photo_set(tmp_path / "val", {"1.png": 1})
    assert find_shared(*val, *photo_set(tmp_path / "a", {"2.png": 2})) == []
    assert find_shared(*val, *photo_set(tmp_path / "b", {"1.png": 2}, first=5)) == []

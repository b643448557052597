"""Photos that are learned from and measured on are found, whatever they are called."""

from pathlib import Path

from data.coco import Record, load_records
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


def test_rows_of_the_same_number_and_name_are_different_photos(tmp_path):
    sets = []
    for split, seed in (("train", 1), ("val", 2)):
        (tmp_path / split).mkdir()
        noise(30, 40, seed=seed).save(tmp_path / split / "0001.jpg")
        noise(30, 40, seed=9).save(tmp_path / split / f"same-{split}.jpg")
        table = tmp_path / f"{split}.csv"
        table.write_text(f"image,caption\n{split}/0001.jpg,a\n{split}/same-{split}.jpg,b\n")
        sets += [load_records(table), ImageSource(tmp_path)]
    assert find_shared(*sets) == [("train/same-train.jpg", "val/same-val.jpg")]


def test_the_same_file_is_found_without_ids(tmp_path):
    _, source = photo_set(tmp_path / "photos", {"1.png": 1, "2.png": 2})
    sets = []
    for name, row in (("train", "1.png"), ("val", "./1.png")):
        (tmp_path / f"{name}.csv").write_text(f"image,caption\n{row},a\n")
        sets += [load_records(tmp_path / f"{name}.csv"), source]
    assert find_shared(*sets) == [("1.png", "./1.png")]

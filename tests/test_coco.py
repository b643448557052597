import contextlib
import gzip
import io
import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from captioner.errors import DataError
from data.coco import Record, load_records

KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014",
            "filename": "COCO_val2014_000000000042.jpg",
            "cocoid": 42,
            "imgid": 0,
            "split": "test",
            "sentences": [{"raw": "A dog , again.\n", "tokens": ["a", "dog", "again"]}],
        },
        {
            "filepath": "val2014",
            "filename": "COCO_val2014_000000000073.jpg",
            "cocoid": 73,
            "imgid": 1,
            "split": "restval",
            "sentences": [{"raw": "Two bikes", "tokens": ["two", "bikes"]}, {"raw": "A race."}],
        },
    ],
}

COCO_CAPTIONS = {
    "images": [{"id": 9, "file_name": "9.jpg"}, {"id": 4, "file_name": "4.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 4, "caption": "a red bus"},
        {"id": 2, "image_id": 9, "caption": "a cat "},
        {"id": 3, "image_id": 4, "caption": "A bus."},
    ],
}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal(path: Path, **options: str) -> str:
    """The error's text, the way out that lists the formats cut off."""
    with pytest.raises(DataError) as error:
        load_records(path, **options)
    return str(error.value).removeprefix(str(path)).split(" Give a COCO captions file")[0]


def test_a_karpathy_split_gives_raw_sentences_and_coco_ids_and_restval_is_train(tmp_path):
    path = write(tmp_path / "dataset_coco.json", KARPATHY)
    assert load_records(path) == [
        Record(
            image="val2014/COCO_val2014_000000000042.jpg",
            image_id=42,
            captions=("A dog , again.\n",),
            split="test",
        ),
        Record(
            image="val2014/COCO_val2014_000000000073.jpg",
            image_id=73,
            captions=("Two bikes", "A race."),
            split="train",
        ),
    ]
    assert [record.image_id for record in load_records(path, split="train")] == [73]


def test_a_flickr_split_has_no_folders_and_its_own_numbers(tmp_path):
    image = {"filename": "1.jpg", "imgid": 5, "split": "val", "sentences": [{"raw": "a dog"}]}
    path = write(tmp_path / "dataset_flickr8k.json", {"images": [image]})
    assert load_records(path) == [
        Record(image="1.jpg", image_id=5, captions=("a dog",), split="val")
    ]


def test_a_compressed_file_reads_the_same(tmp_path):
    plain = write(tmp_path / "a.json", KARPATHY)
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_records(packed) == load_records(plain)


def test_coco_captions_are_read_silently_in_the_order_of_the_file(tmp_path, capsys):
    records = load_records(write(tmp_path / "captions_val2014.json", COCO_CAPTIONS))
    assert records == [
        Record(image="9.jpg", image_id=9, captions=("a cat ",), split="val"),
        Record(image="4.jpg", image_id=4, captions=("a red bus", "A bus."), split="val"),
    ]
    assert capsys.readouterr().out == ""


def test_coco_captions_are_what_pycocotools_finds_for_the_image(tmp_path):
    images = [{"id": 3 * n % 50, "file_name": f"{n}.jpg"} for n in range(50)]
    annotations = [
        {"id": 1000 - n, "image_id": n * n % 7 if n % 3 else n % 50, "caption": f"caption {n}"}
        for n in range(200)
    ]
    path = write(tmp_path / "captions.json", {"images": images, "annotations": annotations})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    seen = {a["image_id"] for a in annotations}
    images = [image for image in images if image["id"] in seen]
    write(path, {"images": images, "annotations": annotations})
    assert {record.image_id: record.captions for record in load_records(path)} == {
        image["id"]: tuple(a["caption"] for a in coco.loadAnns(coco.getAnnIds(image["id"])))
        for image in images
    }


def test_ids_of_annotations_that_occur_twice_give_each_image_its_own_captions(tmp_path):
    joined = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 7, "image_id": 1, "caption": "a dog"},
            {"id": 7, "image_id": 2, "caption": "a bus"},
        ],
    }
    records = load_records(write(tmp_path / "joined.json", joined))
    assert {record.image: record.captions for record in records} == {
        "a.jpg": ("a dog",),
        "b.jpg": ("a bus",),
    }


OWN_WAY = "Complete it, or remove it."


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("captions_train2017.json", "train"),
        ("captions_val2014.json", "val"),
        ("validation.json", "val"),
        ("my-test.json", "test"),
        ("contest.json", "train"),
        ("captions.json", "train"),
    ],
)
def test_a_file_without_splits_belongs_to_the_one_in_its_name(tmp_path, name, split):
    records = load_records(write(tmp_path / name, COCO_CAPTIONS))
    assert {record.split for record in records} == {split}


def test_csv_rows_of_one_image_are_its_captions(tmp_path):
    path = write(
        tmp_path / "own.csv",
        'split,image,caption\ntrain,a/1.jpg,a dog\nval,2.jpg,"a cat, asleep"\ntrain,a/1.jpg,Hund\n',
    )
    assert load_records(path) == [
        Record(image="a/1.jpg", image_id=0, captions=("a dog", "Hund"), split="train"),
        Record(image="2.jpg", image_id=1, captions=("a cat, asleep",), split="val"),
    ]
    assert [record.image_id for record in load_records(path, split="val")] == [1]


def test_csv_needs_no_splits_and_bears_a_byte_order_mark(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes("\ufeffimage,caption\r\n1.jpg,é\r\n".encode())
    assert load_records(path) == [Record(image="1.jpg", image_id=0, captions=("é",), split="train")]


def test_json_lines_hold_one_caption_or_several(tmp_path):
    lines = [
        {"image": "1.jpg", "caption": "a dog\u2028barks", "image_id": 7},
        {"image": "2.jpg", "captions": ["a cat", "a tail"], "split": "val", "image_id": 8},
        {"image": "1.jpg", "captions": ["a hound"], "image_id": 7},
    ]
    text = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n"
    assert load_records(write(tmp_path / "own.jsonl", text)) == [
        Record(image="1.jpg", image_id=7, captions=("a dog\u2028barks", "a hound"), split="train"),
        Record(image="2.jpg", image_id=8, captions=("a cat", "a tail"), split="val"),
    ]
    single = write(tmp_path / "single.jsonl", json.dumps(lines[1]))
    assert [record.image_id for record in load_records(single)] == [8]


def test_a_record_says_whether_its_id_is_the_files_own(tmp_path):
    line = {"image": "1.jpg", "caption": "a", "image_id": 7}
    for content, own in (
        (COCO_CAPTIONS, True),
        (KARPATHY, True),
        (json.dumps(line), True),
        (json.dumps(line | {"has_id": False}), False),
        ('{"image": "1.jpg", "caption": "a"}', False),
        ("image,caption\n1.jpg,a\n", False),
    ):
        records = load_records(write(tmp_path / "captions", content))
        assert {record.has_id for record in records} == {own}


def test_blank_captions_are_left_out(tmp_path):
    path = write(tmp_path / "own.csv", "image,caption\n1.jpg, \n1.jpg,a dog\n")
    assert load_records(path)[0].captions == ("a dog",)


def test_a_split_that_does_not_occur_is_answered_with_those_that_do(tmp_path):
    path = write(tmp_path / "dataset.json", KARPATHY)
    assert refusal(path, split="dev") == (" has no split 'dev'; it has test (1), train (1).")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (" \n", "Caption file {} is empty."),
        ('{"images": [', "{}, line 1: invalid JSON (Expecting value)."),
        ('{"info": 1}', "{} is JSON, but not in a known caption format."),
        ("[1, 2]", "{} is JSON, but not in a known caption format."),
        ("a dog\na cat\n", "{} is not in a known caption format; it starts with 'a dog'."),
        ({"images": []}, "Caption file {} contains no images."),
        ({"images": 3}, "{}: images is 3; it must be a list."),
        (
            {"images": [{"filename": "1.jpg"}]},
            "{}, entry 0 of images: split, sentences missing; it has filename.",
        ),
        (
            {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"id": 1, "bbox": []}]},
            "{}, entry 0 of annotations: image_id, caption missing; it has id, bbox.",
        ),
        (
            {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []},
            "{}, image 1: image '1.jpg' has no captions;",
        ),
        (
            "\ufeffimage;caption;split\r\n1.jpg;a dog;train\r\n",
            "{}: columns are separated by semicolons; save it with commas instead.",
        ),
        (
            "image\tcaption\n1.jpg\ta dog\n",
            "{}: columns are separated by tabs; save it",
        ),
        (
            "image,caption\n1.jpg,a dog, asleep\n",
            "{}, line 2: the header has 2 columns, this row 3. Quote captions that contain commas.",
        ),
        (
            "image,caption\n1.jpg\n",
            "{}, line 2: the header has 2 columns, this row 1. Quote captions that contain commas.",
        ),
        ("image,caption\n1.jpg,\n", "{}, line 2: image '1.jpg' has no captions;"),
        (
            "image,caption,split\n1.jpg,a,train\n1.jpg,b,val\n",
            "{}, line 3: image '1.jpg' has another split or image_id than in line 2;",
        ),
        (
            '{"image": "1.jpg", "caption": "a"}\n{"image": "1.jpg"',
            "{}, line 2: not a JSON object",
        ),
        ('{"image": "1.jpg", "text": "a"}', "{}, line 1: caption missing; it has image, text."),
        (
            '{"image": "1.jpg", "captions": ["a", null]}',
            "{}, line 1: captions is None; it must be a text.",
        ),
        (
            '{"image": "1.jpg", "caption": "a", "image_id": "x"}',
            "{}, line 1: image_id is 'x'; it must be a whole number.",
        ),
        (
            '{"image": "1.jpg", "caption": "a", "image_id": 1}\n{"image": "2.jpg", "caption": "a"}',
            "{}: 1 of 2 images have an id; give one to all or to none.",
        ),
        (
            '{"image": "1.jpg", "caption": "a", "image_id": 1}\n'
            '{"image": "2.jpg", "caption": "a", "image_id": 1}',
            "{}: '1.jpg' (line 1) and '2.jpg' (line 2) share the id 1;",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path, content, text):
    path = write(tmp_path / "captions", content)
    with pytest.raises(DataError) as error:
        load_records(path)
    assert str(error.value).startswith(text.format(path))


def test_a_file_that_is_missing_or_no_text_says_so(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json does not exist; data/README\.md says"):
        load_records(tmp_path / "nowhere.json")
    picture = tmp_path / "1.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0")
    assert refusal(picture) == " is not UTF-8 text (invalid start byte)."
    packed = tmp_path / "cut.json.gz"
    packed.write_bytes(gzip.compress(b"{}")[:-4])
    assert "cannot be read: " in refusal(packed)


def test_the_examples_of_the_readme_are_read_as_it_says(tmp_path):
    readme = (Path(__file__).parent.parent / "data" / "README.md").read_text()
    blocks = {kind: readme.split(f"```{kind}\n")[1].split("```")[0] for kind in ("csv", "json")}
    table, lines = (load_records(write(tmp_path / kind, text)) for kind, text in blocks.items())
    assert [(r.image, r.split, len(r.captions)) for r in table] == [
        ("garden/cat.jpg", "train", 2),
        ("beach.jpg", "val", 1),
    ]
    assert [(r.image, r.split) for r in lines] == [(r.image, r.split) for r in table]
    assert lines[1].captions == table[1].captions

"""Faults of caption files."""

import pytest

from captioner.errors import DataError
from data.coco import load_records
from tests.test_coco import OWN_WAY, refusal, write


def test_captions_of_an_image_that_is_not_listed_are_refused(tmp_path):
    table = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {"id": 3, "image_id": 1, "caption": "a dog"},
            {"id": 5, "image_id": 8, "caption": "a bus"},
            {"id": 6, "image_id": 9, "caption": "a bus"},
            {"id": 7, "image_id": 8, "caption": "a red bus"},
        ],
    }
    path = write(tmp_path / "a.json", table)
    assert refusal(path) == (
        ": image 8 of annotation 5, annotation 7 is not listed; add the image, or remove its "
        "annotations.\n"
        f"{path}: image 9 of annotation 6 is not listed; add the image, or remove its annotations."
    )


def test_all_faults_of_a_file_are_listed(tmp_path):
    table = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate("abacd")],
        "annotations": [{"id": n, "image_id": n, "caption": "a"} for n in (0, 1, 2, 3)],
    }
    path = write(tmp_path / "a.json", table)
    assert refusal(path) == (
        ": 'a' is listed twice (image 0 and image 2); move all its captions to one of them.\n"
        f"{path}, image 4: image 'd' has no captions; add one, or remove the image from the file."
    )


@pytest.mark.parametrize(
    ("content", "faults", "images"),
    [
        (
            {
                "images": [
                    {"id": 1, "file_name": "a"},
                    {"id": 2},
                    {"id": "3", "file_name": 3},
                    {"id": 1, "file_name": "d"},
                    {"id": 5, "file_name": "a"},
                ],
                "annotations": [
                    {"id": 1, "image_id": 1, "caption": "a"},
                    {"id": 2, "image_id": 2},
                    {"id": 3, "image_id": 2, "caption": "b"},
                    7,
                    {"id": 4, "image_id": 9, "caption": "c"},
                ],
            },
            [
                "{}, entry 1 of images: file_name missing; it has id. Complete it, or remove it.",
                "{}, entry 2 of images: id is '3'; it must be a whole number.",
                "{}, entry 2 of images: file_name is 3; it must be a text.",
                "{}, entry 1 of annotations: caption missing; it has id, image_id. " + OWN_WAY,
                "{}, entry 3 of annotations: 7 is not an object with id, image_id, caption.",
                "{}: image 9 of annotation 4 is not listed; add the image, or remove its "
                "annotations.",
                "{}: 'a' (image 1) and 'd' (image 1) share the id 1; give each image its own.",
                "{}, image 5: image 'a' has no captions; add one, or remove the image from the "
                "file.",
                "{}: 'a' is listed twice (image 1 and image 5); move all its captions to one of "
                "them.",
            ],
            ["a", "d", "a"],
        ),
        (
            {
                "images": [
                    {"filename": "a", "split": "val", "sentences": [{"raw": "a"}, {"raw": 1}, {}]},
                    {"filename": "b", "split": "val", "sentences": [{"raw": "a"}]},
                    {"filename": "c"},
                ]
            },
            [
                "{}, entry 0 of images, sentences: raw is 1; it must be a text.",
                "{}, entry 0 of images, sentences: raw missing; it has . " + OWN_WAY,
                "{}, entry 2 of images: split, sentences missing; it has filename. " + OWN_WAY,
            ],
            ["b"],
        ),
        (
            "image,caption,split\na,b\nc,d,e,f\ng,h,val\ng,h,train\n",
            [
                "{}, line 2: the header has 3 columns, this row 2. Quote captions that contain "
                "commas.",
                "{}, line 3: the header has 3 columns, this row 4. Quote captions that contain "
                "commas.",
                "{}, line 5: image 'g' has another split or image_id than in line 4; use the same "
                "in all its rows.",
            ],
            ["g"],
        ),
        (
            '{"image": "a", "caption": "a", "image_id": 1}\n{"image"\n7\n{"image": "b"}\n'
            '{"image": "c", "captions": [1, "c", null]}\n{"image": "d", "caption": "d"}\n'
            '{"image": "e", "caption": "e"}\n',
            [
                "{}, line 2: not a JSON object (Expecting ':' delimiter); write one object per "
                "line.",
                "{}, line 3: 7 is not an object with image, caption.",
                "{}, line 4: caption missing; it has image. " + OWN_WAY,
                "{}, line 5: captions is 1; it must be a text.",
                "{}, line 5: captions is None; it must be a text.",
                "{}: 1 of 3 images have an id; give one to all or to none.",
                "{}, line 1: image 'a' has an id.",
            ],
            ["a", "d", "e"],
        ),
    ],
    ids=["coco", "karpathy", "csv", "lines"],
)
def test_faults_are_collected_where_the_caller_goes_on(tmp_path, content, faults, images):
    path = write(tmp_path / "captions", content)
    found: list[str] = []
    records = load_records(path, faults=found)
    assert found == [fault.format(path) for fault in faults]
    assert [record.image for record in records] == images
    with pytest.raises(DataError) as error:
        load_records(path)
    assert str(error.value) == "\n".join(found)


def test_of_very_many_faults_the_first_are_listed(tmp_path):
    table = {"images": [{"id": n, "file_name": str(n)} for n in range(30)], "annotations": []}
    lines = refusal(write(tmp_path / "a.json", table)).splitlines()
    assert (len(lines), lines[-1]) == (21, "... and 10 more")

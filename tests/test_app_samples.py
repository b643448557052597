import json

from app.samples import SAMPLES, name_sample, read_annotations
from data.objects import ObjectWords

TABLE = json.loads((SAMPLES[0].path.parent / "annotations.json").read_text(encoding="utf-8"))


def test_a_sample_is_recognised_by_its_path(tmp_path):
    assert [name_sample(sample.path) for sample in SAMPLES] == [own.name for own in SAMPLES]
    assert name_sample(tmp_path / "horses.jpg") == ""


def test_samples_with_annotations_have_captions_and_boxes():
    said = read_annotations("horses")
    assert len(said["captions"]) == 5
    assert {thing: len(boxes) for thing, boxes in said["boxes"].items()} == {
        "horse": 2,
        "person": 2,
    }
    assert "riders" in said["names"]["person"]
    assert read_annotations("rocket") is None
    assert read_annotations("") is None


def test_boxes_are_inside_the_photo_and_their_words_name_them():
    assert set(TABLE["photos"]) < {sample.name for sample in SAMPLES}
    for photo in TABLE["photos"].values():
        for boxes in photo["boxes"].values():
            for top, left, bottom, right in boxes:
                assert 0 <= top < bottom <= 1
                assert 0 <= left < right <= 1
    words = ObjectWords(TABLE["names"])
    for thing, names in TABLE["names"].items():
        assert [mention.name for mention in words.find(names)] == [thing] * len(names.split())

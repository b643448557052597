import json
import math

import numpy as np
import pytest

from captioner.result.caption import Word
from data.coco import Record
from data.instances import Instances
from data.nouns import Nouns
from data.objects import ObjectWords
from tests.entities import pets
from tests.photos import noise
from training.hallucination.__main__ import main
from training.hallucination.rates import measure_rates
from training.hallucination.signals import auc, measure_signals, signals_of
from training.hallucination.truth import Naming, Truth

WORDS = ObjectWords(["dog", "person", "car"])


def record(number, *captions):
    return Record(image=f"{number}.jpg", image_id=number, captions=captions, split="val")


def invented(truth, photo, text, **options):
    return [one.name for one in truth.judge(photo, text, **options) if one.invented]


# What is there


def test_an_object_is_invented_that_neither_instances_nor_references_know():
    records = [record(1, "a man", "a street"), record(2, "a dog")]
    boxes = {"1.jpg": {"car": [(0.0, 0.0, 1.0, 1.0)]}, "2.jpg": {}}
    truth = Truth(records, WORDS, Instances(boxes, {"car": "vehicle"}))
    assert truth.judge(0, "a dog, a woman and cars") == [
        Naming(1, "dog", invented=True),
        Naming(3, "person", invented=False),
        Naming(5, "car", invented=False),
    ]
    assert invented(truth, 1, "a dog in a car") == ["car"]
    assert invented(Truth(records, WORDS), 0, "a dog in a car") == ["dog", "car"]


def test_what_people_say_is_measured_by_the_others():
    truth = Truth([record(1, "a man and a dog", "a man")], WORDS)
    assert invented(truth, 0, "a man and a dog") == []
    assert invented(truth, 0, "a man and a dog", without=0) == ["dog"]


def test_a_noun_is_invented_unless_it_or_another_for_the_same_thing_is_said():
    same = {"dog": frozenset({"puppy"}), "puppy": frozenset({"dog"}), "sea": frozenset()}
    nouns = Nouns(same, {"dogs": "dog"})
    truth = Truth([record(1, "Dogs by a lake", "a street"), record(2, "the sea")], nouns)
    assert truth.judge(0, "a puppy by the sea") == [
        Naming(1, "puppy", invented=False),
        Naming(4, "sea", invented=True),
    ]
    assert invented(truth, 0, "a dog", without=0) == ["dog"]
    assert invented(truth, 1, "two dogs by the sea") == ["dog"]


# Rates


def names(*invented):
    return [Naming(0, f"thing {n}", one) for n, one in enumerate(invented)]


def test_rates_are_shares_of_captions_and_of_names():
    judged = [[names(False, True)], [names()], [names(True, True, False)], [names(False)]]
    report = measure_rates(judged, resamples=0, seed=0)
    assert report == {
        "per_sentence": 2 / 4,
        "per_object": 3 / 6,
        "names_per_caption": 6 / 4,
        "by_name": {"thing 1": [2, 2], "thing 0": [3, 1], "thing 2": [1, 0]},
    }


def test_captions_that_name_nothing_invent_nothing():
    report = measure_rates([[names()]], resamples=10, seed=0)
    assert report["per_object"] == 0
    assert report["intervals"]["per_object"] == {"low": 0, "high": 0}


def test_intervals_are_over_photos_and_differences_pair_them():
    judged = [[names(True)] if n % 2 else [names(False)] for n in range(400)]
    better = [[names(False)] if n % 4 else own for n, own in enumerate(judged)]
    report = measure_rates(better, resamples=400, seed=0, first=judged)
    ends = report["intervals"]["per_object"]
    assert ends == {"low": 0, "high": 0}
    more = report["more_than_first"]
    assert more["per_object"] == -0.5
    assert more["intervals"]["per_object"]["high"] == pytest.approx(-0.45, abs=0.01)
    same = measure_rates(judged, resamples=400, seed=0, first=judged)["more_than_first"]
    assert same["intervals"]["per_sentence"] == {"low": 0, "high": 0}


# Signals


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    scores, positive = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False])
    pairs = [(3, 1), (3, 2), (2, 1), (2, 2)]
    right = sum((good > bad) + (good == bad) / 2 for good, bad in pairs) / len(pairs)
    assert auc(scores, positive) == right
    twice = auc(scores, positive, np.array([1, 2, 1, 1]))
    assert twice == pytest.approx((1 + 1 + 1 + 1 + 1 + 0.5) / 6)
    assert math.isnan(auc(scores, positive, np.array([1, 0, 1, 0])))


def word(probability, *weights):
    attention = np.array([weights], np.float32)
    return Word(text="dog", probability=probability, attention=attention, heads=None, gate=None)


def test_signals_are_probability_entropy_mass_of_a_tenth_and_peak():
    even = signals_of(word(0.25, *[1 / 20] * 20))
    assert even == pytest.approx([0.25, 1.0, 0.1, 0.05])
    pointed = signals_of(word(0.5, 0.6, 0.3, *[0.1 / 18] * 18))
    assert pointed[2:] == pytest.approx([0.9, 0.6])
    assert pointed[1] < 0.5


def test_a_signal_that_tells_all_has_an_area_of_one():
    values = [[0.1, 0.9, 0.2, 0.1], [0.9, 0.5, 0.5, 0.1], [0.8, 0.4, 0.6, 0.1]]
    report = measure_signals(values, [True, False, False], [0, 1, 1], resamples=50, seed=0)
    assert [own["auc"] for own in report.values()] == [1, 1, 1, 0.5]
    assert report["probability"]["interval"] == {"low": 1, "high": 1}
    assert measure_signals(values, [False] * 3, [0, 1, 1], resamples=50, seed=0) == {}


# The command


@pytest.fixture
def data(tmp_path):
    """Three photos with captions, of which instances cover two."""
    (tmp_path / "photos").mkdir()
    lines = []
    for number, captions in enumerate((["a dog", "a dog runs"], ["the sea"], ["a man"])):
        noise(24, 36, seed=number).save(tmp_path / "photos" / f"{number}.png")
        lines.append(
            json.dumps({"image": f"{number}.png", "captions": captions, "image_id": number})
        )
    (tmp_path / "captions_val.jsonl").write_text("\n".join(lines))
    (tmp_path / "entities.json").write_text(json.dumps(pets()))
    table = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 36, "height": 24} for n in range(2)],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]}],
        "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(table))
    photos = str(tmp_path / "photos")
    return ["--annotations", str(tmp_path / "captions_val.jsonl"), "--images", photos]


def run(capsys, *arguments):
    assert main(list(arguments)) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_models_and_searches_stand_side_by_side(data, checkpoints, capsys, tmp_path):
    chosen = ["--checkpoint", str(checkpoints["transformer"])]
    chosen += ["--search", "beam", "--search", "greedy", "--bootstrap", "20"]
    written = tmp_path / "report.json"
    asked = [*chosen, *data, "--entities", str(tmp_path / "entities.json"), "--json", str(written)]
    report, err = run(capsys, *asked)
    assert json.loads(written.read_text()) == report
    beam, greedy = report["models"]
    assert (beam["name"], beam["search"]["method"]) == ("toy-transformer", "beam")
    assert greedy["search"]["method"] == "greedy"
    assert "more_than_first" not in beam
    assert set(greedy["more_than_first"]["intervals"]) == {
        "per_sentence",
        "per_object",
        "names_per_caption",
    }
    assert [photo["image"] for photo in beam["photos"]] == ["0.png", "1.png", "2.png"]
    for photo in beam["photos"]:
        named = [word for word in photo["names"] if word in photo["caption"]]
        assert named == photo["names"]
        assert set(photo["invented"]) <= set(photo["names"])
    assert report["names"] == "nouns"
    chosen = [*asked[:2], *data, "--agreement", "9", "--bootstrap", "0"]
    models = run(capsys, *chosen)[0]["models"]
    assert [(model["name"], model["search"]["agreement"]) for model in models] == [
        ("toy-transformer", 0.0),
        ("toy-transformer, agreement 9", 9.0),
    ]
    assert report["people"]["captions"] == 4
    assert report["people"]["per_sentence"] == 2 / 4  # of the sea and of the man, said once each
    for text in ("toy-transformer, beam 4", "toy-transformer, greedy", "people", "difference"):
        assert text in err
    again, _ = run(capsys, *asked)
    assert again == report


def test_photos_without_instances_are_left_out(data, checkpoints, capsys, tmp_path):
    chosen = ["--checkpoint", str(checkpoints["lstm"]), "--bootstrap", "0"]
    covered, _ = run(capsys, *chosen, *data, "--instances", str(tmp_path / "instances.json"))
    assert (covered["images"], covered["known_by"]) == (2, "instances.json")
    alone, _ = run(capsys, *chosen, *data)
    assert (alone["images"], alone["known_by"]) == (3, "captions_val.jsonl")
    assert "intervals" not in alone["models"][0]


def test_captions_of_any_model_are_measured(data, capsys, tmp_path):
    texts = ["a man with a dog", "a car", "a woman"]
    rows = [{"image_id": n, "caption": text} for n, text in enumerate(texts)]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    report, err = run(capsys, "--results", str(path), *data, "--bootstrap", "20")
    (own,) = report["models"]
    assert [photo["invented"] for photo in own["photos"]] == [["person"], ["car"], []]
    assert (own["per_sentence"], own["per_object"]) == (2 / 3, 2 / 4)
    assert "hallucinates most: person 1 of 2, car 1 of 1" in err
    path.write_text(json.dumps(rows[:1]))
    assert main(["--results", str(path), *data]) == 1
    assert "has no caption for 1.png and 1 more photos" in capsys.readouterr().err


def test_models_that_caption_together_are_one(data, checkpoints, capsys):
    both = "+".join([str(checkpoints["transformer"])] * 2)
    report, _ = run(capsys, "--checkpoint", both, *data, "--bootstrap", "0")
    (own,) = report["models"]
    assert own["name"] == "toy-transformer + toy-transformer"
    assert len(own["sha256"]) == 2


def test_instances_of_other_photos_are_refused(data, checkpoints, capsys, tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(path.read_text().replace(".png", ".gif"))
    chosen = ["--checkpoint", str(checkpoints["lstm"]), "--instances", str(path)]
    assert main([*chosen, *data]) == 1
    assert capsys.readouterr().err == (f"error: {path} covers none of the 3 captioned photos.\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give --checkpoint or --results"),
        (["--results", "a", "--instances", "b", "--entities", "c"], "not both"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(data, capsys, arguments, problem):
    with pytest.raises(SystemExit):
        main([*data, *arguments])
    assert problem in capsys.readouterr().err

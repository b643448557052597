import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from captioner.interchange import portable
from training import metrics
from training.score import main
from training.scoring import provenance
from training.scoring.result_files import load_lines

ROOT = Path(__file__).parent.parent
REFERENCES = {
    1: ["A dog runs on the beach.", "A brown dog is running."],
    2: ["Two cats sleep in a bed.", "The cats' bed is white."],
    3: ["A man's bike isn't new.", "An old bike leans on a wall."],
}
CAPTIONS = {1: "a dog runs on a beach", 2: "two dogs in a bed", 3: "a man with an old bike."}

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")


def rows(captions: dict[int, str]) -> list[dict[str, object]]:
    return [{"image_id": image, "caption": caption} for image, caption in captions.items()]


def write(path: Path, content: object) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.fixture
def annotations(tmp_path):
    """A COCO captions file."""
    captions = [
        {"id": 10 * image + k, "image_id": image, "caption": caption}
        for image, group in REFERENCES.items()
        for k, caption in enumerate(group)
    ]
    images = [{"id": image, "file_name": f"{image}.jpg"} for image in REFERENCES]
    return write(tmp_path / "captions.json", {"images": images, "annotations": captions})


@pytest.fixture
def karpathy(tmp_path):
    """A compressed Karpathy file: image 3 is test, the others val."""
    images = [
        {
            "filename": f"{image}.jpg",
            "imgid": image,
            "split": "test" if image == 3 else "val",
            "sentences": [{"raw": caption} for caption in group],
        }
        for image, group in REFERENCES.items()
    ]
    path = tmp_path / "dataset.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"images": images}).encode()))
    return str(path)


@pytest.fixture
def results(tmp_path):
    return write(tmp_path / "results.json", rows(CAPTIONS))


def test_scores_tokenizer_and_images_are_printed_as_one_object(annotations, results, capsys):
    assert main([annotations, results]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    names = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
    assert list(report["scores"]) == list(report.pop("intervals")) == names
    assert report.pop("wording")["lengths"] == [0, 0, 0, 0, 0, 1, 2]
    assert report.pop("commit", None) == provenance.git_commit()
    assert report == {
        "scores": metrics.score(REFERENCES, CAPTIONS),
        "tokenizer": "captioner-ptb",
        "images": 3,
        "split": None,
        "annotations": "captions.json",
        "results": "results.json",
        "sha256": hashlib.sha256(Path(results).read_bytes()).hexdigest(),
        "resamples": 1000,
        "seed": 0,
    }
    assert printed.err.startswith("results.json, 3 images, captions.json\n")
    assert f"  CIDEr {100 * report['scores']['CIDEr']:31.1f}" in printed.err


def test_novelty_and_intervals_are_as_asked(annotations, results, tmp_path, capsys):
    read = tmp_path / "read.jsonl"
    captions = ["A dog runs on a beach!", "a bed"]
    read.write_text(json.dumps({"image": "1.jpg", "captions": captions}), encoding="utf-8")
    written = tmp_path / "report.json"
    options = ["--training-captions", str(read), "--bootstrap", "0", "--json", str(written)]
    assert main([annotations, results, *options]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert json.loads(written.read_text(encoding="utf-8")) == report
    assert "intervals" not in report
    assert report["novelty"]["novel_captions"] == pytest.approx(2 / 3)
    assert "not in the training captions" in printed.err
    assert "resamples" not in printed.err


def test_one_split_of_a_compressed_karpathy_file_is_scored(karpathy, tmp_path, capsys):
    captions = {image: CAPTIONS[image] for image in (1, 2)}
    results = write(tmp_path / "val.json", rows(captions))
    assert main([karpathy, results, "--split", "val"]) == 0
    printed = capsys.readouterr()
    expected = metrics.score({image: REFERENCES[image] for image in captions}, captions)
    assert json.loads(printed.out)["scores"] == expected
    assert "warning" not in printed.err


def test_results_for_some_images_are_scored_with_a_warning(annotations, tmp_path, capsys):
    captions = {3: CAPTIONS[3], 1: CAPTIONS[1]}
    results = write(tmp_path / "some.json", rows(captions))
    assert main([annotations, results]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["images"] == 2
    assert report["scores"] == metrics.score({i: REFERENCES[i] for i in captions}, captions)
    assert printed.err.startswith(
        f"warning: {results} has captions for 2 of the 3 images in {annotations}; only those are "
        "scored, and CIDEr's n-gram weights come from them alone.\n"
    )


def lines(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_what_the_folder_command_wrote_is_scored_by_the_names_of_the_photos(
    annotations, karpathy, tmp_path, capsys
):
    written = lines(
        tmp_path / "captions.jsonl",
        *(
            {"image": f"beach/{i}.jpg", "status": "captioned", "caption": CAPTIONS[i]}
            for i in (3, 1)
        ),
        {"image": "2.jpg", "status": "failed", "reason": "damaged"},
    )
    for captions, options in ((CAPTIONS, [annotations]), ({1: CAPTIONS[1]}, [karpathy])):
        split = ["--split", "val"] if options == [karpathy] else []
        assert main([*options, written, *split]) == 0
        printed = capsys.readouterr()
        scored = {i: captions[i] for i in (3, 1) if i in captions}
        expected = metrics.score({i: REFERENCES[i] for i in scored}, scored)
        assert json.loads(printed.out)["scores"] == expected


def test_photos_are_known_whichever_way_their_accents_are_written(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "Größe.jpg") for form in ("NFC", "NFD"))
    for annotated, found in ((nfc, nfd), (nfd, nfc)):
        path = Path(lines(tmp_path / "c.jsonl", {"image": f"Maß/{found}", "caption": "a dog"}))
        assert load_lines(path, {annotated: 7, "Größe.png": 8}) == {7: "a dog"}
        assert load_lines(path, {annotated: 7, found: 8}) == {8: "a dog"}


def test_a_photo_whose_name_is_not_text_is_known_by_its_bytes(tmp_path):
    written = portable({"image": "x\udcff.jpg", "caption": "a dog"})
    path = Path(lines(tmp_path / "c.jsonl", written))
    assert load_lines(path, {"x\udcff.jpg": 7}) == {7: "a dog"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [{"image": "9.jpg", "caption": "a dog"}],
            "line 1: the annotations have no image called 9.jpg, or more than one; results and "
            "annotations must be of the same photos.",
        ),
        (
            [{"image": "1.jpg", "caption": "a dog"}, {"image": "a/1.jpg", "caption": "a cat"}],
            "line 2: a/1.jpg occurs twice; keep one caption per image.",
        ),
        (
            [{"image_id": 1}],
            'line 1: expected a line such as {"image": "a.jpg", "caption": "a dog"}, not '
            "'{\"image_id\": 1}'.",
        ),
        (
            ["1.jpg"],
            'line 1: expected a line such as {"image": "a.jpg", "caption": "a dog"}, not '
            "'\"1.jpg\"'.",
        ),
    ],
)
def test_lines_that_name_no_photo_of_the_annotations_are_refused(
    records, message, annotations, tmp_path, capsys
):
    results = lines(tmp_path / "captions.jsonl", *records)
    assert main([annotations, results]) == 1
    assert capsys.readouterr().err == f"error: Results {results}, {message}\n"


def test_lines_without_captions_are_refused(annotations, karpathy, tmp_path, capsys):
    results = lines(tmp_path / "a.jsonl", {"image": "1.jpg", "status": "failed", "reason": "no"})
    assert main([annotations, results]) == 1
    assert capsys.readouterr().err == f"error: Results {results} has no captions.\n"
    results = lines(tmp_path / "b.jsonl", {"image": "3.jpg", "caption": "a man"})
    assert main([karpathy, results, "--split", "val"]) == 1
    assert "none of its photos is in that split." in capsys.readouterr().err


FORM = 'Results are a JSON list such as [{"image_id": 42, "caption": "a dog on a beach"}].'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], f"Results PATH is an empty list. {FORM}"),
        ({"image_id": 1, "caption": "a dog"}, f"Results PATH is a JSON dict. {FORM}"),
        (
            [{"image_id": 1}],
            f"Results PATH, entry 0: {{'image_id': 1}} lacks image_id or caption. {FORM}",
        ),
        (["a dog"], f"Results PATH, entry 0: 'a dog' lacks image_id or caption. {FORM}"),
        (
            [*rows({1: "a dog"}), {"image_id": "2", "caption": "a cat"}],
            "Results PATH, entry 1: image_id must be an integer and caption a string, "
            "not '2' and 'a cat'.",
        ),
        (
            [{"image_id": 1, "caption": None}],
            "Results PATH, entry 0: image_id must be an integer and caption a string, "
            "not 1 and None.",
        ),
        (
            rows({1: "a dog"}) + rows({1: "a cat"}),
            "Results PATH, entry 1: image 1 occurs twice; keep one caption per image.",
        ),
        (
            rows({1: "a dog", 7: "a cat", 8: "a bus"}),
            "Results PATH: image 7 is not in ANNOTATIONS (2 such images of 3); "
            "results and annotations must be of the same data set and split.",
        ),
    ],
)
def test_results_of_another_form_are_refused(content, message, annotations, tmp_path, capsys):
    results = write(tmp_path / "results.json", content)
    assert main([annotations, results]) == 1
    printed = capsys.readouterr()
    expected = message.replace("PATH", results).replace("ANNOTATIONS", annotations)
    assert printed.err == f"error: {expected}\n"
    assert printed.out == ""


def test_an_image_of_another_split_is_named(karpathy, results, capsys):
    assert main([karpathy, results, "--split", "val"]) == 1
    assert capsys.readouterr().err == (
        f"error: Results {results}: image 3 is not in split 'val' of {karpathy} (1 such images of "
        "3); results and annotations must be of the same data set and split.\n"
    )


def test_broken_json_is_refused_with_its_place(annotations, tmp_path, capsys):
    results = tmp_path / "results.json"
    results.write_text('[{"image_id": 1,', encoding="utf-8")
    assert main([annotations, str(results)]) == 1
    assert f"Results {results} is not valid JSON (Expecting property" in capsys.readouterr().err


def test_a_missing_file_is_named(annotations, tmp_path, capsys):
    missing = tmp_path / "nowhere.json"
    assert main([annotations, str(missing)]) == 1
    expected = f"error: Results {missing} cannot be read: No such file or directory.\n"
    assert capsys.readouterr().err == expected


def test_usage_errors_exit_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "the following arguments are required: annotations" in capsys.readouterr().err


def test_without_results_human_captions_are_scored_against_each_other(annotations, capsys):
    assert main([annotations]) == 0
    printed = json.loads(capsys.readouterr().out)
    rounds = min(map(len, REFERENCES.values()))
    expected = [
        metrics.score(
            {i: group[:n] + group[n + 1 :] for i, group in REFERENCES.items()},
            {i: group[n] for i, group in REFERENCES.items()},
        )
        for n in range(rounds)
    ]
    assert printed["rounds"] == rounds > 1
    assert printed["scores"]["Bleu_1"] > 0.1
    assert printed["scores"] == pytest.approx(
        {name: sum(each[name] for each in expected) / rounds for name in expected[0]}
    )


def test_an_image_with_one_caption_needs_results(tmp_path, capsys):
    path = tmp_path / "captions.csv"
    path.write_text("image,caption\n1.jpg,A dog.\n2.jpg,A cat.\n", encoding="utf-8")
    assert main([str(path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {path}: an image has one caption only; compare with RESULTS.\n"
    )


def test_options_of_results_are_refused_without_results(annotations, capsys):
    with pytest.raises(SystemExit):
        main([annotations, "--official"])
    assert "--official and --training-captions need RESULTS" in capsys.readouterr().err


def test_official_scores_without_java_say_what_to_install(
    annotations, results, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([annotations, results, "--official"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "error: The official scores need Java 8 or newer, and there is no `java` on the PATH. "
        "Install it (apt install default-jre-headless, brew install openjdk), or drop --official "
        "for every score except METEOR.\n"
    )


@needs_java
def test_official_scores_add_meteor_and_name_the_tokenizer(annotations, results):
    command = [sys.executable, "-W", "error", "-m", "training.score"]
    done = subprocess.run(
        [*command, annotations, results, "--official"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    meteor = report["scores"].pop("METEOR")
    assert 0.1 < meteor < 0.6
    assert ("SPICE" in report["scores"]) != ("SPICE is left out: SPICE" in done.stderr)
    report["scores"].pop("SPICE", None)
    assert report["scores"] == pytest.approx(metrics.score(REFERENCES, CAPTIONS), abs=1e-9)
    assert report["tokenizer"] == "stanford-ptb 3.4.1 (pycocoevalcap)"
    assert report["images"] == 3
    assert "Warning" not in done.stderr  # of pipes or programs that were left open

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captioner.config import AttentionConfig, PreprocessConfig
from captioner.model import DecoderOutput
from captioner.pytorch import TorchCaptioner
from captioner.result.evidence import weigh_evidence
from data.boxes import BoxedCaption, BoxedImage, Phrase
from tests.conftest import TOYS
from tests.photos import noise
from training.grounding.__main__ import main
from training.grounding.deletion import JudgedWord, hide, measure_drops
from training.grounding.phrases import read_phrases, views_of

QUARTERS = {
    "top left": (0.0, 0.0, 0.5, 0.5),
    "top right": (0.5, 0.0, 1.0, 0.5),
    "bottom left": (0.0, 0.5, 0.5, 1.0),
    "bottom right": (0.5, 0.5, 1.0, 1.0),
}


class Planted(nn.Module):
    """A model of four regions that looks where it is told before each word.

    A region's feature is its brightness; the brighter the top left, the likelier is every dog.
    """

    def __init__(self, tokenizer, looks):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.looks = {tokenizer.encode(word)[0]: looks[word] for word in looks}
        self.dog = tokenizer.encode("dog")[0]
        self.words = len(tokenizer)
        self.encoder = Brightness()

    @property
    def decoder(self):
        return Told(self)

    def read(self, features, words, with_attention):
        rows, captions, length = words.shape
        attention = torch.full((rows, captions, 1, 1, length, 4), 0.25)
        for t in range(length - 1):
            told = self.looks.get(int(words[0, 0, t + 1]))
            if told is not None:
                attention[:, :, 0, 0, t] = torch.tensor(told)
        logits = torch.zeros(rows, captions, length, self.words)
        logits[..., self.dog] = features[:, 0, 0][:, None, None]
        return DecoderOutput(logits=logits, attention=attention if with_attention else None)


class Told:
    """Reads as its model does, and says that what was looked at adds twice as much to the left."""

    def __init__(self, model):
        self.model = model

    def __call__(self, features, words, with_attention=False):
        return self.model.read(features, words, with_attention)

    def evidence(self, features, words, attention):
        return attention.sum(dim=1) * torch.tensor([2.0, 1.0, 2.0, 1.0])


class Brightness(nn.Module):
    grid = (2, 2)

    def forward(self, pixels):
        return nn.functional.adaptive_avg_pool2d(pixels.mean(1, keepdim=True), 2).flatten(2).mT


@pytest.fixture
def planted(tokenizer):
    """Before "dog" it looks mostly at the top left, before "ball" at the bottom right."""
    _, header = TOYS["lstm"](tokenizer)
    config = PreprocessConfig(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    looks = {"dog": [0.7, 0.1, 0.2, 0.0], "ball": [0.0, 0.3, 0.3, 0.4]}
    return TorchCaptioner(Planted(tokenizer, looks), replace(header, preprocess=config))


def caption(text, *phrases):
    """A caption; each phrase is (first word, words, boxes)."""
    return BoxedCaption(
        text=text,
        phrases=tuple(
            Phrase(first=first, words=count, kinds=("animals",), boxes=tuple(boxes))
            for first, count, boxes in phrases
        ),
    )


# Looking


def test_every_phrase_is_judged_by_the_attention_before_its_last_word(planted):
    boxes = [QUARTERS["top left"], QUARTERS["bottom left"]]
    image = BoxedImage(
        image="1.png",
        captions=(
            caption("a dog", (0, 2, boxes)),
            caption("the red ball .", (0, 3, [(0.25, 0.5, 1.0, 1.0)])),
        ),
    )
    photo = planted.prepare(noise(16, 16))
    dog, ball = read_phrases(planted, image, photo, [AttentionConfig()])
    torch.testing.assert_close(dog.inside, torch.tensor([0.9]))
    assert dog.pointed.tolist() == [1.0]
    torch.testing.assert_close(dog.baselines, torch.tensor([0.5, 0.5, 1.0]))
    torch.testing.assert_close(ball.inside, torch.tensor([0.3 / 2 + 0.4]))
    assert ball.pointed.tolist() == [1.0]
    torch.testing.assert_close(ball.baselines, torch.tensor([0.375, 0.375, 1.0]))
    assert dog.target.tokens == [1]
    torch.testing.assert_close(dog.target.attention, torch.tensor([0.7, 0.1, 0.2, 0.0]))


def test_evidence_is_measured_as_captions_show_it(planted):
    image = BoxedImage(image="1.png", captions=(caption("a dog", (0, 2, [QUARTERS["top left"]])),))
    (dog,) = read_phrases(
        planted, image, planted.prepare(noise(16, 16)), [AttentionConfig(method="evidence")]
    )
    heads = np.array([[[0.7, 0.1], [0.2, 0.0]]], np.float32)
    expected = weigh_evidence(heads, np.array([[1.4, 0.1], [0.4, 0.0]], np.float32))
    assert dog.inside.item() == pytest.approx(expected[0, 0])


def test_words_the_model_does_not_know_are_left_out(planted):
    box = [QUARTERS["top left"]]
    captions = (caption("a giraffe", (0, 2, box)), caption("a dog ,", (1, 2, box)))
    image = BoxedImage(image="1.png", captions=captions)
    assert (
        list(read_phrases(planted, image, planted.prepare(noise(16, 16)), [AttentionConfig()]))
        == []
    )


def test_views_cover_every_layer_head_and_method():
    views = views_of(1, 1, evidence=False)
    assert [(v.layer, v.head) for v in views] == [(1, 1), (1, None), (None, None)]
    views = views_of(2, 2, evidence=True)
    assert [(v.layer, v.head) for v in views[:6]] == [
        (1, 1), (1, 2), (1, None), (2, 1), (2, 2), (2, None),
    ]  # fmt: skip
    assert [v.method for v in views[6:]] == ["mean", "rollout", "contrast", "evidence"]


# Deletion


def test_hidden_regions_are_gray_and_the_others_as_they_were():
    pixels = torch.arange(3 * 4 * 6.0).reshape(3, 4, 6) + 1
    hidden = hide(pixels, torch.tensor([1, 3]), (2, 3))
    assert (hidden[:, :2, 2:4] == 0).all()
    assert (hidden[:, 2:, :2] == 0).all()
    hidden[:, :2, 2:4], hidden[:, 2:, :2] = pixels[:, :2, 2:4], pixels[:, 2:, :2]
    assert torch.equal(hidden, pixels)


def test_a_word_falls_when_what_it_depends_on_is_hidden(planted, tokenizer):
    picture = Image.new("RGB", (8, 8), (128, 128, 128))
    picture.paste((255, 255, 255), (0, 0, 4, 4))  # 1 after normalising; gray is nearly 0
    photo = planted.prepare(picture)
    ids = [tokenizer.start_id, *tokenizer.encode("a dog")]
    there = JudgedWord(ids=ids, tokens=[1], attention=torch.tensor([0.7, 0.1, 0.2, 0.0]))
    elsewhere = JudgedWord(ids=ids, tokens=[1], attention=torch.tensor([0.0, 0.1, 0.2, 0.7]))
    rows = measure_drops(
        planted, photo, [there, elsewhere] * 8, generator=torch.Generator().manual_seed(0)
    )
    others = len(tokenizer) - 3 - 1  # words that may be written, beside dog
    bright, dark = math.e / (math.e + others), 1 / (1 + others)
    torch.testing.assert_close(rows[:, 0], torch.full((16,), bright))
    torch.testing.assert_close(rows[::2, 1], torch.full((8,), dark))
    torch.testing.assert_close(rows[1::2, 1], torch.full((8,), bright))
    at_random = rows[:, 2]
    assert {round(p, 5) for p in at_random.tolist()} == {round(bright, 5), round(dark, 5)}


def test_only_regions_that_show_some_of_the_photo_are_hidden_at_random(planted, tokenizer):
    config = replace(planted.header.preprocess, height=8, width=8, fit="letterbox")
    planted.header = replace(planted.header, preprocess=config)
    planted.model.encoder.grid = (4, 1)
    photo = planted.prepare(Image.new("RGB", (64, 16), "white"))  # on the middle two input rows
    seen = []
    planted.model.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    ids = [tokenizer.start_id, *tokenizer.encode("a dog")]
    target = JudgedWord(ids=ids, tokens=[1], attention=torch.tensor([0.0, 0.1, 0.2, 0.7]))
    measure_drops(planted, photo, [target] * 6, generator=torch.Generator().manual_seed(0))
    at_random = seen[0][2::2]
    assert all((pixels.numpy() != photo.pixels).any() for pixels in at_random)


def test_a_word_of_two_tokens_is_as_likely_as_both(planted, tokenizer):
    ids = [tokenizer.start_id, *tokenizer.encode("a man's dog")]
    target = JudgedWord(ids=ids, tokens=[1, 2], attention=torch.full((4,), 0.25))
    photo = planted.prepare(Image.new("RGB", (8, 8), "white"))
    rows = measure_drops(planted, photo, [target], generator=torch.Generator())
    share = 1 / (math.e + len(tokenizer) - 4)
    assert rows[0, 0].item() == pytest.approx(share**2)


# The command


@pytest.fixture
def data(tmp_path):
    """Two photos with a sentence each, and one of another split."""
    (tmp_path / "photos").mkdir()
    table = {}
    for name, split in (("1.png", "test"), ("2.png", "test"), ("3.png", "train")):
        noise(40, 60, seed=int(name[0])).save(tmp_path / "photos" / name)
        phrases = [
            {
                "first_word_index": 0,
                "phrase": "a dog",
                "phrase_id": "1",
                "phrase_type": ["animals"],
            },
            {
                "first_word_index": 3,
                "phrase": "the beach",
                "phrase_id": "2",
                "phrase_type": ["scene"],
            },
            {
                "first_word_index": 3,
                "phrase": "the beach",
                "phrase_id": "9",
                "phrase_type": ["scene"],
            },
        ]
        table[name] = {
            "split": split,
            "orig_size": [60, 40],
            "boxes_orig_xyxy": {"1": [[0, 0, 30, 20]], "2": [[0, 0, 60, 40]]},
            "sentences": [{"text": "a dog on the beach", "phrases": phrases}],
        }
    (tmp_path / "entities.json").write_text(json.dumps(table))
    return ["--boxes", str(tmp_path / "entities.json"), "--images", str(tmp_path / "photos")]


def test_the_command_reports_everything_needed_to_get_it_again(data, checkpoint, capsys):
    arguments = ["--checkpoint", str(checkpoint), *data, "--split", "test", "--resamples", "20"]
    assert main([*arguments, "--layer", "1", "--head", "1"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert list(report) == [
        "checkpoint", "boxes", "split", "photos", "phrases", "view", "attention_correctness",
        "pointing", "by_kind", "by_view", "generated", "deletion", "seed", "resamples", "sha256",
        "commit",
    ]  # fmt: skip
    assert report["view"] == {"method": "layer", "layer": 1, "head": 1}
    assert (report["photos"], report["phrases"], report["split"]) == (2, 4, "test")
    assert {kind: row["phrases"] for kind, row in report["by_kind"].items()} == {
        "animals": 2,
        "scene": 2,
    }
    scene = report["by_kind"]["scene"]  # a box around everything
    assert scene["attention_correctness"]["uniform"]["value"] == pytest.approx(1)
    assert scene["pointing"]["model"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert report["by_kind"]["animals"]["attention_correctness"]["uniform"]["value"] == (
        pytest.approx(0.25)
    )
    first = report["by_view"][0]
    assert first["attention_correctness"] == pytest.approx(
        report["attention_correctness"]["model"]["value"]
    )
    assert len(report["by_view"]) == (10 if "transformer" in str(checkpoint) else 4)
    above = first["pointing"] - report["pointing"]["centre"]["value"]
    assert first["above_centre"] == pytest.approx(above)
    assert report["deletion"]["words"] == 4
    for line in ("animals", "scene", "layer 1, head 1", "deletion test, 4 words"):
        assert line in err
    main([*arguments, "--layer", "1", "--head", "1"])
    assert json.loads(capsys.readouterr().out) == report


def test_captions_are_grounded_when_asked_for(data, checkpoints, capsys):
    arguments = ["--checkpoint", str(checkpoints["transformer"]), *data, "--deletions", "0"]
    assert main([*arguments, "--resamples", "5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["generated"] is None
    assert "f1" not in report["by_view"][0]
    assert (
        main(
            [*arguments, "--resamples", "5", "--captions", "--gradients", "--attention", "evidence"]
        )
        == 0
    )
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["view"]["method"] == "evidence"
    assert report["generated"]["things"] == 6  # dog and beach, on three photos
    *_, last, gradient, relevance = report["by_view"]
    assert (gradient["method"], relevance["method"]) == ("gradient", "relevance")
    assert "f1" not in gradient
    assert (last["method"], last["f1"]) == ("evidence", report["generated"]["f1"]["value"])
    assert last["located"] == report["generated"]["located"]["value"]
    for line in (
        "F1 of captions",
        "generated captions, ",
        "contrast",
        "evidence",
        "gradient",
        "relevance",
    ):
        assert line in err


def test_photos_can_be_fewer_and_deletions_left_out(data, checkpoints, capsys):
    arguments = ["--checkpoint", str(checkpoints["lstm"]), *data]
    assert main([*arguments, "--limit", "1", "--deletions", "0", "--resamples", "5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["photos"], report["split"], report["deletion"]) == (1, None, None)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--split", "val"], "have no split 'val'"),
        (["--layer", "2"], "attention.layer is 2; the last layer is 1."),
        (["--attention", "rollout"], "attention.method is 'rollout', which needs a single"),
        (
            ["--images", "nowhere"],
            "Image folder or archive nowhere does not exist. Check the path.",
        ),
    ],
)
def test_an_error_takes_one_line(data, checkpoints, capsys, arguments, problem):
    assert main(["--checkpoint", str(checkpoints["lstm"]), *data, *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert problem in err


def test_phrases_that_all_end_in_unknown_words_are_an_error(data, checkpoints, capsys, tmp_path):
    path = tmp_path / "entities.json"
    path.write_text(path.read_text().replace("dog", "yak").replace("the beach", "the moor"))
    assert main(["--checkpoint", str(checkpoints["lstm"]), *data]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: No phrase with boxes ends in a word of the model's vocabulary."
    )

"""The tutorial in docs/your_own_data.md, done word for word with photos of balls and sticks."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from shapes import COLOURS, SHAPES, photograph

from captioner.checkpoint.known import KNOWN
from captioner.pytorch import TorchCaptioner
from data.coco import load_records
from training.settings import load_settings

ROOT = Path(__file__).parent.parent
TUTORIAL, TEACHING = (
    (ROOT / "docs" / "your_own_data.md")
    .read_text(encoding="utf-8")
    .split("\n## Distil a large captioner into a small one\n")
)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def blocks(language: str, text: str = TUTORIAL) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    return [line[2:] for block in blocks("console", text) for line in block.splitlines()]


def follow(line: str, folder: Path) -> str:
    """Run a command as it is written, and return what it printed."""
    program, *words = shlex.split(line)
    start = ["-m", "captioner"] if program == "captioner" else []
    run = subprocess.run(
        [sys.executable, *start, *words],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{line}\n{run.stderr}"
    return run.stdout


COMMANDS = commands(TUTORIAL)


def caption(colour: str, shape: str) -> str:
    return f"a {colour} {shape} on a black table"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder in which the tutorial was followed, and what its commands printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    (folder / "my" / "photos").mkdir(parents=True)
    with (folder / "my" / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption", "split"])
        for colour in COLOURS:
            for shape in SHAPES:
                photo = photograph(colour, shape).resize((300, 300))
                photo.save(folder / "my" / "photos" / f"{colour}-{shape}.png")
                rows.writerow([f"{colour}-{shape}.png", caption(colour, shape), "train"])
        for colour, shape in zip(COLOURS, SHAPES * 2, strict=True):  # smaller ones, unseen
            photo = photograph(colour, shape).resize((200, 180))
            photo.save(folder / "my" / "photos" / f"{colour}.png")
            rows.writerow([f"{colour}.png", caption(colour, shape), "val"])
    (folder / "my" / "settings.toml").write_text(blocks("toml")[0], encoding="utf-8")
    return folder, [follow(line, folder) for line in COMMANDS]


def test_ten_commands_are_enough():
    assert len(COMMANDS) + len(blocks("sh")) <= 10
    assert {shlex.split(line)[0] for line in COMMANDS} == {"python", "captioner"}


def test_the_captioner_learned_the_training_captions(done):
    folder, printed = done
    before = TorchCaptioner.load(ROOT / "checkpoints" / "vit-tiny-transformer", device="cpu")
    after = TorchCaptioner.load(folder / "runs" / "mine" / "best.safetensors", device="cpu")
    told = {f"{c}-{s}.png": caption(c, s).capitalize() for c in COLOURS for s in SHAPES}

    def right(captioner: TorchCaptioner) -> int:
        photos = folder / "my" / "photos"
        return sum(captioner.caption(photos / name).text == told[name] for name in told)

    assert right(before) == 0
    assert right(after) >= 6  # of eight
    assert json.loads(printed[2])["scores"]["Bleu_1"] > 0.8


def test_captions_and_overlays_are_there(done):
    folder, printed = done
    assert printed[0].endswith('images = ["my/shards"]\n')
    assert printed[1].startswith("best validation CIDEr ")
    assert [line.split("\t")[0] for line in printed[3].splitlines()] == [
        "my/photos/red-ball.png",
        "my/photos/blue-stick.png",
    ]
    assert (folder / "my" / "overlays" / "red-ball.png.png").stat().st_size > 10_000
    lines = (folder / "my" / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12


def test_a_captioner_teaches_another_what_it_says_of_photos_without_captions(done):
    """The one that learned above stands in for a large one of the hub."""
    folder, _ = done
    unlabelled, teacher = folder / "my" / "unlabelled", "runs/mine/best.safetensors"
    unlabelled.mkdir()
    for number, colour in enumerate(COLOURS):
        for shape in SHAPES:
            photo = photograph(colour, shape).resize((260 + 20 * number, 280))
            photo.save(unlabelled / f"{colour}-{shape}.png")
    (settings,) = blocks("toml", TEACHING)
    (folder / "my" / "small.toml").write_text(settings, encoding="utf-8")
    lines = commands(TEACHING)
    assert "--checkpoint blip-base " in lines[0]
    assert "blip-base" in KNOWN
    for line in lines:
        follow(line.replace("blip-base", teacher), folder)
    taught = {
        record.image: record.captions[0] for record in load_records(folder / "my/taught.jsonl")
    }
    assert len(taught) == 8
    assert len(set(taught.values())) >= 6
    first = json.loads((folder / "my" / "small.jsonl").read_text().partition("\n")[0])
    assert first["caption"]
    small = TorchCaptioner.load(folder / "runs" / "small" / "best.safetensors", device="cpu")
    same = [small.caption(unlabelled / name).text == caption for name, caption in taught.items()]
    assert sum(same) >= 6


def test_the_example_of_a_captions_file_is_one(tmp_path):
    (tmp_path / "captions.csv").write_text(blocks("csv")[0], encoding="utf-8")
    records = load_records(tmp_path / "captions.csv")
    assert [(r.image, r.split, len(r.captions)) for r in records] == [
        ("red-ball.png", "train", 2),
        ("blue-stick.png", "val", 1),
    ]


def test_the_settings_for_other_words_are_understood(tmp_path):
    settings, own_words, pieces = blocks("toml")
    start = re.search(r"^start_from = .*\n", settings, re.MULTILINE)
    assert start
    head, data = own_words.split("\n[data]\n")
    changed = settings.replace(start[0], head).replace(
        "[[data.train]]", f"[data]\n{data.replace('min_count = 1', '')}{pieces}\n[[data.train]]"
    )
    (tmp_path / "settings.toml").write_text(changed, encoding="utf-8")
    config = load_settings(tmp_path / "settings.toml")
    assert (config.start_from, config.data.words, config.data.vocabulary) == ("", "bpe", 4000)
    assert config.data.max_words == 60

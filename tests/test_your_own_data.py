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

from captioner.pytorch import TorchCaptioner
from data.coco import load_records
from training.settings import load_settings

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "docs" / "your_own_data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)


COMMANDS = [line[2:] for block in blocks("console") for line in block.splitlines()]


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
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    printed = []
    for line in COMMANDS:
        program, *words = shlex.split(line)
        start = ["-m", "captioner"] if program == "captioner" else []
        run = subprocess.run(
            [sys.executable, *start, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, f"{line}\n{run.stderr}"
        printed.append(run.stdout)
    return folder, printed


def test_ten_commands_are_enough():
    assert len(COMMANDS) + len(blocks("sh")) <= 10
    assert {shlex.split(line)[0] for line in COMMANDS} == {"python", "captioner"}


def test_the_captioner_learned_what_it_was_told(done):
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
        "[[data.train]]", f"[data]\n{data}{pieces}\n[[data.train]]"
    )
    (tmp_path / "settings.toml").write_text(changed, encoding="utf-8")
    config = load_settings(tmp_path / "settings.toml")
    assert (config.start_from, config.data.words, config.data.min_count) == ("", "bpe", 1)
    assert config.data.max_words == 60

"""Captions of other languages, from learning them to overlays: one model learns all of them."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from captioner import Caption
from captioner.cli import main as captioner_command
from captioner.overlay import animation, lettering, render
from captioner.overlay.sheet import contact_sheet
from captioner.photo import load_photo
from captioner.pytorch import TorchCaptioner
from tests.captions import caption_of, even, word
from tests.photos import noise
from training.train import main as train

ROOT = Path(__file__).parent.parent
CAPTIONS = {
    "arabic": "كلب بني يركض على الشاطئ",
    "hebrew": "שתי ילדות על הדשא",
    "chinese": "一只狗在海滩上奔跑",
    "japanese": "スケートボードに乗る少年",
}
COLOURS = ("red", "lime", "blue", "white")


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A folder with a photo for each language, and a checkpoint that learned their captions."""
    folder = tmp_path_factory.mktemp("languages")
    (folder / "photos").mkdir()
    rows = ["image,caption"]
    for (name, caption), colour in zip(CAPTIONS.items(), COLOURS, strict=True):
        Image.new("RGB", (48, 32), colour).save(folder / "photos" / f"{name}.png")
        rows.append(f"{name}.png,{caption}")
    (folder / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    source = f"{{annotations='{folder}/captions.csv', images=['{folder}/photos']}}"
    changes = (
        f"data={{words='bpe', vocabulary=400, workers=0, max_words=60, cache='{folder}/cache', "
        "overlap='allowed', "
        f"train=[{', '.join([source] * 4)}], val={source}}}",
        "search={beam=1, max_words=60}",
        "stages=[{name='all', epochs=24, batch_size=4, learning_rate=4e-3, label_smoothing=0, "
        "augment=false}]",
    )
    settings = [str(ROOT / "tests" / "smoke.toml"), "--folder", str(folder / "run")]
    assert train([*settings, *(f"--set={change}" for change in changes)]) == 0
    return folder


@pytest.fixture(scope="module")
def captions(learned: Path) -> dict[str, Caption]:
    captioner = TorchCaptioner.load(learned / "run" / "best.safetensors", device="cpu")
    return {name: captioner.caption(learned / "photos" / f"{name}.png") for name in CAPTIONS}


def test_captions_of_any_language_are_learned_by_heart(captions):
    assert {name: caption.text for name, caption in captions.items()} == CAPTIONS


def test_spaces_stand_where_the_language_has_them(captions):
    for name, caption in captions.items():
        words = [w.text for w in caption.words]
        if name in ("chinese", "japanese"):
            assert "".join(words) == CAPTIONS[name]
            assert len(words) > 1  # and not one word for all
        else:
            assert words == CAPTIONS[name].split()


def test_every_word_has_its_attention_and_a_probability(captions):
    for caption in captions.values():
        total = 0.0
        for shown in caption.words:
            assert shown.attention.shape == (2, 2)
            assert float(shown.attention.sum()) == pytest.approx(1)
            assert 0.3 < shown.probability <= 1
            total += float(np.log(shown.probability))
        assert total >= caption.log_probability - 1e-3  # which has that of the end, too


def test_the_scores_knew_what_was_right(learned):
    ended = torch.load(learned / "run" / "resume.pt", weights_only=True)
    best = max(ended["progress"]["history"], key=lambda epoch: epoch["CIDEr"])
    assert best["Bleu_1"] == pytest.approx(1)
    assert best["CIDEr"] > 5


def test_json_has_the_letters_themselves(learned, capsys):
    photos = [str(learned / "photos" / f"{name}.png") for name in ("chinese", "arabic")]
    checkpoint = str(learned / "run" / "best.safetensors")
    assert captioner_command(["caption", *photos, "--checkpoint", checkpoint, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert CAPTIONS["chinese"] in lines[0]
    assert CAPTIONS["arabic"] in lines[1]
    assert json.loads(lines[0])["caption"] == CAPTIONS["chinese"]


def test_json_is_escaped_where_the_output_knows_no_other_letters(learned, monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    photo = str(learned / "photos" / "chinese.png")
    checkpoint = str(learned / "run" / "best.safetensors")
    assert captioner_command(["caption", photo, "--checkpoint", checkpoint, "--json"]) == 0
    written.flush()
    assert json.loads(written.buffer.getvalue())["caption"] == CAPTIONS["chinese"]


def test_a_folder_of_captions_is_written_in_utf_8(learned):
    checkpoint = str(learned / "run" / "best.safetensors")
    output = learned / "captions.jsonl"
    arguments = ["folder", str(learned / "photos"), "--checkpoint", checkpoint, "--quiet"]
    assert captioner_command([*arguments, "--output", str(output)]) == 0
    text = output.read_text(encoding="utf-8")
    assert all(caption in text for caption in CAPTIONS.values())


@pytest.mark.parametrize("kind", ["png", "gif", "html"])
@pytest.mark.parametrize("name", CAPTIONS)
def test_overlays_are_drawn(learned, captions, name, kind):
    photo = load_photo(learned / "photos" / f"{name}.png")
    drawn = render(photo, captions[name], kind=kind)
    if kind == "html":
        assert f"<title>{CAPTIONS[name]}</title>" in drawn.decode("utf-8")
    else:
        assert len(drawn) > 1000


# From right to left


def ink(sheet: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Dark pixels in a part of a sheet."""
    return int((np.asarray(sheet.crop(box).convert("L")) < 100).sum())


def test_the_panels_of_a_caption_from_right_to_left_run_so():
    photo = Image.new("RGB", (200, 150), "white")
    words = [word(text, even(), p) for text, p in (("א", 0.1), ("ב", 0.2))]
    forth = contact_sheet(photo, caption_of(photo, [word("a", even(), 0.1), word("b", even())]))
    back = contact_sheet(photo, caption_of(photo, words))
    middle = forth.width // 2
    assert ink(forth, (0, 0, middle, 70)) > ink(forth, (middle, 0, forth.width, 70)) == 0
    assert ink(back, (middle, 0, back.width, 70)) > ink(back, (0, 0, middle, 70)) == 0


def test_words_of_an_animation_are_placed_from_the_right():
    photo = noise(200, 300)
    caption = caption_of(photo, [word(text, even()) for text in ("ילדה", "על", "דשא")])
    font = lettering.load_font(22, for_text=caption.text)
    placed = animation._place_words(caption, font, 268)
    ((first, _, text),), ((second, _, _),), ((third, _, _),) = placed
    assert first + font.getlength(text) == pytest.approx(268)
    assert first > second > third > 0


# Letters that no font has


def test_missing_letters_are_reported(monkeypatch):
    monkeypatch.setattr(lettering, "_FONTS", (None, "no such font.ttf"))
    lettering._choose.cache_clear()
    try:
        (fault,) = lettering.find_font_problems("a 猫 on ひ")
        assert fault.startswith(
            "No font on this machine has all letters of the caption (CJK, HIRAGANA), so some "
        )
        photo = noise(60, 60)
        silent = contact_sheet(photo, caption_of(photo, [word("cat", even())]))
        told = contact_sheet(photo, caption_of(photo, [word("猫", even())]))
        assert told.height > silent.height  # for what stands in the foot
    finally:
        lettering._choose.cache_clear()
    assert lettering.find_font_problems("a cat on a mat") == []


def test_a_pillow_that_cannot_write_from_right_to_left_says_so(monkeypatch):
    monkeypatch.setattr(lettering.features, "check", lambda name: name != "raqm")
    assert any("without Raqm" in fault for fault in lettering.find_font_problems("כלב"))
    assert not any("without Raqm" in fault for fault in lettering.find_font_problems("dog"))


def test_of_several_fonts_the_one_that_knows_most_is_taken():
    try:
        ImageFont.truetype("DejaVuSans.ttf", 16)
    except OSError:
        pytest.skip("this machine has no font that knows Arabic and Hebrew")
    for name in ("arabic", "hebrew"):
        assert lettering.find_font_problems(CAPTIONS[name]) == []

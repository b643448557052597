"""The app with a captioner that others trained, fetched from a hub, in a real browser."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from captioner.pytorch import TorchCaptioner
from tests import foreign
from tests.browsing import caption, needs_chromium, opened
from tests.hub import TOKEN, Repo, serve

pytestmark = needs_chromium
ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "samples" / "cat.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return foreign.write(foreign.blip(), tmp_path_factory.mktemp("app") / "blip")


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    """`python ui.py` with the repository of a hub."""
    place = tmp_path_factory.mktemp("home")
    with serve() as hub:
        hub.repos["them/blip"] = Repo(card={"license": "bsd-3-clause"})
        hub.repos["them/blip"].commit({file.name: file.read_bytes() for file in folder.iterdir()})
        process = subprocess.Popen(
            [sys.executable, "-u", "ui.py", "--checkpoint", "hf:them/blip", "--device", "cpu"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {
                "HF_ENDPOINT": hub.address, "HF_HOME": str(place), "HF_HUB_DISABLE_XET": "1",
                "HF_TOKEN": TOKEN, "GRADIO_TEMP_DIR": str(place / "uploads"),
            },
        )  # fmt: skip
        with process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"Running on .*(http://\S+)", line):
                    yield found[1].rstrip("/") + "/"
                    break
            process.terminate()
    assert any("hf:them/blip: fetching" in line for line in lines), "".join(lines)


def test_a_prompted_model_captions_shows_attention_and_scores_a_sentence(browser, address, folder):
    ours = TorchCaptioner.load(folder, device="cpu")
    written = ours.caption(SAMPLE)
    for page in opened(browser, address):
        caption(page, SAMPLE)
        expect(page.locator(".viewer h2")).to_have_text("blip")
        assert page.locator(".viewer .word > span").all_inner_texts() == [
            word.text for word in written.words
        ]
        on = page.locator(".viewer .word").evaluate_all(
            "words => words.findIndex((word) => word.classList.contains('on'))"
        )
        gate = f"gate {100 * written.words[on].gate:.0f}%"
        expect(page.locator(".viewer .note")).to_contain_text(gate)
        page.get_by_text("Your sentence and alternatives").click()
        for button, typed, sentence in (
            ("Score", "two dogs", ours.read_sentence(SAMPLE, "two dogs")),
            ("Continue", "a cat", ours.complete(SAMPLE, "a cat")),
        ):
            page.get_by_label("Your sentence").fill(typed)
            page.get_by_role("button", name=button).click()
            texts = [word.text for word in sentence.words]
            expect(page.locator(".sentence .word > span")).to_have_text(texts)
            shares = page.locator(".sentence .word").evaluate_all(
                "words => words.map((word) => Number(word.style.getPropertyValue('--p')))"
            )
            expected = [word.probability for word in sentence.words]
            assert shares == pytest.approx(expected, abs=0.001)

"""The app with one photo at a time, in a real browser."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from captioner.pytorch import TorchCaptioner
from tests.browsing import PHONE, as_file, grey, needs_chromium, opened, upload
from tests.conftest import TOYS
from tests.photos import noise, turned
from tests.serving import PLANTED

pytestmark = needs_chromium
SAMPLES = Path(__file__).parent.parent / "data" / "samples"
ROUNDING = 10
"""Pixels from the edge within which the page shows round the corners of the photo."""


@pytest.fixture(scope="module")
def planted_url(served) -> str:
    return served[0]["planted"]


@pytest.fixture
def planted(browser, planted_url):
    yield from opened(browser, planted_url)


def choose(page: Page, word: str) -> None:
    page.locator("label.chip", has_text=word).click()


def brightest(page: Page) -> tuple[float, float]:
    """Where the overlay shines most: fractions of the photo's height and width."""
    page.mouse.move(0, 0)
    picture = Image.open(BytesIO(page.locator(".stage").screenshot())).convert("L")
    levels = np.asarray(picture).astype(float)
    inner = levels[ROUNDING:-ROUNDING, ROUNDING:-ROUNDING]
    rows, cols = np.nonzero(inner > inner.max() - 20)
    return (
        (rows.mean() + ROUNDING) / levels.shape[0],
        (cols.mean() + ROUNDING) / levels.shape[1],
    )


def texts(page: Page) -> list[str]:
    """The words on the chips."""
    spans = page.locator(".viewer:visible label.chip:not(.plain) > span").all_inner_texts()
    return [text.split("\n")[0] for text in spans]


def test_each_word_shows_the_region_the_model_looked_at(planted):
    upload(planted, grey())
    expect(planted.locator(".play")).to_be_visible()
    assert texts(planted) == list(PLANTED)
    for word, (row, col) in PLANTED.items():
        choose(planted, word)
        expect(planted.locator(".note")).to_contain_text(f"{word}: 50% sure")
        down, across = brightest(planted)
        assert row / 4 <= down <= (row + 1) / 4, word
        assert col / 4 <= across <= (col + 1) / 4, word
    choose(planted, "photo alone")
    background = planted.locator(".heat").evaluate("e => e.style.backgroundImage")
    assert background == "none"


def test_a_photo_lying_on_its_side_is_shown_upright_under_its_overlay(planted):
    upload(planted, as_file("turned.jpg", turned(noise(60, 120), 6, "JPEG")))
    expect(planted.locator(".play")).to_be_visible()
    box = planted.locator(".stage").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(2, rel=0.02)
    choose(planted, "yellow")
    down, across = brightest(planted)
    assert down > 0.6
    assert across > 0.7


def test_thumbnails_bars_and_play_choose_words_too(planted):
    upload(planted, grey())
    planted.locator(".thumb", has_text="green").click()
    expect(planted.locator("label.chip.on")).to_contain_text("green")
    planted.locator(".bar", has_text="blue").click()
    expect(planted.locator("label.chip.on")).to_contain_text("blue")
    planted.get_by_role("button", name="Play all words").click()
    expect(planted.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    for word in PLANTED:
        expect(planted.locator("label.chip.on")).to_contain_text(word)
    expect(planted.get_by_role("button", name="Play all words")).to_be_visible()


def test_words_are_chosen_with_the_keyboard_alone(planted):
    upload(planted, grey())
    expect(planted.locator(".play")).to_be_visible()
    planted.locator(".chip input[value='3']").focus()  # the radio button that Tab would reach
    for word in ("blue", "green", "red"):
        planted.keyboard.press("ArrowLeft")
        expect(planted.locator("label.chip.on")).to_contain_text(word)
    assert brightest(planted) == (pytest.approx(0.125, abs=0.125), pytest.approx(0.125, abs=0.125))
    planted.keyboard.press("Tab")
    assert planted.evaluate("document.activeElement.className") == "play"
    outline = planted.locator(".play").evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"


def test_a_photo_is_chosen_and_looked_at_with_the_keyboard_alone(planted):
    reach(planted, ".gallery-item[aria-label=cat]")
    planted.keyboard.press("Enter")
    expect(planted.locator(".play")).to_be_visible()
    reach(planted, ".chip input")
    planted.keyboard.press("ArrowLeft")
    expect(planted.locator("label.chip.on")).to_contain_text("blue")
    reach(planted, ".play")
    planted.keyboard.press("Enter")
    expect(planted.get_by_role("button", name="Stop", exact=True)).to_be_visible()


def reach(page: Page, selector: str) -> None:
    """Press Tab until this has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never reached {selector}")


def test_only_what_the_method_uses_is_offered_and_it_is_used(page, tokenizer):
    page.get_by_text("How the sentence is looked for").click()
    expect(page.get_by_label("number input for Beam")).to_be_visible()
    for name in ("Temperature", "Top-k", "Top-p", "Seed"):
        expect(page.get_by_label(name)).to_have_count(0)
    page.get_by_label("Sampling").check()
    expect(page.get_by_label("number input for Top-k")).to_be_visible()
    expect(page.get_by_label("number input for Beam")).to_have_count(0)
    changes = {"temperature": 1.8, "top_k": 3, "seed": 11, "max_words": 4}
    labels = (
        "number input for Temperature",
        "number input for Top-k",
        "Seed",
        "number input for L",
    )
    for label, value in zip(labels, changes.values(), strict=True):
        page.get_by_label(label).fill(str(value))
        page.keyboard.press("Tab")
    upload(page, SAMPLES / "cat.jpg")
    expect(page.locator(".play")).to_be_visible()
    captioner = TorchCaptioner(*TOYS["transformer"](tokenizer))
    expected = captioner.caption(SAMPLES / "cat.jpg", method="sample", **changes)
    expect(page.locator(".words")).to_have_attribute("data-text", expected.text)


def test_the_caption_is_copied(browser, planted_url):
    for page in opened(browser, planted_url, permissions=["clipboard-read", "clipboard-write"]):
        upload(page, grey())
        page.get_by_role("button", name="Copy caption").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == " ".join(PLANTED)


def test_the_overlay_can_be_made_weaker_without_drawing_it_anew(planted):
    upload(planted, grey())
    expect(planted.locator(".play")).to_be_visible()
    planted.get_by_text("How attention is drawn").click()
    strength = planted.get_by_label("number input for Strength of the overlay")
    expect(strength).to_have_value("0.75")
    for value in ("0.4", "0.2"):
        strength.fill(value)
        planted.keyboard.press("Tab")
    expect(planted.locator(".heat")).to_have_css("opacity", "0.2")


def test_a_photo_is_captioned_as_by_the_library(page, tokenizer):
    upload(page, SAMPLES / "cat.jpg")
    expect(page.locator(".play")).to_be_visible()
    captioner = TorchCaptioner(*TOYS["transformer"](tokenizer))
    caption = captioner.caption(SAMPLES / "cat.jpg")
    assert texts(page) == [word.text for word in caption.words]
    expect(page.locator(".photo")).to_have_attribute("alt", f"The photo: {caption.text}")
    shown = page.locator(".candidates label").all_inner_texts()
    assert [" ".join(text.split()[1:]) for text in shown] == [
        caption.text,
        *(candidate.text for candidate in caption.candidates),
    ]


def test_the_next_photo_is_read_as_it_comes_too(page, tokenizer):
    upload(page, SAMPLES / "photographer.jpg")
    expect(page.locator(".play")).to_be_visible()
    upload(page, SAMPLES / "astronaut.jpg")
    caption = TorchCaptioner(*TOYS["transformer"](tokenizer)).caption(SAMPLES / "astronaut.jpg")
    expect(page.locator(".photo")).to_have_attribute("alt", f"The photo: {caption.text}")
    chips = page.locator(".viewer:visible label.chip:not(.plain) > span")
    shares = [f"{word.probability:.0%}" for word in caption.words]
    expect(chips).to_have_text(
        [re.compile(f"{share}$") for share in shares]
    )  # once it is all there


def test_another_candidate_brings_its_own_words_and_overlays(page):
    upload(page, SAMPLES / "cat.jpg")
    before = page.locator(".strip").inner_html()
    page.locator(".candidates label").nth(2).click()
    wanted = page.locator(".candidates label").nth(2).inner_text().split()[1:]
    expect(page.locator(".words")).to_have_attribute("data-text", " ".join(wanted))
    assert page.locator(".strip").inner_html() != before


def test_models_are_compared_side_by_side(page, tokenizer):
    page.get_by_label("compare all").check()
    upload(page, SAMPLES / "cat.jpg")
    expect(page.locator(".play")).to_have_count(2)
    expect(page.locator(".viewer h2")).to_have_text(["toy-transformer", "toy-lstm"])
    for name, place in (("transformer", 0), ("lstm", 1)):
        caption = TorchCaptioner(*TOYS[name](tokenizer)).caption(SAMPLES / "cat.jpg")
        expect(page.locator(".words").nth(place)).to_have_attribute("data-text", caption.text)
    first, second = (page.locator(".viewer").nth(n) for n in (0, 1))
    chosen = second.locator("label.chip.on").inner_text()
    first.locator("label.chip").first.click()
    assert second.locator("label.chip.on").inner_text() == chosen  # each has a choice of its own
    left, right = first.bounding_box(), second.bounding_box()
    assert left["x"] + left["width"] <= right["x"]


def test_overlays_are_saved_as_files(page):
    upload(page, SAMPLES / "cat.jpg")
    expect(page.locator(".play")).to_be_visible()
    starts = {"PNG": b"\x89PNG", "GIF": b"GIF89a", "HTML": b"<!DOCTYPE html>", "JSON": b"{"}
    for kind, start in starts.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {kind}").first.click()
        assert download.value.suggested_filename == f"caption.{kind.lower()}"
        assert Path(download.value.path()).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.jpg", b"no photo, a text", "notes.jpg: not an image"),
        (
            "drawing.svg",
            b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
            "drawing.svg: SVG is a drawing, not a photo",
        ),
        ("<img src=x onerror=alert(1)>.jpg", b"no photo", "jpg: not an image"),
    ],
)
def test_what_is_no_photo_is_named_with_the_reason(page, name, content, reason):
    upload(page, as_file(name, content))
    expect(page.get_by_text(reason).first).to_be_visible()
    expect(page.locator("#photo img")).to_have_count(0)  # and there is room for another one
    upload(page, SAMPLES / "cat.jpg")
    expect(page.locator(".play")).to_be_visible()


def test_a_photo_of_40_megapixels_is_captioned(page, tmp_path):
    Image.open(SAMPLES / "cat.jpg").resize((8000, 5000)).save(tmp_path / "large.jpg", quality=80)
    upload(page, tmp_path / "large.jpg")
    expect(page.locator(".play")).to_be_visible()
    width = page.locator(".photo").evaluate("e => e.naturalWidth")
    assert 1280 <= width <= 2048


def test_nothing_sticks_out_of_a_phone(browser, planted_url):
    for page in opened(browser, planted_url, viewport=PHONE, is_mobile=True, has_touch=True):
        upload(page, grey())
        page.locator("label.chip", has_text="green").tap()
        expect(page.locator(".note")).to_contain_text("green")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        box = page.locator(".stage").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser, url, scheme):
    """No serious violation of the rules that axe-core checks, contrast and names among them."""
    for page in opened(browser, url, color_scheme=scheme):
        upload(page, SAMPLES / "cat.jpg")
        expect(page.locator(".play")).to_be_visible()
        page.wait_for_timeout(500)  # for transitions of colours to end
        results = Axe().run(page).response
        grave = [
            (violation["id"], node["html"][:200])
            for violation in results["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert grave == []

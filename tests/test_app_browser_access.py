"""The app for keyboards, screen readers and small screens, in a real browser."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browsing import PHONE, caption, choose_model, grey, needs_chromium, opened

pytestmark = needs_chromium
SAMPLES = Path(__file__).parent.parent / "data" / "samples"
TABLET = {"width": 820, "height": 1180}
OPEN_ALL = "document.querySelectorAll('details').forEach((part) => (part.open = true))"


@pytest.fixture
def planted(browser, served):
    yield from opened(browser, served[0]["planted"], reduced_motion="reduce")


def reach(page: Page, selector: str) -> None:
    """Press Tab until this has the focus, and make sure that it is seen to have it."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            break
    else:
        raise AssertionError(f"Tab never reached {selector}")
    outlined = """() => {
      const own = document.activeElement;
      const near = [own, own.nextElementSibling, own.closest("label"), own.parentElement];
      return near.some((e) => e && getComputedStyle(e).outlineStyle !== "none");
    }"""
    assert page.evaluate(outlined), f"{selector} has the focus, and nobody sees it"


def test_words_are_selected_with_the_keyboard(planted):
    reach(planted, ".word input")
    for word in ("green", "blue", "yellow"):
        planted.keyboard.press("ArrowRight")
        expect(planted.locator(".word.on")).to_have_text(word)
    planted.keyboard.press("Tab")
    assert planted.evaluate("document.activeElement.textContent") == "Play all words"


def test_a_sample_is_captioned_and_played_with_the_keyboard(planted):
    before = planted.locator(".viewer").get_attribute("data-key")
    reach(planted, ".samples button[aria-label=gull]")
    planted.keyboard.press("Enter")
    expect(planted.locator(".viewer")).not_to_have_attribute("data-key", before)
    expect(planted.locator(".viewer")).to_have_attribute("data-state", "done")
    reach(planted, ".word input")
    planted.keyboard.press("ArrowLeft")
    expect(planted.locator(".word.on")).to_have_text("yellow")
    reach(planted, ".play")
    planted.keyboard.press("Enter")
    expect(planted.get_by_role("button", name="Stop", exact=True)).to_be_visible()


def test_regions_are_selected_with_the_arrow_keys(planted):
    reach(planted, ".stage")
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft"):
        planted.keyboard.press(key)
    expect(planted.locator(".note")).to_contain_text("Attention here: red 16x uniform")
    planted.keyboard.press("Escape")
    expect(planted.locator(".frame")).to_be_hidden()
    expect(planted.locator(".note")).to_contain_text("red: 50%")


def test_models_methods_and_candidates_are_selected_with_the_arrow_keys(page):
    reach(page, ".candidates input")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".candidates input").nth(1)).to_be_checked()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".candidates input").nth(2)).to_be_checked()
    before = page.locator(".viewer").first.get_attribute("data-key")
    reach(page, "[data-testid^=toy-transformer] input, input[value=toy-transformer]")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("toy-lstm")).to_be_checked()
    expect(page.locator(".viewer:visible h2")).to_have_text("toy-lstm")
    assert page.locator(".viewer:visible").get_attribute("data-key") != before
    page.get_by_text("Decoding").click()
    page.get_by_role("radio", name="Beam search").focus()
    expect(page.get_by_role("radio", name="Beam search")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Greedy")).to_be_checked()


def test_no_label_is_an_untranslated_key_of_gradio(page):
    """Gradio has no words of its own for some tips, and shows the name of the text instead."""
    names = page.locator("[title], [aria-label]").evaluate_all(
        "all => all.flatMap((e) => [e.title, e.getAttribute('aria-label')])"
    )
    assert [name for name in names if name and re.fullmatch(r"[a-z_]+\.[a-z_.]+", name)] == []


@pytest.mark.parametrize("size", [PHONE, TABLET])
def test_nothing_overflows_a_small_screen(browser, served, size):
    options = {"viewport": size, "is_mobile": True, "has_touch": True}
    for page in opened(browser, served[0]["planted"], **options):
        caption(page, grey())
        page.locator("label.word", has_text="green").tap()
        expect(page.locator(".note")).to_contain_text("green")
        expect(page.locator(".note")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        box = page.locator(".stage").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size["width"]
        page.locator(".stage").tap(position={"x": 5, "y": 5})
        expect(page.locator(".note")).to_contain_text("Attention here: red 16x uniform")


@pytest.mark.parametrize("size", [PHONE, TABLET])
def test_nothing_overflows_a_small_screen_with_all_sections_open(browser, url, size):
    for page in opened(browser, url, viewport=size, is_mobile=True, has_touch=True):
        page.evaluate(OPEN_ALL)
        page.locator(".timeline canvas").first.tap(position={"x": 5, "y": 5})
        expect(page.locator(".annotations")).to_be_visible()
        expect(page.locator(".heads")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_phone_scrolls_to_the_photo_when_a_sample_is_chosen(browser, served):
    options = {"viewport": PHONE, "is_mobile": True, "has_touch": True}
    for page in opened(browser, served[0]["planted"], **options):
        page.get_by_role("button", name="gull").tap()
        expect(page.locator(".stage")).to_be_in_viewport()
        expect(page.locator(".sentence")).to_be_in_viewport()


def test_a_tablet_shows_compared_models_side_by_side(browser, url):
    for page in opened(browser, url, viewport=TABLET):
        choose_model(page, "Compare all")
        left, right = (page.locator(".viewer").nth(n).bounding_box() for n in (0, 1))
        assert left["x"] + left["width"] <= right["x"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_passes_axe(browser, url, scheme):
    """No violation of the rules that axe-core checks, contrast and names among them."""
    for page in opened(browser, url, color_scheme=scheme, reduced_motion="reduce"):
        for state in ("fresh", "all open", "captioned"):
            if state == "all open":
                page.evaluate(OPEN_ALL)
            if state == "captioned":
                caption(page, SAMPLES / "cat.jpg")
            page.wait_for_timeout(500)  # for transitions of colours to end
            results = Axe().run(page).response
            faults = [
                (violation["id"], violation["impact"], node["html"][:200])
                for violation in results["violations"]
                for node in violation["nodes"]
            ]
            assert faults == [], state

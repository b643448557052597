"""Models side by side, the timeline, and samples against people, in a real browser."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from captioner.overlay import format_probability
from captioner.pytorch import TorchCaptioner
from tests.browsing import caption, choose_model, grey, needs_chromium, opened
from tests.conftest import TOYS
from tests.serving import PLANTED
from tests.test_app_browser_attention import SAMPLES, set_display

pytestmark = needs_chromium


@pytest.fixture
def planted(browser, served):
    for page in opened(browser, served[0]["planted"]):
        caption(page, grey())
        yield page


def test_compared_models_select_the_same_word(page):
    choose_model(page, "Compare all")
    first, second = (page.locator(".viewer:visible").nth(n) for n in (0, 1))
    for viewer, text in ((first, "A dog on the beach"), (second, "The beach")):
        viewer.get_by_text("Your sentence and alternatives").click()
        viewer.get_by_label("Your sentence").fill(text)
        page.keyboard.press("Enter")
        expect(viewer.locator(".sentence")).to_contain_text("beach")
    first.locator("label.word", has_text="the").click()
    expect(second.locator(".word.on")).to_have_text("The")
    first.locator("label.word", has_text="dog").click()
    expect(second.locator(".word.on")).to_have_text("The")  # it has no dog
    second.locator("label.word", has_text="beach").click()
    expect(first.locator(".word.on")).to_have_text("beach")


def test_the_timeline_shows_words_by_regions_and_points_at_them(planted):
    planted.get_by_text("Timeline (words by regions)").click()
    rows = planted.locator(".timeline button")
    expect(rows.locator("span")).to_have_text(list(PLANTED))
    heaviest = rows.locator("canvas").evaluate_all(
        """all => all.map((c) => {
          const pixels = c.getContext("2d").getImageData(0, 0, c.width, 1).data;
          const light = [...Array(c.width).keys()].map((n) => pixels[4 * n] + pixels[4 * n + 1]);
          return light.indexOf(Math.max(...light));
        })"""
    )
    assert heaviest == [4 * row + col for row, col in PLANTED.values()]
    box = rows.nth(0).locator("canvas").bounding_box()
    planted.mouse.move(box["x"] + box["width"] * 3.5 / 16, box["y"] + 5)  # where green is
    expect(planted.locator(".note")).to_contain_text("Attention here: green 16x uniform")
    planted.mouse.move(0, 0)
    expect(planted.locator(".frame")).to_be_hidden()
    rows.nth(2).focus()
    planted.keyboard.press("Enter")
    expect(planted.locator(".word.on")).to_have_text("blue")
    expect(rows.nth(2)).to_be_focused()


def test_a_sample_is_compared_with_its_human_annotations(page, tokenizer):
    page.get_by_text("Your sentence and alternatives").click()
    page.get_by_label("Your sentence").fill("Two girls run on the beach")
    page.keyboard.press("Enter")
    expect(page.locator(".sentence .word")).to_have_count(6)
    page.get_by_text("Human captions and boxes").click()
    people = json.loads((SAMPLES / "annotations.json").read_text())["photos"]["horses"]
    expect(page.locator(".annotations ul").last.locator("li")).to_have_text(people["captions"])
    expect(page.locator(".annotations .same").first).to_have_text("beach")
    expect(page.locator(".annotations")).to_contain_text("Annotated, but not mentioned: horse.")
    read = TorchCaptioner(*TOYS["transformer"](tokenizer)).read_sentence(
        SAMPLES / "horses.jpg", "Two girls run on the beach"
    )
    weights, grid = read.words[1].attention, read.words[1].attention.shape
    inside = np.zeros(grid, bool)
    for top, left, bottom, right in people["boxes"]["person"]:
        y, x = ((np.arange(n) + 0.5) / n for n in grid)
        inside |= np.outer((top <= y) & (y <= bottom), (left <= x) & (x <= right))
    row = page.locator(".annotations li").first
    hit = inside.ravel()[weights.argmax()]
    expect(row.locator("b")).to_have_text("hit" if hit else "miss")
    share, area = (format_probability(float(x)) for x in (weights[inside].sum(), inside.mean()))
    expect(row).to_contain_text(f"{share} of its attention inside person boxes, which cover {area}")
    row.get_by_role("button", name="girls").click()
    expect(page.locator(".word.on")).to_have_text("girls")
    expect(page.locator(".stage .mark")).to_have_count(2)
    page.get_by_text("Human captions and boxes").click()
    expect(page.locator(".stage .mark")).to_have_count(0)
    caption(page, SAMPLES / "cat.jpg")
    expect(page.get_by_text("Human captions and boxes")).to_have_count(0)


def test_compared_models_can_share_one_scale(page, tokenizer):
    choose_model(page, "Compare all")
    caption(page, SAMPLES / "cat.jpg")
    legends = page.locator(".viewer:visible .meaning")
    set_display(page, "scale", "caption")
    maps = [
        [word.attention for word in TorchCaptioner(*make(tokenizer)).caption(file).words]
        for make in TOYS.values()
        for file in [SAMPLES / "cat.jpg"]
    ]
    peaks = [max(4.0, *(float(own.max() * own.size) for own in words)) for words in maps]
    say = lambda peak: f"0 to {peak:.0f}x uniform"  # noqa: E731
    expect(legends).to_have_text([say(peak) for peak in peaks])
    assert say(peaks[0]) != say(peaks[1])
    set_display(page, "scale", "models")
    expect(legends).to_have_text([say(max(peaks))] * 2)
    caption(page, SAMPLES / "coffee.jpg")
    first, second = legends.all_inner_texts()
    assert first == second

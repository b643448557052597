"""What the app shows of attention, in a real browser: drawn there, as the library would."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from captioner import AttentionConfig
from captioner.overlay import Style, choose_scales, format_probability, heat_layer, spread
from captioner.pytorch import TorchCaptioner
from tests.browsing import caption, choose_model, grey, needs_chromium, opened
from tests.conftest import TOYS
from tests.serving import PLANTED

pytestmark = needs_chromium
SAMPLES = Path(__file__).parent.parent / "data" / "samples"
ROUNDING = 10
"""Pixels from the edge within which the page shows round the corners of the photo."""


@pytest.fixture
def planted(browser, served):
    for page in opened(browser, served[0]["planted"]):
        caption(page, grey())
        yield page


def choose(page: Page, word: str) -> None:
    page.locator("label.word", has_text=word).click()


def set_display(page: Page, name: str, value: str) -> None:
    if not page.locator(".display").is_visible():
        page.get_by_text("Attention display").click()
    page.locator(f"[data-setting={name}]").select_option(value)


def brightest(page: Page) -> tuple[float, float]:
    """Where the overlay shines most: fractions of the photo's height and width."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # the overlay fades in
    picture = Image.open(BytesIO(page.locator(".stage").screenshot())).convert("L")
    levels = np.asarray(picture).astype(float)
    inner = levels[ROUNDING:-ROUNDING, ROUNDING:-ROUNDING]
    rows, cols = np.nonzero(inner > inner.max() - 20)
    return (
        (rows.mean() + ROUNDING) / levels.shape[0],
        (cols.mean() + ROUNDING) / levels.shape[1],
    )


def canvas(page: Page) -> np.ndarray:
    """The pixels of the overlay: (height, width, RGBA)."""
    height, width, pixels = page.locator(".stage .overlay").evaluate(
        """c => [c.height, c.width,
          [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]]"""
    )
    return np.array(pixels, np.uint8).reshape(height, width, 4)


def test_each_word_shows_the_region_the_model_attended_to(planted):
    for word, (row, col) in PLANTED.items():
        choose(planted, word)
        expect(planted.locator(".note")).to_contain_text(f"{word}: 50%, 16x uniform, most at the ")
        down, across = brightest(planted)
        assert row / 4 <= down <= (row + 1) / 4, word
        assert col / 4 <= across <= (col + 1) / 4, word
    planted.get_by_role("button", name="Hide overlay").click()
    expect(planted.locator(".stage .overlay")).to_be_hidden()


@pytest.mark.parametrize("kind", list(TOYS))
@pytest.mark.parametrize(("drawing", "scale"), [("heat", "word"), ("spotlight", "caption")])
def test_overlays_match_those_of_the_library(page, tokenizer, kind, drawing, scale):
    if kind == "lstm":
        choose_model(page, "toy-lstm")
    caption(page, SAMPLES / "coffee.jpg")
    set_display(page, "drawing", drawing)
    set_display(page, "scale", scale)
    ours = TorchCaptioner(*TOYS[kind](tokenizer)).caption(SAMPLES / "coffee.jpg")
    page.locator(".viewer:visible label.word").first.click()
    page.mouse.move(0, 0)
    drawn = canvas(page.locator(".viewer:visible"))
    size = drawn.shape[:2]
    maps = [spread(w.attention, ours.geometry, smooth=True, size=size) for w in ours.words]
    weight = choose_scales(maps, shared=scale == "caption")[0]
    style = Style(drawing=drawing, alpha=1.0)
    theirs = np.asarray(heat_layer(maps[0], scale=weight, style=style).convert("RGBA")).astype(int)
    opacity = np.abs(drawn[..., 3].astype(int) - theirs[..., 3])
    assert opacity.mean() < 3  # of 255: the library takes means over pixels, and eight bits round
    seen = theirs[..., 3] > 60  # canvases forget the colour of what is nearly transparent
    assert np.abs(drawn[seen].astype(int) - theirs[seen]).mean() < 4


def test_another_view_style_or_colour_is_shown_without_the_server(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    ours = TorchCaptioner(*TOYS["transformer"](tokenizer)).caption(SAMPLES / "cat.jpg")
    page.locator("label.word").first.click()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    before = canvas(page)
    for name, value in (("colours", "viridis"), ("drawing", "spotlight")):
        set_display(page, name, value)
        after = canvas(page)
        assert (before != after).any()
        before = after
    set_display(page, "view", "layer 1, head 2")
    first = ours.with_view(AttentionConfig(layer=1, head=2)).words[0]
    peak = first.attention.max() * first.attention.size
    shown = f"{peak:.{int(peak < 3)}f}x uniform"
    expect(page.locator(".note")).to_contain_text(shown)
    assert requests == []


@pytest.mark.parametrize(
    ("view", "method"),
    [("contrast", "contrast"), ("evidence", "evidence")],
)
def test_derived_views_match_those_of_the_library(page, tokenizer, view, method):
    caption(page, SAMPLES / "cat.jpg")
    page.get_by_text("Your sentence and alternatives").click()
    page.get_by_label("Your sentence").fill("A dog on the beach")
    page.keyboard.press("Enter")
    expect(page.locator(".sentence .word")).to_have_count(5)
    set_display(page, "view", view)
    model = TorchCaptioner(*TOYS["transformer"](tokenizer))
    ours = model.read_sentence(SAMPLES / "cat.jpg", "A dog on the beach")
    ours = ours.with_view(AttentionConfig(method=method))
    for number, word in enumerate(ours.words):
        page.locator("label.word").nth(number).click()
        told = page.locator(".note").inner_text()
        peak = word.attention.max() * word.attention.size
        shown = float(re.search(r"([\d.]+)x uniform", told)[1])
        assert shown == pytest.approx(peak, rel=0.05, abs=0.6)


def test_display_settings_are_kept_in_the_address(browser, url):
    for page in opened(browser, url):
        set_display(page, "drawing", "spotlight")
        set_display(page, "view", "layer 2, head 1")
        address = page.url
    assert address.endswith("#drawing=spotlight&view=layer+2%2C+head+1")
    for page in opened(browser, url):
        with page.expect_navigation():  # a link that is followed on the page itself
            page.evaluate("hash => (location.hash = hash)", address.partition("#")[2])
        page.get_by_text("Attention display").click()
        expect(page.locator("[data-setting=drawing]")).to_have_value("spotlight")
        expect(page.locator("[data-setting=view] option:checked")).to_have_text("layer 2, head 1")


def test_changing_the_opacity_does_not_redraw_the_overlay(planted):
    planted.get_by_text("Attention display").click()
    expect(planted.locator(".stage .overlay")).to_have_css("opacity", "0.9")
    planted.locator("[data-setting=strength]").fill("0.2")
    expect(planted.locator(".stage .overlay")).to_have_css("opacity", "0.2")


def test_thumbnails_and_playing_select_words(planted):
    planted.locator(".thumb", has_text="green").click()
    expect(planted.locator(".word.on")).to_have_text("green")
    planted.get_by_role("button", name="Play all words").click()
    for word in (*PLANTED, "red"):  # it rests on the most telling
        expect(planted.locator(".word.on")).to_have_text(word)
    expect(planted.get_by_role("button", name="Play all words")).to_be_visible()


def test_pointing_at_the_photo_highlights_words_that_attended_there(planted):
    box = planted.locator(".stage").bounding_box()
    for word, (row, col) in PLANTED.items():
        x, y = box["x"] + box["width"] * (col + 0.5) / 4, box["y"] + box["height"] * (row + 0.5) / 4
        planted.mouse.move(x, y)
        expect(planted.locator(".note")).to_contain_text(f"Attention here: {word} 16x uniform")
        lit = planted.locator(".word").evaluate_all(
            "words => words.filter((w) => Number(w.style.getPropertyValue('--here')) > 0.5)"
            ".map((w) => w.innerText.trim())"
        )
        assert lit == [word]
    planted.mouse.move(0, 0)
    expect(planted.locator(".note")).to_contain_text("red: 50%")
    expect(planted.locator(".frame")).to_be_hidden()


def test_a_box_drawn_with_the_mouse_stays_until_it_is_clicked_again(planted):
    box = planted.locator(".stage").bounding_box()
    across = lambda share: box["x"] + box["width"] * share  # noqa: E731
    down = lambda share: box["y"] + box["height"] * share  # noqa: E731
    planted.mouse.move(across(0.1), down(0.1))
    planted.mouse.down()
    planted.mouse.move(across(0.9), down(0.1), steps=4)  # the upper row: red and green
    planted.mouse.up()
    planted.mouse.move(0, 0)
    expect(planted.locator(".note")).to_contain_text(
        "Attention here: red 4x uniform, green 4x uniform"
    )
    choose(planted, "blue")
    expect(planted.locator(".frame")).to_be_hidden()


def test_layers_and_heads_are_shown_in_a_grid_and_can_be_selected(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    page.get_by_text("Layers and heads").click()
    cells = page.locator(".cell")
    expect(cells).to_have_count(6)  # of two layers: the mean, and two heads
    expect(page.locator(".cell[aria-pressed=true]")).to_have_attribute(
        "title", re.compile("layer 2, mean of heads: ")
    )
    page.get_by_role("button", name="layer 1, head 2").click()
    expect(page.get_by_role("button", name="layer 1, head 2")).to_have_attribute(
        "aria-pressed", "true"
    )
    assert page.url.endswith("#view=layer+1%2C+head+2")
    ours = TorchCaptioner(*TOYS["transformer"](tokenizer)).caption(SAMPLES / "cat.jpg")
    chosen = page.locator(".word.on").inner_text()
    number = [word.text for word in ours.words].index(chosen)
    head = ours.with_view(AttentionConfig(layer=1, head=2)).words[number]
    peak = head.attention.max() * head.attention.size
    expect(page.locator(".note")).to_contain_text(f"{peak:.{int(peak < 3)}f}x uniform")


def test_your_sentence_is_scored_and_listed_after_the_candidates(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    count = page.locator(".candidates input").count()
    page.get_by_text("Your sentence and alternatives").click()
    page.get_by_label("Your sentence").fill("Two dog's ball")
    page.keyboard.press("Enter")
    expect(page.locator(".sentence .word")).to_have_text(["Two", "dog's", "ball"])
    expect(page.locator(".candidates input")).to_have_count(count + 1)
    expect(page.locator(".candidates label").last).to_contain_text("yours")
    ours = TorchCaptioner(*TOYS["transformer"](tokenizer)).read_sentence(
        SAMPLES / "cat.jpg", "Two dog's ball"
    )
    page.locator("label.word", has_text="ball").click()
    expect(page.locator(".note")).to_contain_text(
        f"ball: {format_probability(ours.words[2].probability)}"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Save JSON").click()
    assert b'"caption": "Two dog\'s ball"' in Path(download.value.path()).read_bytes()


def test_late_toggle_events_draw_nothing_of_a_replaced_caption(page):
    page.evaluate(
        """() => {
          const [viewer, seen] = [document.querySelector(".viewer"), new Set()];
          window.late = () => {
            for (const part of viewer.querySelectorAll("details")) seen.add(part);
            for (const part of seen) {
              part.open = true;
              part.dispatchEvent(new Event("toggle"));
            }
            return seen.size;
          };
          new MutationObserver(window.late).observe(viewer, { attributes: true });
        }"""
    )
    page.evaluate("late()")
    caption(page, SAMPLES / "cat.jpg")  # late while it waits, while it grows, and when it is done
    page.get_by_label("Your sentence").fill("Ball")
    page.keyboard.press("Enter")
    expect(page.locator(".sentence .word")).to_have_text(["Ball"])
    assert page.evaluate("late()") > 8
    page.locator(".candidates input").first.check()
    page.evaluate("late()")
    expect(page.locator(".thumb")).to_have_count(page.locator(".sentence .word").count())


def test_late_alternatives_keep_the_selected_candidate(page):
    caption(page, SAMPLES / "cat.jpg")
    held = []
    page.route("**/queue/join**", lambda route: held.append(route))  # noqa: PLW0108
    page.get_by_text("Your sentence and alternatives").click()
    page.locator(".candidates input").nth(1).check()
    page.locator(".sentence").evaluate("sentence => (sentence.dataset.mine = 1)")
    expect(page.locator(".rivals button")).to_have_count(0)
    assert len(held) == 2
    for request in held:
        request.continue_()
    page.unroute("**/queue/join**")
    expect(page.locator(".rivals button").first).to_be_visible()
    expect(page.locator(".sentence")).to_have_attribute("data-mine", "1")  # not drawn anew
    expect(page.locator(".candidates input").nth(1)).to_be_checked()


def test_an_alternative_replaces_a_word_and_the_model_continues(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    model = TorchCaptioner(*TOYS["transformer"](tokenizer))
    ours = model.read_sentence(SAMPLES / "cat.jpg", model.caption(SAMPLES / "cat.jpg").text)
    page.locator("label.word").first.click()
    page.get_by_text("Your sentence and alternatives").click()
    others = [rival for rival in ours.words[0].rivals if rival.text]
    expect(page.locator(".rivals button")).to_have_count(len(others))
    other = next(rival.text for rival in others if rival.text not in ours.text)
    page.locator(".rivals button", has_text=re.compile(f"^{re.escape(other)} ")).click()
    expected = model.complete(SAMPLES / "cat.jpg", other)
    expect(page.locator(".photo")).to_be_visible()
    expect(page.locator(".sentence .word > span")).to_have_text(
        [word.text for word in expected.words]
    )


def test_unknown_words_are_named_and_the_caption_stays(page):
    caption(page, SAMPLES / "cat.jpg")
    before = page.locator(".sentence").inner_text()
    page.get_by_text("Your sentence and alternatives").click()
    hostile = "<img src=x onerror=alert(1)>"
    page.get_by_label("Your sentence").fill(hostile)
    page.get_by_role("button", name="Score").click()
    expect(page.get_by_text("does not know: <img, src=x, onerror=alert(1)>")).to_be_visible()
    assert page.locator(".sentence").inner_text() == before


def test_a_region_is_painted_out_and_the_words_are_scored_again(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.8, steps=4)
    page.mouse.up()
    before = page.locator(".sentence").inner_text()
    page.get_by_role("button", name="Paint out this region").click()
    model = TorchCaptioner(*TOYS["transformer"](tokenizer))
    words = model.caption(SAMPLES / "cat.jpg").words
    expect(page.locator(".changed")).to_have_count(len(words))
    for shown, word in zip(page.locator(".changed").all(), words, strict=True):
        expect(shown).to_contain_text(word.text)
        expect(shown.locator("small")).to_have_text(re.compile(r"\S+% to \S+%"))
    expect(page.locator(".occlusion")).to_contain_text("ew caption")
    assert page.locator(".sentence").inner_text() == before
    page.locator("label.word").first.click()
    expect(page.locator(".occlusion")).to_have_count(0)

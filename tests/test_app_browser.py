"""The app in a real browser: Chromium without a window, driven through Playwright."""

import json
import mimetypes
import re
import shutil
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from captioner import Captioner
from tests.conftest import TOYS
from tests.photos import noise, turned
from tests.serving import PACE, PLANTED, uploaded

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SAMPLES = Path(__file__).parent.parent / "data" / "samples"
PATIENCE = 180_000
"""Milliseconds to wait for what a slow machine does late."""
ROUNDING = 10
"""Pixels from the edge within which the page shows round the corners of the photo."""
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium; `apt-get install chromium` brings it"
)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(served) -> str:
    return served[0]["toys"]


@pytest.fixture(scope="module")
def planted_url(served) -> str:
    return served[0]["planted"]


@pytest.fixture
def page(browser, url):
    yield from opened(browser, url)


@pytest.fixture
def planted(browser, planted_url):
    yield from opened(browser, planted_url)


def opened(browser: Browser, url: str, **options):
    """A page of its own session; it must ask nobody else for anything, and raise no error."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page, elsewhere, errors = context.new_page(), [], []
    page.on("request", lambda r: None if is_ours(r.url, url) else elsewhere.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.goto(url)
    page.wait_for_selector("#photo input[type=file]", state="attached")
    yield page
    context.close()
    assert elsewhere == []
    assert errors == []


def is_ours(address: str, url: str) -> bool:
    return address.startswith((url, "data:", "blob:"))


def upload(page: Page, file: Path | dict) -> None:
    page.locator("#photo input[type=file]").set_input_files(file)


def as_file(name: str, content: bytes) -> dict:
    kind, _ = mimetypes.guess_type(name)
    return {"name": name, "mimeType": kind, "buffer": content}


def grey(width: int = 160, height: int = 160) -> dict:
    stream = BytesIO()
    Image.new("RGB", (width, height), "#606060").save(stream, "PNG")
    return as_file("grey.png", stream.getvalue())


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
    captioner = Captioner(*TOYS["transformer"](tokenizer))
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
    captioner = Captioner(*TOYS["transformer"](tokenizer))
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
    caption = Captioner(*TOYS["transformer"](tokenizer)).caption(SAMPLES / "astronaut.jpg")
    expect(page.locator(".photo")).to_have_attribute("alt", f"The photo: {caption.text}")
    chips = page.locator(".viewer:visible label.chip:not(.plain) > span")
    expect(chips).to_have_count(len(caption.words))
    expected = [f"{word.probability:.0%}" for word in caption.words]
    assert [chip.split("\n")[-1] for chip in chips.all_inner_texts()] == expected


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
        caption = Captioner(*TOYS[name](tokenizer)).caption(SAMPLES / "cat.jpg")
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


def test_a_batch_goes_on_after_a_broken_file_and_is_saved(page):
    page.get_by_role("tab", name="Several photos").click()
    files = page.locator("input[type=file][multiple]")
    broken = (SAMPLES / "cat.jpg").read_bytes()[:9000]
    files.set_input_files(
        [
            as_file("cat.jpg", (SAMPLES / "cat.jpg").read_bytes()),
            as_file("broken.jpg", broken),
            as_file("coffee.jpg", (SAMPLES / "coffee.jpg").read_bytes()),
        ]
    )
    expect(page.locator(".file-preview tr")).to_have_count(3)
    expect(page.get_by_role("button", name="Save JSON")).to_have_count(0)  # nothing to save yet
    page.get_by_role("button", name="Caption all").click()
    expect(page.locator(".batch [role=status]")).to_have_text(
        "3 of 3 photos done, 1 could not be read"
    )
    rows = page.locator(".batch tbody tr")
    expect(rows.nth(1).locator("th")).to_have_text("broken.jpg")
    expect(rows.nth(1)).to_contain_text("damaged or cut short")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save JSON").click()
    table = json.loads(Path(download.value.path()).read_text())
    assert [row["file"] for row in table] == ["cat.jpg", "broken.jpg", "coffee.jpg"]
    assert [bool(row["caption"]) for row in table] == [True, False, True]


def test_who_comes_when_the_queue_is_full_is_told_and_may_try_again(browser, slow):
    url, folder = slow
    data = {"data": [uploaded(url, SAMPLES / "cat.jpg"), "slow"]}

    def ask() -> str:
        answer = httpx.post(f"{url}gradio_api/call/describe", json=data, timeout=120)
        return f"{url}gradio_api/call/describe/{answer.json()['event_id']}"

    for page in opened(browser, url):
        first = ask()
        while not (folder / "started").exists():  # and so left the queue
            page.wait_for_timeout(50)
        second = ask()  # which fills the queue
        upload(page, SAMPLES / "cat.jpg")
        expect(page.get_by_text("currently busy")).to_be_visible()
        (folder / "go").touch()
        for event in (first, second):
            assert "Written by toy-lstm" in httpx.get(event, timeout=120).text
        page.get_by_role("button", name="Caption again").click()
        expect(page.locator(".play")).to_be_visible()


@pytest.fixture
def batch(browser, served):
    """Eight photos under way, with a model that takes its time; and its notes about them."""
    urls, folder = served
    notes = folder / "paced"
    notes.unlink(missing_ok=True)
    for page in opened(browser, urls["paced"]):
        page.get_by_role("tab", name="Several photos").click()
        files = [grey(100, 50 + n) | {"name": f"{n}.png"} for n in range(8)]
        page.locator("input[type=file][multiple]").set_input_files(files)
        expect(page.locator(".file-preview tr")).to_have_count(8)
        page.get_by_role("button", name="Caption all").click()
        expect(page.locator(".batch [role=status]")).to_contain_text(re.compile("^[1-8] of 8"))
        yield page, notes


def test_others_get_their_turn_between_the_photos_of_a_batch(batch, served, photos):
    page, notes = batch
    client = Client(served[0]["paced"], verbose=False, httpx_kwargs={"timeout": 120})
    client.predict(photo=handle_file(photos[0]), api_name="/describe")
    expect(page.locator(".batch [role=status]")).to_have_text("8 of 8 photos done")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    heights = notes.read_text().split()
    with Image.open(photos[0]) as photo:
        ours = str(photo.height)
    assert 1 <= heights.index(ours) < 8
    assert [height for height in heights if height != ours] == [str(50 + n) for n in range(8)]


def test_a_batch_stops_at_once_and_goes_on_where_it_was(batch):
    page, notes = batch
    page.get_by_role("button", name="Stop").click()
    status = page.locator(".batch [role=status]")
    expect(status).to_contain_text(re.compile("^Stopped: [1-7] of 8"))
    said = status.inner_text()
    page.wait_for_timeout(4 * PACE * 1000)
    assert status.inner_text() == said
    assert len(notes.read_text().split()) <= int(said.split()[1]) + 1  # one was under way
    page.get_by_role("button", name="Caption all").click()
    expect(status).to_have_text("8 of 8 photos done")
    assert len(notes.read_text().split()) <= 9
    assert set(notes.read_text().split()) == {str(50 + n) for n in range(8)}


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

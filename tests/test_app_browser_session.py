"""What a session gathers in the app, in a real browser: its photos, the camera, its address."""

import re
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Page, expect

from captioner.pytorch import TorchCaptioner
from tests.browsing import (
    PHONE,
    await_caption,
    caption,
    choose_model,
    needs_chromium,
    opened,
)
from tests.conftest import TOYS

pytestmark = needs_chromium
SAMPLES = Path(__file__).parent.parent / "data" / "samples"


def sentence(page: Page) -> str:
    return " ".join(page.locator(".viewer:visible .word > span").all_inner_texts())


def test_photos_of_the_session_are_kept_in_the_tray(page, tokenizer):
    expect(page.locator(".tray")).to_have_count(0)
    for name in ("cat.jpg", "coffee.jpg", "cat.jpg"):
        caption(page, SAMPLES / name)
    kept = page.locator(".tray button")
    assert kept.evaluate_all("all => all.map((own) => own.getAttribute('aria-label'))") == [
        "coffee.jpg",
        "cat.jpg",
    ]
    before = page.locator(".viewer").first.get_attribute("data-key")
    kept.first.focus()
    page.keyboard.press("Enter")
    await_caption(page, before)
    model = TorchCaptioner(*TOYS["transformer"](tokenizer))
    assert sentence(page) == model.caption(SAMPLES / "coffee.jpg").text
    expect(kept).to_have_count(2)


def drop(page: Page, *names: str) -> None:
    """Drop sample photos where one is asked for."""
    files = [
        {"name": name, "content": b64encode((SAMPLES / name).read_bytes()).decode()}
        for name in names
    ]
    dropped = page.evaluate_handle(
        """(files) => {
          const all = new DataTransfer();
          for (const { name, content } of files) {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            all.items.add(new File([bytes], name, { type: "image/jpeg" }));
          }
          return all;
        }""",
        files,
    )
    page.locator("#photo button").first.dispatch_event("drop", {"dataTransfer": dropped})


def test_several_dropped_photos_open_the_tab_for_several_photos(page):
    for names in (("cat.jpg", "gull.jpg", "kites.jpg"), ("rocket.jpg", "street.jpg")):
        page.get_by_role("tab", name="One photo").click()
        drop(page, *names)
        expect(page.get_by_role("tab", name="Several photos")).to_have_attribute(
            "aria-selected", "true"
        )
        rows = page.locator(".file-preview tr")
        expect(rows).to_have_count(len(names))
        for row, name in zip(rows.all(), names, strict=True):
            expect(row).to_contain_text(name.removesuffix(".jpg"))
    page.get_by_role("button", name="Caption all").click()
    expect(page.locator(".batch [role=status]")).to_have_text("2 of 2 photos done")


def test_several_chosen_photos_open_that_tab_and_a_single_one_does_not(page):
    with page.expect_file_chooser() as chooser:
        page.locator("#photo button").first.click()
    assert chooser.value.is_multiple()
    before = page.locator(".viewer").first.get_attribute("data-key")
    chooser.value.set_files([SAMPLES / "cat.jpg"])
    await_caption(page, before)
    with page.expect_file_chooser() as chooser:
        page.locator("#photo button").first.click()
    chooser.value.set_files([SAMPLES / "cat.jpg", SAMPLES / "gull.jpg"])
    expect(page.locator(".file-preview tr")).to_have_count(2)


def test_a_link_reproduces_sample_model_decoding_and_display_settings(browser, url, tokenizer):
    changes = {"beam": 2, "forbid": ("dog", "cat"), "max_words": 5}
    for page in opened(browser, url):
        choose_model(page, "toy-lstm")
        page.get_by_text("Decoding").click()
        for label, value in (
            ("number input for Beam width", "2"),
            ("number input for Maximum length", "5"),
            ("Forbidden words", "dog, cat"),
        ):
            page.get_by_label(label).fill(value)
            page.keyboard.press("Tab")
        before = page.locator(".viewer:visible").get_attribute("data-key")
        page.get_by_role("button", name="gull").click()
        await_caption(page, before)
        expect(page).to_have_url(re.compile("sample=gull"))
        address = page.url
    expected = TorchCaptioner(*TOYS["lstm"](tokenizer)).caption(SAMPLES / "gull.jpg", **changes)
    assert sorted(parse_qsl(urlsplit(address).fragment)) == [
        ("beam", "2"),
        ("forbid", "dog, cat"),
        ("max_words", "5"),
        ("model", "toy-lstm"),
        ("sample", "gull"),
    ]
    for page in opened(browser, f"{address}&drawing=spotlight"):
        expect(page.locator(".viewer:visible h2")).to_have_text("toy-lstm")
        expect(page.locator(".viewer:visible .sentence")).to_contain_text(expected.text)
        page.get_by_text("Attention display").click()
        expect(page.locator("[data-setting=drawing]")).to_have_value("spotlight")
        page.get_by_text("Decoding").click()
        expect(page.get_by_label("Forbidden words")).to_have_value("dog, cat")
        caption(page, SAMPLES / "cat.jpg")  # which no link can hold
        assert "sample" not in page.url


@pytest.mark.parametrize(
    "link", ["model=nobody", "beam=99", "beam=x", "method=<b>", "sample=../../etc/passwd"]
)
def test_an_invalid_link_falls_back_to_the_defaults(browser, url, tokenizer, link):
    expected = TorchCaptioner(*TOYS["transformer"](tokenizer)).caption(SAMPLES / "horses.jpg")
    for page in opened(browser, f"{url}#{link}"):
        expect(page.locator(".viewer:visible h2")).to_have_text("toy-transformer")
        page.wait_for_timeout(1000)  # for what it might bring about
        expect(page.locator(".viewer:visible")).to_have_attribute("data-state", "done")
        assert sentence(page) == expected.text


@pytest.mark.parametrize("size", [{"width": 1280, "height": 900}, PHONE])
def test_webcam_frames_are_captioned_and_the_last_one_is_kept(browser, url, size):
    for page in opened(browser, url, permissions=["camera"], viewport=size):
        page.get_by_role("button", name="Live webcam").click()
        viewer = page.locator(".viewer").first
        expect(viewer).to_have_attribute("data-state", "live")
        for _ in range(2):
            before = viewer.locator(".photo").get_attribute("src")
            expect(viewer.locator(".photo")).not_to_have_attribute("src", before)
            expect(viewer.locator(".word.on")).to_have_count(1)
        page.get_by_role("button", name="Stop and keep photo").click()
        expect(viewer).to_have_attribute("data-state", "done")
        expect(page.get_by_role("button", name="Live webcam")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save JSON").click()
        assert download.value.suggested_filename == "webcam.toy-transformer.json"


def test_an_invalid_frame_stops_the_webcam_with_a_message(browser, url):
    for page in opened(browser, url, permissions=["camera"]):
        page.evaluate("HTMLCanvasElement.prototype.toDataURL = () => 'data:image/jpeg;base64,AAAA'")
        page.get_by_role("button", name="Live webcam").click()
        said = page.locator(".live [role=status]")
        expect(said).to_have_text("A frame could not be captioned; start the webcam again.")
        expect(page.get_by_role("button", name="Live webcam")).to_be_visible()
        caption(page, SAMPLES / "cat.jpg")


def test_a_missing_webcam_is_reported(page):
    page.get_by_role("button", name="Live webcam").click()
    expect(page.locator(".live [role=status]")).to_contain_text("Webcam not available: ")
    expect(page.locator(".viewer").first).to_have_attribute("data-state", "done")


def test_an_ensemble_is_among_the_models(browser, served):
    for page in opened(browser, served[0]["doubted"], reduced_motion="reduce"):
        choose_model(page, "doubted + planted")
        expect(page.locator(".viewer:visible h2")).to_have_text("doubted + planted")
        expect(page.locator(".viewer:visible .doubt")).to_have_count(0)
        choose_model(page, "Compare all")
        expect(page.locator(".viewer:visible h2")).to_have_text(["doubted", "planted"])

"""The app with one photo at a time, in a real browser."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from captioner.pytorch import TorchCaptioner
from tests.browsing import (
    as_file,
    await_caption,
    caption,
    choose_model,
    grey,
    needs_chromium,
    opened,
    upload,
)
from tests.conftest import TOYS
from tests.photos import noise, turned
from tests.serving import PLANTED

pytestmark = needs_chromium
SAMPLES = Path(__file__).parent.parent / "data" / "samples"


@pytest.fixture(scope="module")
def planted_url(served) -> str:
    return served[0]["planted"]


@pytest.fixture
def planted(browser, planted_url):
    yield from opened(browser, planted_url)


def texts(page: Page) -> list[str]:
    """The words of the sentence, as they can be chosen."""
    return page.locator(".viewer:visible .word > span").all_inner_texts()


def expected(tokenizer, photo: Path, kind: str = "transformer", **changes):
    return TorchCaptioner(*TOYS[kind](tokenizer)).caption(photo, **changes)


def test_a_fresh_page_shows_a_captioned_sample(planted):
    assert texts(planted) == list(PLANTED)
    expect(planted.locator(".photo")).to_have_attribute("alt", f"The photo: {' '.join(PLANTED)}")
    expect(planted.get_by_role("button", name="Stop", exact=True)).to_be_visible()  # it plays
    expect(planted.get_by_role("button", name="Play all words")).to_be_visible()
    expect(planted.locator(".word.on")).to_have_text("red")  # of equals, the first


def test_a_fresh_page_respects_reduced_motion(browser, planted_url):
    for page in opened(browser, planted_url, reduced_motion="reduce"):
        expect(page.locator(".word.on")).to_have_text("red")
        expect(page.get_by_role("button", name="Play all words")).to_be_visible()


def test_the_demo_can_be_saved_and_captioned_again(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Save JSON").click()
    assert download.value.suggested_filename == "horses.toy-transformer.json"
    choose_model(page, "toy-lstm")
    expect(page.locator(".viewer:visible h2")).to_have_text("toy-lstm")


def test_a_photo_gets_the_caption_of_the_library(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    ours = expected(tokenizer, SAMPLES / "cat.jpg")
    assert texts(page) == [word.text for word in ours.words]
    expect(page.locator(".photo")).to_have_attribute("alt", f"The photo: {ours.text}")
    expect(page.locator(".viewer > [role=status]")).to_have_text(f"Caption: {ours.text}")
    underlines = page.locator(".viewer:visible .word").evaluate_all(
        "words => words.map((word) => Number(word.style.getPropertyValue('--p')))"
    )
    assert underlines == pytest.approx([word.probability for word in ours.words], abs=0.001)


def test_candidates_are_listed_by_score(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    ours = expected(tokenizer, SAMPLES / "cat.jpg")
    scores = page.locator(".candidates .number").all_inner_texts()
    assert scores == [f"{found.score:.3f}" for found in (ours, *ours.candidates)]
    assert [float(score) for score in scores] == sorted(map(float, scores), reverse=True)
    names = page.locator(".candidates label span:last-child").all_inner_texts()
    assert names == [ours.text, *(candidate.text for candidate in ours.candidates)]


def test_the_next_photo_is_captioned_too(page, tokenizer):
    for name in ("photographer.jpg", "astronaut.jpg"):
        caption(page, SAMPLES / name)
        assert texts(page) == [word.text for word in expected(tokenizer, SAMPLES / name).words]


def test_a_sample_is_captioned_and_the_failure_case_is_marked(page, tokenizer):
    before = page.locator(".viewer").first.get_attribute("data-key")
    failure = page.get_by_role("button", name="rocket, a known failure")
    expect(failure).to_contain_text("a failure")
    failure.click()
    await_caption(page, before)
    ours = expected(tokenizer, SAMPLES / "rocket.jpg")
    assert texts(page) == [word.text for word in ours.words]
    assert page.locator(".samples button").count() == 8


def test_the_photo_is_shown_once(page):
    caption(page, SAMPLES / "cat.jpg")
    assert page.locator("#photo img").count() == 0  # and there is room for another one
    assert page.locator(".stage .photo").count() == 1


def test_a_photo_is_shown_in_its_exif_orientation(planted):
    caption(planted, as_file("turned.jpg", turned(noise(60, 120), 6, "JPEG")))
    box = planted.locator(".stage").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(2, rel=0.02)


def test_only_settings_of_the_method_are_shown_and_they_take_effect(page, tokenizer):
    page.get_by_text("Decoding").click()
    expect(page.get_by_label("number input for Beam width")).to_be_visible()
    for name in ("Temperature", "Top-k", "Top-p", "Seed"):
        expect(page.get_by_label(name).first).to_be_hidden()
    page.get_by_label("Sampling").check()
    expect(page.get_by_label("number input for Top-k")).to_be_visible()
    expect(page.get_by_label("number input for Beam width")).to_be_hidden()
    changes = {"temperature": 1.8, "top_k": 3, "seed": 11, "max_words": 4}
    labels = (
        "number input for Temperature",
        "number input for Top-k",
        "Seed",
        "number input for Maximum length",
    )
    for label, value in zip(labels, changes.values(), strict=True):
        page.get_by_label(label).fill(str(value))
        page.keyboard.press("Tab")
    caption(page, SAMPLES / "cat.jpg")
    ours = expected(tokenizer, SAMPLES / "cat.jpg", method="sample", **changes)
    assert texts(page) == [word.text for word in ours.words]


def test_a_setting_typed_immediately_is_kept(page):
    page.get_by_text("Decoding").click()
    words = page.get_by_label("Required words")
    words.fill("dog")
    page.wait_for_timeout(1500)
    expect(words).to_have_value("dog")


def test_groups_that_do_not_divide_the_beam_cannot_be_chosen(page):
    page.get_by_text("Decoding").click()
    groups = page.get_by_label("number input for Beam groups")
    for asked, given in ((2, "2"), (3, "2"), (9, "4")):  # the beam is 4
        groups.fill(str(asked))
        page.keyboard.press("Tab")
        expect(groups).to_have_value(given)
    page.get_by_label("number input for Beam width").fill("3")
    page.keyboard.press("Tab")
    expect(groups).to_have_value("3")


def test_an_invalid_setting_is_named_by_its_label_and_the_photo_stays(page):
    caption(page, SAMPLES / "cat.jpg")
    page.get_by_text("Decoding").click()
    page.get_by_label("Required words").fill("unicorn")
    page.get_by_role("button", name="Caption again").click()
    alert = page.locator(".viewer [role=alert]")
    expect(alert).to_contain_text("“Required words”: 'unicorn' is not in the vocabulary of")
    expect(page.locator(".stage .photo")).to_be_visible()
    before = page.locator(".viewer").first.get_attribute("data-key")
    page.get_by_label("Required words").fill("dog")
    page.get_by_role("button", name="Caption again").click()
    await_caption(page, before)
    assert "dog" in " ".join(texts(page)).lower()


def test_the_caption_is_copied(browser, planted_url):
    for page in opened(browser, planted_url, permissions=["clipboard-read", "clipboard-write"]):
        page.get_by_role("button", name="Copy caption").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == " ".join(PLANTED)


def test_selecting_a_candidate_shows_its_words_without_the_server(page, tokenizer):
    caption(page, SAMPLES / "cat.jpg")
    other = expected(tokenizer, SAMPLES / "cat.jpg").candidates[1]
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.locator(".candidates label").nth(2).click()
    assert " ".join(texts(page)) == other.text
    expect(page.locator(".candidates input").nth(2)).to_be_focused()
    assert requests == []


def test_models_are_compared_side_by_side(page, tokenizer):
    choose_model(page, "Compare all")
    caption(page, SAMPLES / "cat.jpg")
    expect(page.locator(".viewer h2")).to_have_text(["toy-transformer", "toy-lstm"])
    for place, kind in enumerate(TOYS):
        words = page.locator(".viewer").nth(place).locator(".word > span").all_inner_texts()
        assert words == [w.text for w in expected(tokenizer, SAMPLES / "cat.jpg", kind).words]
    first, second = (page.locator(".viewer").nth(n) for n in (0, 1))
    left, right = first.bounding_box(), second.bounding_box()
    assert left["x"] + left["width"] <= right["x"]


def test_downloads_are_named_after_photo_and_model(page):
    caption(page, SAMPLES / "cat.jpg")
    starts = {"PNG": b"\x89PNG", "GIF": b"GIF89a", "HTML": b"<!DOCTYPE html>", "JSON": b"{"}
    for kind, start in starts.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save {kind}").click()
        assert download.value.suggested_filename == f"cat.toy-transformer.{kind.lower()}"
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(start)
        if kind == "JSON":
            assert b'"image": "cat.jpg"' in content


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
def test_a_file_that_is_no_photo_is_reported_with_the_reason(page, name, content, reason):
    upload(page, as_file(name, content))
    expect(page.get_by_text(reason).first).to_be_visible()
    expect(page.locator("#photo img")).to_have_count(0)  # and there is room for another one
    caption(page, SAMPLES / "cat.jpg")


def test_a_photo_of_40_megapixels_is_captioned(page, tmp_path):
    Image.open(SAMPLES / "cat.jpg").resize((8000, 5000)).save(tmp_path / "large.jpg", quality=80)
    caption(page, tmp_path / "large.jpg")
    width = page.locator(".photo").evaluate("e => e.naturalWidth")
    assert 1280 <= width <= 2048


def test_doubtful_words_and_captions_are_marked(browser, served):
    for page in opened(browser, served[0]["doubted"], reduced_motion="reduce"):
        expect(page.locator(".doubt")).to_have_text(["low confidence (25%)", "not a photo? (12%)"])
        expect(page.locator(".word.doubtful")).to_have_text("blue")
        expect(page.locator(".bar")).to_contain_text("wavy: doubtful")
        page.locator("label.word", has_text="blue").click()
        expect(page.locator(".note")).to_contain_text("blue: 50%, doubtful, 16x uniform")


def test_an_empty_caption_is_reported(page):
    page.get_by_text("Decoding").click()
    caption(page, grey())
    assert texts(page)  # the toys always say something; the text is that of `viewer.js`
    assert page.get_by_text("Empty caption.").count() == 0

"""Screenshots of the app for the README; run `python -m tests.pictures` after a model changed.

app/screenshot.jpg    a fresh page, a word chosen
app/compare.jpg       both models side by side
app/timeline.jpg      words by regions, and human annotations

`--show FOLDER` saves screenshots for review instead: each state of the page on a desktop, a tablet
and a phone, light and dark.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from app import build
from tests.browsing import CHROMIUM, as_file, await_caption, caption, upload
from ui import launch_options, load_captioners

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "data" / "samples"
DESKTOP = {"width": 1280, "height": 900}
SIZES = {1440: 900, 820: 1180, 390: 844}
PATIENCE = 60_000
"""Milliseconds to wait for what a slow machine does late."""


@contextmanager
def open_page(browser: Browser, url: str, size: dict[str, int], **options) -> Iterator[Page]:
    context = browser.new_context(viewport=size, reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(url)
    page.locator(".sentence").first.wait_for()
    yield page
    context.close()


def save(page: Page, path: Path, *, width: int | None = None, **options) -> None:
    """Save a screenshot, scaled down to this width."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # until the overlay is drawn
    picture = Image.open(BytesIO(page.screenshot(**options))).convert("RGB")
    if width:
        picture = picture.resize((width, round(picture.height * width / picture.width)))
    picture.save(path, quality=80, optimize=True, progressive=True)
    print(path, picture.size, path.stat().st_size)


def choose(page: Page, word: str) -> None:
    page.locator(".viewer:visible label.word", has_text=word).first.click()


def draw_readme(browser: Browser, url: str) -> None:
    with open_page(browser, url, DESKTOP) as page:
        choose(page, "horses")
        save(page, ROOT / "app" / "screenshot.jpg", width=1100)
    with open_page(browser, url, DESKTOP) as page:
        compare(page)
        choose(page, "horses")
        page.evaluate("scrollTo(0, 0)")
        save(page, ROOT / "app" / "compare.jpg", width=1100)
    with open_page(browser, url, DESKTOP) as page:
        look_closely(page)
        choose(page, "horses")
        parts = page.locator(".viewer details")
        page.evaluate(
            "() => [...document.querySelectorAll('.viewer details')].forEach((part, n) =>"
            " (part.hidden = ![1, 2].includes(n)))"
        )
        top, bottom = parts.nth(1).bounding_box(), parts.nth(2).bounding_box()
        clip = {"x": top["x"] - 12, "y": top["y"] - 8, "width": top["width"] + 24}
        clip["height"] = bottom["y"] + bottom["height"] - top["y"] + 16
        save(page, ROOT / "app" / "timeline.jpg", clip=clip, full_page=True)


def pick_two(page: Page) -> None:
    for name in ("cat.jpg", "coffee.jpg"):
        caption(page, SAMPLES / name)


def look_closely(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    page.get_by_label("Your sentence").wait_for()
    page.locator(".rivals button").first.wait_for()


def read_own(page: Page) -> None:
    page.get_by_text("Your sentence and alternatives").click()
    page.get_by_label("Your sentence").fill("A man riding a horse on the beach")
    page.keyboard.press("Enter")
    page.get_by_text("yours").wait_for()


def paint_out(page: Page) -> None:
    box = page.locator(".stage").first.bounding_box()
    at = lambda x, y: (box["x"] + box["width"] * x, box["y"] + box["height"] * y)  # noqa: E731
    page.mouse.move(*at(0.52, 0.3))
    page.mouse.down()
    page.mouse.move(*at(0.75, 0.78), steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Paint out this region").click()
    page.locator(".occlusion img").wait_for()


def compare(page: Page) -> None:
    before = page.locator(".viewer").first.get_attribute("data-key")
    page.get_by_label("Compare all").check()
    await_caption(page, before)


def caption_several(page: Page) -> None:
    page.get_by_role("tab", name="Several photos").click()
    names = ("horses.jpg", "gull.jpg", "rocket.jpg", "coffee.jpg")
    files = [as_file(name, (SAMPLES / name).read_bytes()) for name in names]
    broken = as_file("notes.jpg", b"no photo")
    page.locator("#files input[type=file]").set_input_files([*files, broken])
    page.locator(".file-preview tr").last.wait_for()
    page.get_by_role("button", name="Caption all").click()
    page.get_by_text("5 of 5").wait_for()


def open_settings(page: Page) -> None:
    for title in ("Attention display", "Decoding"):
        page.get_by_text(title, exact=True).click()


def doubt(page: Page) -> None:
    caption(page, SAMPLES / "rocket.jpg")


def fail(page: Page) -> None:
    upload(page, as_file("notes.jpg", b"no photo"))
    page.locator("#alert [role=alert]").wait_for()


STATES: dict[str, Callable[[Page], None]] = {
    "fresh": lambda page: None,
    "tray": pick_two,
    "close": look_closely,
    "own": read_own,
    "whatif": paint_out,
    "compare": compare,
    "several": caption_several,
    "settings": open_settings,
    "doubtful": doubt,
    "error": fail,
}


def draw_all(browser: Browser, url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for width, height in SIZES.items():
        for scheme in ("light", "dark"):
            for name, reach in STATES.items():
                size = {"width": width, "height": height}
                with open_page(browser, url, size, color_scheme=scheme) as page:
                    reach(page)
                    save(page, folder / f"{name}-{width}-{scheme}.jpg", full_page=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--show", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    app = build(load_captioners([], device="cpu"))
    options = launch_options(host="127.0.0.1", port=None, mcp=False)
    _, url, _ = app.launch(**options, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        if args.show:
            draw_all(browser, url, args.show)
        else:
            draw_readme(browser, url)
        browser.close()
    app.close()


if __name__ == "__main__":
    main()

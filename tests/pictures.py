"""Pictures of the app for the README, made anew: `python -m tests.pictures` after a model changed.

app/screenshot.jpg    one photo on a desktop, a word chosen
app/compare.jpg       both models side by side

`--show FOLDER` puts pictures to judge the app by into a folder instead: phone, dark, batch.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from app import build
from ui import launch_options, load_captioners

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "data" / "samples"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE = 60_000
"""Milliseconds to wait for what a slow machine does late."""


@contextmanager
def open_page(browser: Browser, url: str, size: dict[str, int], **options) -> Iterator[Page]:
    context = browser.new_context(viewport=size, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#photo input[type=file]", state="attached")
    yield page
    context.close()


def caption(page: Page, sample: str, *, viewers: int = 1) -> None:
    """Have a photo captioned, and wait for the end of it."""
    page.locator("#photo input[type=file]").set_input_files(SAMPLES / sample)
    for number in range(viewers):
        page.locator(".viewer:visible .plot").nth(number).wait_for()
    page.mouse.move(0, 0)


def choose(page: Page, number: int) -> None:
    """Choose this word of every caption."""
    for viewer in page.locator(".viewer:visible").all():
        viewer.locator("label.chip").nth(number).click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # until the overlay is drawn


def save(page: Page, path: Path, *, width: int | None = None, height: int | None = None) -> None:
    """Save the page, or its upper part of this height, made smaller to this width."""
    picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(height or picture.height, picture.height)))
    if width:
        picture = picture.resize((width, round(picture.height * width / picture.width)))
    picture.save(path, quality=82, optimize=True)
    print(path, picture.size, path.stat().st_size)


def draw_readme(browser: Browser, url: str) -> None:
    with open_page(browser, url, DESKTOP) as page:
        caption(page, "photographer.jpg")
        choose(page, 1)
        save(page, ROOT / "app" / "screenshot.jpg", height=1185)
    with open_page(browser, url, DESKTOP) as page:
        page.get_by_label("compare all").click()
        caption(page, "photographer.jpg", viewers=2)
        choose(page, 1)
        save(page, ROOT / "app" / "compare.jpg", width=1100, height=900)


def draw_all(browser: Browser, url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, scheme in (
        ("desktop", DESKTOP, "light"),
        ("dark", DESKTOP, "dark"),
        ("phone", PHONE, "light"),
        ("phone-dark", PHONE, "dark"),
    ):
        with open_page(browser, url, size, color_scheme=scheme) as page:
            page.get_by_label("compare all").click()
            caption(page, "coffee.jpg", viewers=2)
            choose(page, 2)
            save(page, folder / f"compare-{name}.png")
        with open_page(browser, url, size, color_scheme=scheme) as page:
            caption(page, "rocket.jpg")
            choose(page, 1)
            save(page, folder / f"{name}.png")
            page.get_by_role("tab", name="Several photos").click()
            broken = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
            files = [
                {"name": p.name, "mimeType": "image/jpeg", "buffer": p.read_bytes()}
                for p in sorted(SAMPLES.glob("*.jpg"))
            ]
            page.locator("input[type=file]:not(#photo *)").last.set_input_files([*files, broken])
            page.get_by_text("notes").first.wait_for()
            page.get_by_role("button", name="Caption all").click()
            page.locator("#batch .failed").wait_for()
            save(page, folder / f"batch-{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--show", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    app = build(load_captioners([], device="cpu"))
    options = launch_options(host="127.0.0.1", port=None, mcp=False)
    _, url, _ = app.launch(**options, prevent_thread_lock=True, quiet=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if args.show:
            draw_all(browser, url, args.show)
        else:
            draw_readme(browser, url)
        browser.close()
    app.close()


if __name__ == "__main__":
    main()

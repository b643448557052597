"""Pages of the app in a real browser: Chromium without a window, driven through Playwright."""

import mimetypes
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 180_000
"""Milliseconds to wait for what a slow machine does late."""
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium; `apt-get install chromium` brings it"
)


def opened(browser: Browser, url: str, **options) -> Iterator[Page]:
    """A page of its own session; it must ask nobody else for anything, and raise no error."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page, elsewhere, errors = context.new_page(), [], []
    home = url.partition("#")[0]
    page.on("request", lambda r: None if is_ours(r.url, home) else elsewhere.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.goto(url)
    page.wait_for_selector("#photo input[type=file]", state="attached")
    yield page
    context.close()
    assert elsewhere == []
    assert errors == [], errors


def is_ours(address: str, url: str) -> bool:
    return address.startswith((url, "data:", "blob:"))


def upload(page: Page, file: Path | dict) -> None:
    page.locator("#photo input[type=file]").set_input_files(file)


def caption(page: Page, file: Path | dict) -> None:
    """Upload a photo, and wait for its caption; the demo's stands there before."""
    before = page.locator(".viewer").first.get_attribute("data-key")
    upload(page, file)
    await_caption(page, before)


def choose_model(page: Page, name: str) -> None:
    """Choose a model, and wait for its caption of the photo that is there."""
    before = page.locator(".viewer:visible").first.get_attribute("data-key")
    page.get_by_label(name).check()
    await_caption(page, before)


def await_caption(page: Page, before: str) -> None:
    """Wait until the photo after this one, by its key, is captioned in every viewer."""
    page.wait_for_function(
        """(before) => {
          const viewers = [...document.querySelectorAll(".viewer")].filter((v) => v.offsetParent);
          return viewers.length && viewers.every(
            (v) => v.dataset.key !== before && v.dataset.state === "done");
        }""",
        arg=before,
    )


def as_file(name: str, content: bytes) -> dict:
    kind, _ = mimetypes.guess_type(name)
    return {"name": name, "mimeType": kind, "buffer": content}


def grey(width: int = 160, height: int = 160) -> dict:
    stream = BytesIO()
    Image.new("RGB", (width, height), "#606060").save(stream, "PNG")
    return as_file("grey.png", stream.getvalue())

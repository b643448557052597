"""Speed of the app in a browser, weight of its page, and growth of its memory.

    python -m benchmarks.app [--rounds 5] [--captions 300] [--clients 20] [--port 7999]

Serves the app as `ui.py` does, and drives it with Chromium through Playwright, then with HTTP
clients. Times of a photo start at the end of its upload. Prints medians over the rounds; exit
status 1 if an aim is missed: first word 0.4 s, caption of a 40-megapixel photo 3 s, final memory at
most 5 % above that after the first fifth of the captions. The aims are for an idle machine, so the
load average is printed first.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.command import command
from captioner.cli.options import positive
from captioner.errors import CaptionerError

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "samples"
_EACH = 10
"""Captions per session."""
AIMS = {"first word, s": 0.4, "40 megapixels, s": 3.0, "memory grown, %": 5.0}


def serve(port: int, errors: Path) -> subprocess.Popen[bytes]:
    """Start the app and wait until it responds."""
    command = [sys.executable, "ui.py", "--port", str(port), "--device", "cpu"]
    with errors.open("wb") as file:
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file)
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=5, trust_env=False)
            return server
        except httpx.HTTPError:
            if server.poll() is not None:
                raise CaptionerError(errors.read_text().strip()) from None
            time.sleep(0.2)


def resident_megabytes(pid: int) -> float:
    """Return the memory of a process; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def open_page(browser: Browser, url: str) -> tuple[float, float, Page]:
    """Open a fresh page; return megabytes, seconds until words can be selected, and the page."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    began = time.perf_counter()
    page.goto(url)
    page.locator("label.word").first.click()
    page.locator(".word.on").first.wait_for()
    taken = time.perf_counter() - began
    weight = page.evaluate(
        "performance.getEntries().reduce((sum, entry) => sum + (entry.encodedBodySize ?? 0), 0)"
    )
    return weight / 1e6, taken, page


def caption_photo(page: Page, photo: Path) -> tuple[float, float]:
    """Upload a photo; return seconds until the first word and until the whole caption."""
    # Observed by a script in the page: polling would slow the page down.
    page.evaluate(
        """() => {
          window.marks = {};
          window.observer?.disconnect();
          const viewer = document.querySelector(".viewer");
          const before = viewer.dataset.key;
          // The key changes first, while the state is still that of the photo before.
          window.observer = new MutationObserver(() => {
            if (viewer.dataset.key === before) return;
            window.marks[viewer.dataset.state] ??= Date.now();
          });
          window.observer.observe(viewer, { attributeFilter: ["data-state"] });
        }"""
    )
    # Not from `/upload_progress`, which stays open.
    with page.expect_response(lambda r: r.url.partition("?")[0].endswith("/upload")) as uploaded:
        page.locator("#photo input[type=file]").set_input_files(photo)
    uploaded.value.finished()
    began = page.evaluate("Date.now()")
    page.wait_for_function("window.marks.done", timeout=120_000)
    marks = page.evaluate("window.marks")
    # A slow browser may show the first word together with the last.
    return (marks.get("growing", marks["done"]) - began) / 1000, (marks["done"] - began) / 1000


def ask_at_once(url: str, clients: int) -> tuple[float, int]:
    """Send requests concurrently; return photos per second and the number of correct captions."""
    photos = sorted(SAMPLES.glob("*.jpg"))
    asked = [photos[n % len(photos)] for n in range(clients)]

    def ask(photo: Path) -> str:
        client = Client(url, verbose=False, httpx_kwargs={"timeout": 300})
        return str(client.predict(photo=handle_file(photo), api_name="/caption")["caption"])

    alone = {photo: ask(photo) for photo in photos}
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        said = list(pool.map(ask, asked))
    taken = time.perf_counter() - began
    right = sum(alone[photo] == text for photo, text in zip(asked, said, strict=True))
    return clients / taken, right


def watch_memory(browser: Browser, url: str, pid: int, captions: int) -> tuple[float, float]:
    """Caption in many sessions; return megabytes after a fifth of them and after all."""
    index = []
    for _ in range(0, captions, _EACH):
        page = open_page(browser, url)[2]
        for _ in range(_EACH):
            caption_photo(page, SAMPLES / "coffee.jpg")
        page.context.close()
        index.append(resident_megabytes(pid))
    return index[len(index) // 5], index[-1]


@command
def main() -> int:
    """Run the benchmark, print its table, and fail if an aim is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.app", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, help="measured page loads and uploads (5)"
    )
    parser.add_argument(
        "--captions", type=positive, default=300, help="captions of the memory test (300)"
    )
    parser.add_argument("--clients", type=positive, default=20, help="concurrent clients (20)")
    parser.add_argument("--port", type=int, default=7999, help="port to serve on (7999)")
    args = parser.parse_args()
    url = f"http://127.0.0.1:{args.port}/"
    found: dict[str, float] = {"load before": os.getloadavg()[0]}
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        large = Path(folder) / "large.jpg"
        Image.open(SAMPLES / "cat.jpg").resize((8000, 5000)).save(large, quality=80)
        server = serve(args.port, Path(folder) / "errors")
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            opened = [open_page(browser, url) for _ in range(args.rounds)]
            found["page, MB"] = statistics.median(weight for weight, _, _ in opened)
            found["first interaction, s"] = statistics.median(taken for _, taken, _ in opened)
            page = opened[-1][2]

            def median(of: Callable[[tuple[float, float]], float], photo: Path) -> float:
                return statistics.median(of(caption_photo(page, photo)) for _ in range(args.rounds))

            found["first word, s"] = median(lambda times: times[0], SAMPLES / "coffee.jpg")
            found["whole caption, s"] = median(lambda times: times[1], SAMPLES / "coffee.jpg")
            found["40 megapixels, s"] = median(lambda times: times[1], large)
            rate, right = ask_at_once(url, args.clients)
            found[f"{args.clients} clients, photos/s"] = rate
            found["of them right"] = right
            early, late = watch_memory(browser, url, server.pid, args.captions)
            found["memory, MB"] = late
            found["memory grown, %"] = 100 * (late / early - 1)
            browser.close()
        finally:
            server.terminate()
            server.wait()
    return report(found, clients=args.clients)


def report(found: dict[str, Any], *, clients: int) -> int:
    """Print the results beside their aims; return 1 if one is missed."""
    missed = found["of them right"] < clients
    for name, value in found.items():
        aim = AIMS.get(name)
        over = aim is not None and value > aim
        missed |= over
        print(
            f"{name:26}{value:9.2f}" + ("" if aim is None else f", aim {aim}") + "  MISSED" * over
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

"""The app with several photos, and several people, at once, in a real browser."""

import json
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browsing import as_file, await_caption, grey, needs_chromium, opened, upload
from tests.serving import uploaded

pytestmark = needs_chromium
SAMPLES = Path(__file__).parent.parent / "data" / "samples"


def test_a_batch_continues_after_a_broken_file_and_is_saved(page):
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


def test_captions_are_edited_and_saved_and_their_photos_opened(page):
    page.get_by_role("tab", name="Several photos").click()
    files = [as_file(f"{n}.jpg", (SAMPLES / f"{n}.jpg").read_bytes()) for n in ("cat", "coffee")]
    page.locator("input[type=file][multiple]").set_input_files(files)
    expect(page.locator(".file-preview tr")).to_have_count(2)
    page.get_by_role("button", name="Caption all").click()
    expect(page.locator(".batch [role=status]")).to_have_text("2 of 2 photos done")
    hostile = 'A cat "looks" <b>at</b> you'
    page.get_by_label("Caption of cat.jpg").fill(hostile)
    page.keyboard.press("Tab")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save JSON").click()
    first, second = json.loads(Path(download.value.path()).read_text())
    assert first["caption"] == hostile
    assert second["caption"] not in ("", hostile)
    page.get_by_role("button", name="View coffee.jpg").click()
    expect(page.get_by_role("tab", name="One photo")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".photo")).to_have_attribute("alt", f"The photo: {second['caption']}")


@pytest.mark.parametrize("count", [0, 201])
def test_too_few_and_too_many_photos_are_reported_on_the_page(page, count):
    page.get_by_role("tab", name="Several photos").click()
    if count:
        files = [grey(8, 8) | {"name": f"{n}.png"} for n in range(count)]
        page.locator("input[type=file][multiple]").set_input_files(files)
        expect(page.locator(".file-preview tr")).to_have_count(count)
    answers = []
    page.on("response", lambda response: answers.append(response.status))
    page.get_by_role("button", name="Caption all").click()
    said = "201 photos are more than the limit" if count else "No photos chosen; choose some"
    expect(page.locator("#batch [role=alert]")).to_contain_text(said)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_role("button", name="Save CSV")).to_have_count(0)
    assert max(answers) < 400
    # and it goes on as if nothing had happened
    page.get_by_label("Clear").first.click() if count else None
    page.locator("input[type=file][multiple]").set_input_files([grey(9, 9)])
    page.get_by_role("button", name="Caption all").click()
    expect(page.locator(".batch [role=status]")).to_have_text("1 of 1 photo done")


def test_a_full_queue_is_reported_and_retrying_works(browser, slow):
    url, folder = slow
    for page in opened(browser, url):
        first = queued(url, SAMPLES / "cat.jpg", "slow")
        while not (folder / "started").exists():  # and so left the queue
            page.wait_for_timeout(50)
        second = queued(url, SAMPLES / "cat.jpg", "slow")  # which fills the queue
        upload(page, SAMPLES / "cat.jpg")
        alert = page.locator(".viewer [role=alert]")
        expect(alert).to_contain_text("The app is busy and its queue is full")
        expect(page.locator(".stage .photo")).to_be_visible()
        (folder / "go").touch()
        for event in (first, second):
            assert "Model: toy-lstm" in httpx.get(event, timeout=120).text
        before = page.locator(".viewer").get_attribute("data-key")
        page.get_by_role("button", name="Caption again").click()
        await_caption(page, before)


def test_a_batch_stopped_by_a_full_queue_can_be_continued(browser, slow):
    url, folder = slow
    for page in opened(browser, url):
        first = queued(url, SAMPLES / "cat.jpg", "slow")
        while not (folder / "started").exists():
            page.wait_for_timeout(50)
        second = queued(url, SAMPLES / "cat.jpg", "slow")
        page.get_by_role("tab", name="Several photos").click()
        page.locator("input[type=file][multiple]").set_input_files([grey(9, 9)])
        page.get_by_role("button", name="Caption all").click()
        expect(page.locator(".batch [role=status]")).to_have_text(
            "Stopped: 0 of 1 photo done. “Caption all” continues."
        )
        (folder / "go").touch()
        for event in (first, second):
            httpx.get(event, timeout=120)
        page.get_by_role("button", name="Caption all").click()
        expect(page.locator(".batch [role=status]")).to_have_text("1 of 1 photo done")


def test_a_queued_photo_is_shown_with_its_queue_position_and_the_time(browser, slow):
    url, folder = slow
    data = {"data": [uploaded(url, SAMPLES / "cat.jpg"), "slow"]}
    for page in opened(browser, url):
        httpx.post(f"{url}gradio_api/call/describe", json=data, timeout=120)
        while not (folder / "started").exists():
            page.wait_for_timeout(50)
        upload(page, SAMPLES / "coffee.jpg")
        expect(page.locator(".viewer")).to_have_attribute("data-state", "waiting")
        expect(page.locator(".stage .photo")).to_be_visible()
        expect(page.locator(".waiting")).to_have_text(
            re.compile("Waiting for the model: [1-9] s, place 1 of 1 in the queue")
        )
        (folder / "go").touch()
        expect(page.locator(".viewer")).to_have_attribute("data-state", "done")


@pytest.fixture
def batch(browser, served):
    """Eight photos under way, with a model that stops at the second; and its notes about them."""
    urls, folder = served
    notes = folder / "paced"
    notes.unlink(missing_ok=True)
    (folder / "allowed").write_text("1")
    for page in opened(browser, urls["paced"]):
        page.get_by_role("tab", name="Several photos").click()
        files = [grey(100, 50 + n) | {"name": f"{n}.png"} for n in range(8)]
        page.locator("input[type=file][multiple]").set_input_files(files)
        expect(page.locator(".file-preview tr")).to_have_count(8)
        page.get_by_role("button", name="Caption all").click()
        expect(page.locator(".batch [role=status]")).to_contain_text("1 of 8")
        yield page, notes


def queued(url: str, photo: Path, checkpoint: str) -> str:
    """Ask for a description; the address of the answer, once the request is in the queue."""
    data = {"data": [uploaded(url, photo), checkpoint]}
    answer = httpx.post(f"{url}gradio_api/call/describe", json=data, timeout=120)
    return f"{url}gradio_api/call/describe/{answer.json()['event_id']}"


def test_other_users_are_served_between_the_photos_of_a_batch(batch, served, photos):
    page, notes = batch
    other = queued(served[0]["paced"], Path(photos[0]), "paced")
    (served[1] / "allowed").unlink()
    assert "event: complete" in httpx.get(other, timeout=120).text
    expect(page.locator(".batch [role=status]")).to_have_text("8 of 8 photos done")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    heights = notes.read_text().split()
    with Image.open(photos[0]) as photo:
        ours = str(photo.height)
    assert 1 <= heights.index(ours) < 8
    assert [height for height in heights if height != ours] == [str(50 + n) for n in range(8)]


def test_a_batch_stops_immediately_and_resumes(batch, served, photos):
    page, notes = batch
    page.get_by_role("button", name="Stop").click()
    status = page.locator(".batch [role=status]")
    expect(status).to_contain_text("Stopped: ")
    done = int(status.inner_text().split()[1])  # 1, or 2 where the machine was busy
    assert done < 3
    (served[1] / "allowed").unlink()
    other = queued(served[0]["paced"], Path(photos[0]), "paced")  # behind all that is under way
    assert "event: complete" in httpx.get(other, timeout=120).text
    assert f"Stopped: {done} of 8" in status.inner_text()
    expect(page.locator("#batch [role=alert]")).to_have_count(0)
    *heights, ours = notes.read_text().split()
    assert len(heights) <= done + 1  # one was under way
    page.get_by_role("button", name="Caption all").click()
    expect(status).to_have_text("8 of 8 photos done")
    heights = [height for height in notes.read_text().split() if height != ours]
    assert len(heights) <= 9
    assert set(heights) == {str(50 + n) for n in range(8)}

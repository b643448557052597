from app.html import BatchRow, draw_batch
from app.payload import data_uri
from tests.photos import noise
from tests.test_overlay_page import HOSTILE, Page


def test_a_batch_reports_an_error_per_photo():
    rows = [
        BatchRow(
            name="a.jpg", caption="A dog", log_probability=-0.125, thumbnail=data_uri(noise(9, 9))
        ),
        BatchRow(name=HOSTILE, error=f"{HOSTILE}: not an image"),
    ]
    page = Page(draw_batch(rows, total=3))
    assert "2 of 3 photos done, 1 could not be read" in page.text
    assert "A dogView-0.12" in page.text
    (caption,) = page.named("textarea")
    assert "readonly" in caption  # until all are done
    assert caption["aria-label"] == "Caption of a.jpg"
    assert len(page.named("img")) == 1
    assert page.named("script") == []
    assert page.text.count(": not an image") == 0  # the name stands beside it
    assert page.named("progress") == [{"max": "3", "value": "2", "aria-label": "Photos done"}]
    stopped = Page(draw_batch(rows, total=3, stopped=True))
    status = "Stopped: 2 of 3 photos done, 1 could not be read. “Caption all” continues."
    assert status in stopped.text

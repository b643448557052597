import io
import json
import sys
from contextlib import redirect_stderr
from itertools import count

import pytest

from captioner.folder import progress as progress_module
from captioner.folder.progress import Progress, Tally


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_with_rate_time_left_and_failures():
    pytest.importorskip("tqdm")
    with redirect_stderr(Terminal()) as terminal, Progress("text") as progress:
        assert progress.wants_total
        progress.begin(4)
        progress.tally.captioned = 2
        progress.failed("x.jpg", "it is broken.")
        progress.advance()
        progress.tally.captioned = 3
        progress.advance()
        progress.end("end")
    shown = terminal.getvalue()
    assert "captioner: x.jpg: it is broken.\n" in shown
    assert "4/4" in shown
    assert "failed=1" in shown
    assert " photos/s" in shown


def test_without_tqdm_there_is_no_bar_and_nothing_else_changes(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with redirect_stderr(Terminal()) as terminal, Progress("text") as progress:
        progress.begin(4)
        progress.failed("x.jpg", "it is broken.")
        progress.advance()
        progress.end("end")
    assert terminal.getvalue() == "captioner: x.jpg: it is broken.\n"


def test_a_file_gets_no_bar(capsys):
    with Progress("text") as progress:
        assert not progress.wants_total
        progress.begin(None)
        progress.tally.captioned = 1
        progress.advance()
    assert capsys.readouterr() == ("", "")


def test_json_events_report_progress_at_intervals(capsys, monkeypatch):
    clock = count(0, 2)
    monkeypatch.setattr(progress_module, "_EVERY", 0.0)
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    with Progress("json") as progress:
        progress.begin(7)
        progress.failed("x\udcff.jpg", "it is broken.")
        progress.skipped("y.jpg", "y.txt exists")
        progress.tally.captioned = 1
        progress.advance()
        progress.end("interrupted")
        progress.error("The disk is full.")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    numbers = {"captioned": 1, "before": 0, "skipped": 1, "failed": 1}
    assert events == [
        {"event": "begin", "version": 1, "total": 7},
        {
            "event": "failed",
            "image": r"x\udcff.jpg",
            "image_bytes": "78ff2e6a7067",
            "reason": "it is broken.",
        },
        {"event": "skipped", "image": "y.jpg", "reason": "y.txt exists"},
        {"event": "progress", **numbers, "seconds": 4, "rate": 0.5, "remaining": 8},
        {
            "event": "interrupted", **numbers, "seconds": 6, "rate": 0.33, "remaining": 12,
            "skipped_folders": {},
        },
        {
            "event": "error", "message": "The disk is full.",
            **numbers, "seconds": 8, "rate": 0.25, "remaining": 16,
        },
    ]  # fmt: skip


def test_the_time_that_is_left_is_unknown_without_a_total_or_a_first_caption(capsys):
    with Progress("json") as progress:
        progress.begin(None)
        progress.end("end")
    with Progress("json") as progress:
        progress.begin(5)
        progress.error("No model.")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event.get("remaining") for event in events] == [None] * 4


def test_the_tally_adds_up():
    tally = Tally(captioned=1, before=2, skipped=3, failed=4)
    assert str(tally) == "10 photos: 1 captioned, 2 already captioned, 3 skipped, 4 failed"
    assert str(Tally(captioned=1)).startswith("1 photo: ")


def test_many_skipped_folders_take_one_line(capsys):
    progress = Progress("text")
    progress.skipped_folders = {f"{n}/@eaDir" for n in range(1200)} | {
        f"{n}.lrdata" for n in range(8)
    }
    progress.end("end")
    assert capsys.readouterr().err == (
        "captioner: skipped 1208 system folders: @eaDir (1200 times), 0.lrdata, 1.lrdata, "
        "2.lrdata, 3.lrdata and 4 other names; use --hidden to include their photos.\n"
    )

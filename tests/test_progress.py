"""Long loops show a bar in a terminal, and log a line a minute elsewhere."""

import io
from itertools import count

import pytest

from data import progress
from data.progress import duration, progress_bar


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_is_logged_every_minute_without_a_terminal(monkeypatch, capsys):
    clock = count(0, 25)  # seconds, from one reading to the next
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress_bar("abcdefgh", title="captioning", unit="photos")) == list("abcdefgh")
    assert capsys.readouterr().err.splitlines() == [
        "captioning: 3 of 8 photos, 2 min left",
        "captioning: 6 of 8 photos, 50 s left",
    ]


def test_items_without_a_length_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    assert list(progress_bar(iter("ab"), title="encoding", unit="images")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["encoding: 1 images", "encoding: 2 images"]


def test_a_terminal_shows_a_bar_and_no_lines(monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    assert list(progress_bar(["a", "b"], title="captioning")) == ["a", "b"]
    assert "\rcaptioning:   0%|" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


@pytest.mark.parametrize("stderr", [Terminal, io.StringIO])
def test_a_quiet_loop_shows_nothing(monkeypatch, stderr):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr", shown := stderr())
    assert list(progress_bar(["a", "b"], title="captioning", quiet=True)) == ["a", "b"]
    assert shown.getvalue() == ""


def test_durations_have_the_unit_that_fits():
    assert [duration(seconds) for seconds in (70.4, 720, 11100)] == ["70 s", "12 min", "3 h 5 min"]

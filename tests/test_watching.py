"""Long work says how far it is."""

from training import watching
from training.watching import watched


def test_without_a_terminal_lines_say_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(watching, "LOG_SECONDS", 0.0)
    assert list(watched(["a", "b", "c"], title="captioning")) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == [
        "captioning: 1 of 3, 0 s left",
        "captioning: 2 of 3, 0 s left",
        "captioning: 3 of 3, 0 s left",
    ]
    assert list(watched(iter("ab"), title="reading", quiet=True)) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_lines_are_a_minute_apart(capsys):
    assert list(watched(range(100), title="captioning")) == list(range(100))
    assert capsys.readouterr().err == ""

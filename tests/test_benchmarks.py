"""Benchmarks given wrong values end with one line, before anything is measured."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks.growth import held_by

NAMES = sorted(
    path.stem
    for path in (Path(__file__).parents[1] / "benchmarks").glob("*.py")
    if path.stem not in ("__init__", "command", "peers")
)
SAMPLES = "data/samples"


def run(monkeypatch, capsys, line):
    """Run a benchmark's command; return its exit status and what it says on standard error."""
    name, *arguments = line.split()
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        status = import_module(f"benchmarks.{name}").main()
    except SystemExit as ended:
        status = ended.code
    return status, capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_help(monkeypatch, capsys, name):
    assert run(monkeypatch, capsys, f"{name} --help") == (0, "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        *((f"{name} --rounds 0", "--rounds: 0 is not 1 or more") for name in NAMES
          if name in ("app", "encoders", "folder", "growth", "install", "loading", "precision",
                      "runtimes", "search", "service", "startup")),
        ("folder --sizes 3", "--sizes: 3 is not a width and a height, such as 1024x768"),
        ("folder --sizes 0x8", "--sizes: 0x8 is not a width and a height, such as 1024x768"),
        ("decoding --times 0", "--times: 0 is not above 0"),
        ("fuzz --seconds 0", "--seconds: 0 is not above 0"),
        ("fuzz --seed -1", "--seed: -1 is too small; it must be 0 or more"),
        ("search --threads -1", "--threads: -1 is too small; it must be 0 or more"),
        ("memory --few 9 --many 9", "--few 9 must be below --many 9"),
        ("scale --photos a.tar --few 3", "--few 3 must be at least 4, and below --many 240"),
        (
            "first_step --annotations a --images b --photos 100",
            "--steps 200 takes 51200 photos; raise --photos 100, or lower --steps",
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_a_usage_error(monkeypatch, capsys, line, problem):
    status, said = run(monkeypatch, capsys, line)
    assert status == 2
    assert said.splitlines()[-1].endswith(f"error: {problem}") or said.splitlines()[-1].endswith(
        f"argument {problem}"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("search --device tpu", "device 'tpu' cannot be used"),
        ("encoders --device tpu", "device 'tpu' cannot be used"),
        ("growth --device tpu", "device 'tpu' cannot be used"),
        ("folder --device tpu", "device 'tpu' cannot be used"),
        ("folder --checkpoint nothing", "nothing"),
        ("folder --plot ui.py/plot.png", "ui.py/plot.png: cannot be written: Not a directory"),
        ("growth --plot data", "data: cannot be written: Is a directory; check the path."),
        ("fuzz --keep ui.py", "ui.py: cannot be written: Not a directory; check the path."),
        ("scale --photos nothing.tar", "nothing.tar"),
        ("scale --photos ui.py", "ui.py"),
        ("loading --images nothing", "nothing"),
        ("loading --images docs", "docs: no .jpg files; check the path."),
        ("precision --photos docs", "docs: no .jpg files; check the path."),
        ("precision --checkpoints nothing --backbones", "nothing"),
        ("encoders nothing", "nothing"),
        ("encoders --size 3", "3"),
        ("runtimes --annotations nothing", "nothing"),
        ("reward nothing", "nothing"),
        ("metrics_conformance nothing", "nothing"),
        ("pretrained nothing photo.jpg", "nothing"),
        (f"first_step --annotations nothing --images {SAMPLES}", "nothing"),
        ("converging --annotations nothing --images x --folder ui.py", "ui.py"),
        ("app --port 0", "--port 0 is not from 1 to 65535"),
        ("service --nothing", "unrecognized arguments: --nothing"),
    ],
)
def test_what_cannot_be_used_is_one_line(monkeypatch, capsys, line, problem):
    status, said = run(monkeypatch, capsys, line)
    assert status == 1
    assert said.startswith("error: ")
    assert problem in said
    assert len(said.splitlines()) == 1


def test_a_first_step_needs_a_photo_of_the_captions(tmp_path, monkeypatch, capsys):
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\nnone.jpg,a dog\n")
    line = f"first_step --annotations {captions} --images {SAMPLES}"
    problem = f"error: {SAMPLES}: no photo of {captions}; check the path.\n"
    assert run(monkeypatch, capsys, line) == (1, problem)


def test_memory_is_that_of_all_tensors_that_exist_at_once():
    given = torch.zeros(250_000)  # 1 MB

    def program():
        second = given + 1
        third = second.view(500, 500) * 2  # 3 MB, a view taking none
        del second
        return third[:250] + 1  # 2.5 MB

    assert held_by(program) == 3.0

"""What the README shows is true: its Python runs, its commands exist, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from captioner.cli import caption, checkpoints, convert, export, folder, main, push, serve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_python_example_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    first, *words = capsys.readouterr().out.splitlines()
    assert len(first.split()) > 2
    assert all("(14, 14)" in line for line in words)
    assert len(words) == len(first.split()) - 1  # the last part of the first line is a number


def test_the_first_two_shell_blocks_are_those_the_checks_run():
    install, test = blocks("sh")[:2]
    assert "pip install ." in install
    assert "captioner caption data/samples" in install
    assert "pytest" in test


@pytest.mark.parametrize("command", re.findall(r"^\$ captioner ([^#>|\n]*)", README, re.MULTILINE))
def test_every_captioner_command_shown_is_understood(command, monkeypatch):
    arguments = shlex.split(command)
    for module in (caption, checkpoints, convert, export, folder, push, serve):
        monkeypatch.setattr(module, "run", lambda args: 0)
    assert main(arguments) == 0


def test_links_and_pictures_lead_to_files_in_the_repository():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_it_can_be_read_in_a_few_minutes():
    assert len(README.split()) <= 1000

"""Dockerfile, compose.yaml and docs/service.md speak of extras, options and files that exist."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from captioner.cli import main

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
DOCS = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

COMMANDS = [
    *(json.loads(line) for line in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)),
    *(json.loads(line) for line in re.findall(r"^ +command: (\[.*\])$", COMPOSE, re.MULTILINE)),
    *(shlex.split(line) for line in re.findall(r"^\$ .*?captioner (serve.*)$", DOCS, re.MULTILINE)),
    *(shlex.split(line) for line in re.findall(r"^      (folder /photos.*)$", DOCS, re.MULTILINE)),
    *(shlex.split(line) for line in re.findall(r"`captioner (serve[^`]*)`", DOCS)),
]


def test_all_commands_are_found():
    assert len(COMMANDS) == 7


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_understood(command, monkeypatch):
    monkeypatch.setattr("captioner.cli.serve.run", lambda args: 0)
    monkeypatch.setattr("captioner.cli.folder.run", lambda args: 0)
    assert main(command) == 0


def test_every_option_that_is_named_exists(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    help_ = capsys.readouterr().out
    named = re.findall(r"\| `(--[a-z-]+) ", DOCS) + re.findall(r"`(--[a-z-]+)`", DOCS)
    assert len(set(named)) == 7
    assert [option for option in named if f"{option} " not in help_] == []


def test_the_documented_limits_are_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    help_ = " ".join(capsys.readouterr().out.split())
    limits = re.findall(r"\| `(--[a-z-]+) ([0-9]+)`", DOCS)
    assert len(limits) == 4
    for option, value in limits:
        assert re.search(rf" {option} [NX] [^-]*\({value}\)", help_), option


def test_the_image_installs_an_extra_that_exists_and_files_that_are_there():
    (extra,) = re.findall(r'pip install --no-cache-dir "/src\[(\w+)\]"', DOCKERFILE)
    assert extra in PROJECT["optional-dependencies"]
    assert all("torch" not in package for package in PROJECT["optional-dependencies"][extra])
    copied = [name for line in re.findall(r"^COPY ([^-].*)$", DOCKERFILE, re.MULTILINE)
              for name in line.split()[:-1]]  # fmt: skip
    assert copied == ["pyproject.toml", "README.md", "LICENSE", "captioner", "checkpoints"]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


def test_links_lead_to_files_in_the_repository():
    targets = re.findall(r"\]\(([^)#]+)\)", DOCS)
    assert targets
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []

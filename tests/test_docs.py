"""The documentation holds together: pages are linked, links resolve, options are described."""

import re
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path

import pytest

from captioner.cli import make_parser

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "checkpoints").rglob("*.md"),
    ROOT / "benchmarks" / "README.md",
    ROOT / "data" / "README.md",
    ROOT / "training" / "RESULTS.md",
]
OUT = (
    "even look",
    "glimpse",
    "obedience",
    "said twice",
    "worded otherwise",
    "by the thousand",
    "looked for",
    "how sure",
    "tries just those",
)
"""What language the field does not use: heat is in multiples of uniform, n-grams are blocked."""


def options_of(parser: ArgumentParser) -> set[str]:
    found: set[str] = set()
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for command in action.choices.values():
                found |= options_of(command)
        found |= {name for name in action.option_strings if name.startswith("--")}
    return found - {"--help", "--version"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_every_page_resolve(page):
    text = page.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in t]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_table_of_contents():
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([a-z_]+\.md)\)", contents))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_the_terms_of_the_field(page):
    text = " ".join(page.read_text(encoding="utf-8").split()).lower()
    assert [phrase for phrase in OUT if phrase in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tests_that_pages_name_exist(page):
    text = " ".join(page.read_text(encoding="utf-8").split())
    for command in re.findall(r"`pytest ([^`]*)`", text):
        files, _, word = command.partition(" -k ")
        for file in files.split():
            names = re.findall(r"^def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE)
            assert [name for name in names if word in name], command


def test_every_option_of_the_command_is_documented():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"--[a-z][a-z-]*", text))
    assert options_of(make_parser()) - named == set()

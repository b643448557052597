import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import captioner

ROOT = Path(__file__).parent.parent


def imported_names(source: str) -> set[str]:
    """Every module imported, and every name imported from one, dotted."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_import_keeps_to_the_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out


SHARED = (
    "captioner.interchange.",
    "captioner.overlay.",
    "captioner.schema.",
    "captioner.serve.guard.",
    "captioner.serve.listening.",
    "captioner.speed.resources.",
)


def test_the_app_uses_public_names_and_what_is_shared_with_it_alone() -> None:
    public = {"captioner", *(f"captioner.{name}" for name in captioner.__all__)}
    for file in [ROOT / "ui.py", *(ROOT / "app").glob("*.py")]:
        for name in imported_names(file.read_text(encoding="utf-8")):
            root = name.partition(".")[0]
            known = name in public or name.startswith(SHARED)
            assert root not in ("data", "training", ""), name
            assert root != "captioner" or known, name


def test_nothing_is_imported_from_the_app() -> None:
    for folder in ("captioner", "data", "training"):
        for file in (ROOT / folder).rglob("*.py"):
            names = imported_names(file.read_text(encoding="utf-8"))
            assert not {n for n in names if n.partition(".")[0] in ("app", "ui")}, file

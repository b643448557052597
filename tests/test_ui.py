"""`ui.py`: launch options, passwords, errors."""

import pytest

import ui
from captioner import CaptionerError


def test_the_app_is_served_to_this_machine_only(monkeypatch):
    monkeypatch.delenv("CAPTIONER_AUTH", raising=False)
    options = ui.launch_options(host="127.0.0.1", port=None, mcp=False)
    expected = {"server_name": "127.0.0.1", "share": False, "auth": None, "allowed_paths": []}
    assert {name: options[name] for name in expected} == expected


def test_a_password_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("CAPTIONER_AUTH", "ann:b:c")
    options = ui.launch_options(host="127.0.0.1", port=None, mcp=False)
    assert options["auth"] == ("ann", "b:c")


def test_a_password_without_a_name_is_an_error(monkeypatch):
    monkeypatch.setenv("CAPTIONER_AUTH", "secret")
    with pytest.raises(CaptionerError, match=r"CAPTIONER_AUTH .* NAME:PASSWORD"):
        ui.launch_options(host="127.0.0.1", port=None, mcp=False)


def test_mcp_and_a_password_cannot_be_combined(monkeypatch):
    monkeypatch.setenv("CAPTIONER_AUTH", "ann:secret")
    with pytest.raises(CaptionerError, match=r"--mcp and CAPTIONER_AUTH cannot be combined: "):
        ui.launch_options(host="127.0.0.1", port=None, mcp=True)


def test_an_unknown_checkpoint_ends_the_program_with_one_line(capsys):
    assert ui.main(["--checkpoint", "vit-tiny-lstn"]) == 2
    assert "vit-tiny-lstn" in capsys.readouterr().err

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


@pytest.mark.parametrize("auth", ["secret", ":secret", "ann:", ":"])
def test_a_password_without_a_name_is_an_error(monkeypatch, auth):
    monkeypatch.setenv("CAPTIONER_AUTH", auth)
    problem = r"^CAPTIONER_AUTH must have the form NAME:PASSWORD\.$"
    with pytest.raises(CaptionerError, match=problem):
        ui.launch_options(host="127.0.0.1", port=None, mcp=False)


def test_mcp_and_a_password_cannot_be_combined(monkeypatch):
    monkeypatch.setenv("CAPTIONER_AUTH", "ann:secret")
    with pytest.raises(CaptionerError) as caught:
        ui.launch_options(host="127.0.0.1", port=None, mcp=True)
    assert str(caught.value) == (
        "--mcp cannot be combined with CAPTIONER_AUTH: MCP clients send no password. Run a second "
        "`python ui.py --mcp`, for this machine only."
    )


def test_the_network_is_served_with_a_password_or_when_anyone_is_allowed(monkeypatch, capsys):
    monkeypatch.delenv("CAPTIONER_AUTH", raising=False)
    assert ui.main(["--host", "0.0.0.0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "ui: --host '0.0.0.0' is reachable from other machines; set CAPTIONER_AUTH to "
        "NAME:PASSWORD, or use --allow-anyone."
    )
    network = {"host": "0.0.0.0", "port": None}
    anyone = ui.launch_options(**network, mcp=True, allow_anyone=True)
    assert (anyone["server_name"], anyone["auth"]) == ("0.0.0.0", None)
    monkeypatch.setenv("CAPTIONER_AUTH", "ann:secret")
    assert ui.launch_options(**network, mcp=False)["auth"] == ("ann", "secret")


def test_an_unknown_checkpoint_ends_the_program_with_one_line(capsys):
    assert ui.main(["--checkpoint", "vit-tiny-lstn"]) == 2
    assert "vit-tiny-lstn" in capsys.readouterr().err

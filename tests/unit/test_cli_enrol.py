"""`invite`, `hosts` and `revoke`: what is asked of the hub, and what goes to standard output, to the terminal, to people."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from lib import cli_enrol, cli_process, ctl_client
from lib.cli_paper import Paper
from lib.errors import ConfigError

NOBODY = "00000000-0000-0000-0000-000000000000"
INVITED = {
    "service": "s", "host": "host-7", "namespace": NOBODY, "line": "tunrouter1-abc", "address": "hub:8443",
    "pin": "sha256:00", "expires": 1e9, "gateways": [], "notes": ["one \x1b[31mnote"],
}  # fmt: skip
ARGUMENTS: dict[str, Any] = {
    "--ns": None, "--service": None, "--control": "/s", "--json": False, "--address": None, "--expires": None,
    "--gateway": [], "HOST": "host-7", "--host": None, "--all": False,
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of the hub, which gives the reply that its last entry names."""
    requests: list[dict[str, Any]] = []
    replies: dict[str, Any] = {
        "invite": INVITED,
        "hosts": {"hosts": [], "invitations": []},
        "revoke": {"hosts": 1, "sessions": 2, "notes": []},
    }

    def ask(path: str, request: dict[str, Any], seconds: float) -> Any:
        assert seconds > 0
        requests.append(request)
        return replies[request["do"]]

    monkeypatch.setattr(cli_process, "path", lambda arguments, what: "/s")
    monkeypatch.setattr(ctl_client, "ask", ask)
    return requests


def test_standard_output_has_the_line_alone(
    asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_enrol.run("invite", ARGUMENTS | {"--gateway": ["10.0.0.0/8"], "--expires": "10m"}) == 0
    said = capsys.readouterr()
    assert said.out == "tunrouter1-abc\n"
    assert "host-7 may join once, until 2001-09-0" in said.err
    assert "the hub's certificate is sha256:00" in said.err
    assert "one \\x1b[31mnote" in said.err, "nothing of it reaches a terminal raw"
    assert asked[0]["expires_s"] == 600.0
    assert asked[0]["gateways"] == ["10.0.0.0/8"]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding, "strict")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setattr(cli_enrol, "paper", lambda: Paper(width, False))
        assert cli_enrol.run("invite", ARGUMENTS) == 0
        terminal.flush()
    return raw.getvalue().decode(encoding)


def test_a_terminal_has_a_command_to_copy_and_a_qr_code(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = on_a_terminal(monkeypatch, 80)
    command, _, code = said.partition("\n")
    assert command == "tunrouter join tunrouter1-abc"
    assert code.count("\n") > 10
    assert set("▀▄█") & set(code)
    assert on_a_terminal(monkeypatch, 20) == command + "\n", "it would not fit"
    assert on_a_terminal(monkeypatch, 80, "ascii") == command + "\n", "it has no letters for it"


@pytest.mark.parametrize("text", ["soon", "-1h:", "1"])
def test_a_wrong_time_is_a_mistake_of_the_command_line(asked: list[dict[str, Any]], text: str) -> None:
    if text == "1":
        cli_enrol.run("invite", ARGUMENTS | {"--expires": text})
        assert asked[0]["expires_s"] == 1.0, "the hub says how long it may be"
        return
    with pytest.raises(ConfigError):
        cli_enrol.run("invite", ARGUMENTS | {"--expires": text})
    assert not asked


def test_who_has_joined(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_enrol.run("hosts", ARGUMENTS) == 0
    assert capsys.readouterr().out == "nobody is enrolled, and nobody is invited\n"
    row = {
        "host": "h",
        "namespace": NOBODY,
        "gateways": ["10.0.0.0/8"],
        "since": 1e9,
        "seen": 0,
        "connected": False,
    }
    reply = {"hosts": [row, row | {"host": "i", "connected": True}], "invitations": [row | {"expires": 2e9}]}
    monkeypatch.setattr(ctl_client, "ask", lambda path, request, seconds: reply)
    cli_enrol.run("hosts", ARGUMENTS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line] == ["host", "h", "i", "invited", "h"]
    assert "never" in lines[1]
    assert "connected" in lines[2]
    assert "2033-05-1" in lines[5]


def test_what_a_revocation_has_done(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_enrol.run("revoke", ARGUMENTS | {"--ns": NOBODY, "--all": True}) == 0
    assert capsys.readouterr().out == "1 host revoked, 2 sessions ended\n"
    assert asked == [{"do": "revoke", "service": "", "ns": NOBODY, "host": "host-7", "all": True}]

"""What `join` writes: the login first and for nobody else, a configuration that means what the hub has said."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib import (
    cli_join,
    client_enrol,
    config_read,
    config_resolve,
    config_secrets,
    ctl_client,
    enrol_book,
    enrol_token,
)
from lib.enrol_token import Token
from lib.errors import ConfigError, HostError
from lib.settings import ClientSettings
from lib.wire_enrol import Answer, Reply
from tests.support.netns import ROOT

NAMESPACE = bytes(range(16))
TOKEN = Token(
    *("hub.example", 8443, b"s" * 8, b"i" * 8, b"x" * 16, 1_900_000_000, "host-7"),
    namespace=NAMESPACE,
    pin=b"p" * 32,
)
OWN = (
    (bytes([192, 168, 123, 7]), 32),
    (bytes([192, 168, 7, 0]), 24),
    (bytes([253]) + bytes(14) + b"\7", 128),
)
OTHERS = ((bytes([192, 168, 123, 2]), 32), (bytes(4), 0), (bytes([192, 168, 2, 0]), 24))
WELCOME = Reply(Answer.WELCOME, 0.0, 0.0, OWN, OTHERS)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that a hub is shown, which welcomes everybody."""
    asked: list[bytes] = []

    def enrol(token: Token, password: bytes) -> Reply:
        asked.append(password)
        return WELCOME

    monkeypatch.setattr(client_enrol, "enrol", enrol)
    return asked


def join(
    tmp_path: Path,
    token: Token = TOKEN,
    serve: Callable[[Mapping[str, Any]], int] = lambda arguments: 0,
    line: str = "",
    now: bool = False,
) -> int:
    arguments = {
        "LINE": line or enrol_token.encode(token),
        "--into": str(tmp_path / "etc"),
        "--now": now,
    }
    return cli_join.run(arguments, lambda file: file.readline().decode(), serve)


def settings(tmp_path: Path, name: str = "host-7") -> ClientSettings:
    text = (tmp_path / "etc" / f"{name}.yaml").read_text()
    found = config_resolve.resolve(config_read.read([("f", text)]), config_secrets.read)
    assert not found.warnings
    (client,) = found.clients
    return client


def test_what_is_written_and_who_may_read_it(tmp_path: Path, hub: list[bytes]) -> None:
    assert join(tmp_path) == 0
    login = tmp_path / "etc" / "host-7.login"
    assert stat.S_IMODE(os.stat(login).st_mode) == 0o600
    name, password = login.read_text().split("\n")[0].split(" ")
    assert (name, len(password)) == ("host-7", 32)
    assert hub == [enrol_book.hashed(password.encode())], "the hub is shown the hash, and nothing else"
    assert password not in (tmp_path / "etc" / "host-7.yaml").read_text()
    assert not list((tmp_path / "etc").glob("*.new"))

    client = settings(tmp_path)
    (node,) = client.nodes
    assert (client.host, node.host, node.port, node.namespace) == ("host-7", "hub.example", 8443, NAMESPACE)
    assert (node.username, node.password) == ("host-7", password)
    assert (node.transport.kind, node.transport.tls.pin, node.transport.tls.verify) == (
        "tls",
        b"p" * 32,
        False,
    )
    assert (client.device.addresses, client.device.routes) == ((), ()), "the hub tells these"
    assert client.accept is not None
    assert (client.accept.routes, client.accept.addresses, client.accept.mtu) == ("auto", True, True)


def test_a_hub_behind_a_proxy_is_known_by_its_name(tmp_path: Path, hub: list[bytes]) -> None:
    join(
        tmp_path, replace(TOKEN, kind="wss", path="/way", pin=b"", port=443, host="a/b 'c\"".replace(" ", ""))
    )
    client = settings(tmp_path, "a_b_c_")
    (node,) = client.nodes
    assert client.host == "a/b'c\""
    transport = node.transport
    assert (transport.kind, transport.path, transport.tls.verify, transport.tls.pin) == (
        "wss",
        "/way",
        True,
        b"",
    )
    assert transport.tls.server_name == "hub.example"


def test_a_try_that_was_broken_off_goes_on_with_its_password(
    tmp_path: Path, hub: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def lost(token: Token, password: bytes) -> Reply:
        asked.append(password)
        raise HostError("hub: no answer within 10 s")

    with monkeypatch.context() as patch:
        patch.setattr(client_enrol, "enrol", lost)
        for _ in range(2):
            with pytest.raises(HostError):
                join(tmp_path)
    join(tmp_path)
    assert len({*asked, *hub}) == 1
    join(tmp_path)
    assert hub[0] != hub[1], "after that it is another one"
    with monkeypatch.context() as patch:
        patch.setattr(client_enrol, "enrol", lost)
        with pytest.raises(HostError):
            join(tmp_path, replace(TOKEN, invitation=b"j" * 8))
    assert len(set(asked)) == 2, "nor is it used for another invitation"


def test_a_refusal_leaves_nothing(tmp_path: Path, hub: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    join(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "etc").iterdir()}

    def used(token: Token, password: bytes) -> Reply:
        raise client_enrol.Refused("used")

    monkeypatch.setattr(client_enrol, "enrol", used)
    with pytest.raises(HostError):
        join(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "etc").iterdir()} == before


def test_who_joins_twice_is_told_so(
    tmp_path: Path, hub: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(token: Token, password: bytes) -> Reply:
        raise client_enrol.Refused("the invitation has been used already")

    join(tmp_path)
    kept = (tmp_path / "etc" / "host-7.login").read_bytes()
    monkeypatch.setattr(client_enrol, "enrol", refused)
    with pytest.raises(HostError, match="used already"):
        join(tmp_path)
    assert f"has joined before as host-7: tunrouter -C {tmp_path}/etc/host-7.yaml" in capsys.readouterr().err
    assert (tmp_path / "etc" / "host-7.login").read_bytes() == kept


@pytest.mark.parametrize(("uid", "is_told"), [(0, False), (1000, True)])
def test_who_is_not_root_is_told_what_that_takes(
    tmp_path: Path, hub: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    uid: int, is_told: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(cli_join, "_owner", lambda: -1)
    join(tmp_path)
    assert ("start it as root" in capsys.readouterr().err) is is_told


def test_somebody_s_own_configuration_stays(tmp_path: Path, hub: list[bytes]) -> None:
    (tmp_path / "etc").mkdir()
    own = tmp_path / "etc" / "host-7.yaml"
    own.write_text("services: []\n")
    with pytest.raises(HostError, match="is there already, and was not written by `tunrouter join`"):
        join(tmp_path)
    assert (own.read_text(), hub) == ("services: []\n", []), "and the invitation is still good"
    own.unlink()
    join(tmp_path)
    own.write_text(own.read_text() + "# changed\n")
    join(tmp_path)
    assert own.with_name("host-7.yaml.before").read_text().endswith("# changed\n")


OTHER_HUB = replace(TOKEN, address="home.example", pin=b"q" * 32)


@pytest.mark.parametrize(
    ("before", "token", "why"),
    [
        (TOKEN, OTHER_HUB, "of another hub, hub.example:8443"),
        (TOKEN, replace(TOKEN, port=443, pin=b"", kind="wss"), "of another hub, hub.example:8443"),
        (TOKEN, replace(TOKEN, namespace=bytes(15) + b"\1"), "of another namespace"),
        (TOKEN, replace(TOKEN, namespace=bytes(16)), "of another namespace"),
        (replace(TOKEN, namespace=bytes(16)), TOKEN, "of another namespace"),
        (replace(TOKEN, host="a/b"), replace(TOKEN, host="a_b"), "of another host name"),
    ],
)
def test_the_login_of_another_hub_or_host_is_not_taken_away(
    tmp_path: Path, hub: list[bytes], before: Token, token: Token, why: str
) -> None:
    """A laptop may have the same name at two hubs, and its login is nowhere else."""
    join(tmp_path, before)
    kept = {path: path.read_bytes() for path in (tmp_path / "etc").iterdir()}
    with pytest.raises(HostError, match=f"is {why}.*, whose login would be lost; .*another name"):
        join(tmp_path, token)
    assert {path: path.read_bytes() for path in (tmp_path / "etc").iterdir()} == kept
    assert len(hub) == 1, "and the invitation is still good"


@pytest.mark.parametrize("token", [replace(TOKEN, address="new.example"), replace(TOKEN, pin=b"q" * 32)])
def test_the_same_hub_may_have_moved_or_have_another_certificate(
    tmp_path: Path, hub: list[bytes], token: Token
) -> None:
    for one in (TOKEN, token):
        assert join(tmp_path, one) == 0
    assert settings(tmp_path).nodes[0].host == token.address
    assert len(hub) == 2


def test_the_line_on_standard_input(
    tmp_path: Path, hub: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = io.TextIOWrapper(io.BytesIO(enrol_token.encode(TOKEN).encode() + b"\n"))
    monkeypatch.setattr(cli_join.sys, "stdin", given)  # type: ignore[attr-defined]
    assert join(tmp_path, line="-") == 0
    assert len(hub) == 1


def test_a_wrong_line_is_a_mistake_of_the_command_line(tmp_path: Path, hub: list[bytes]) -> None:
    with pytest.raises(ConfigError, match="begin with tunrouter1-"):
        join(tmp_path, line="hub.example:8443")
    assert not (tmp_path / "etc").exists()


def test_now_runs_the_configuration(tmp_path: Path, hub: list[bytes]) -> None:
    served: list[Mapping[str, Any]] = []

    def serve(arguments: Mapping[str, Any]) -> int:
        served.append(arguments)
        return 7

    assert join(tmp_path, serve=serve, now=True) == 7
    assert served[0]["-C"] == [str(tmp_path / "etc" / "host-7.yaml")]


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """What systemctl is called with; its first start works, the second one fails."""
    ran: list[tuple[str, ...]] = []

    def run(argv: tuple[str, ...], check: bool) -> SimpleNamespace:
        ran.append(argv)
        return SimpleNamespace(returncode=len(ran) - 1)

    monkeypatch.setattr(cli_join, "_is_unit_s", lambda config: True)
    monkeypatch.setattr(cli_join, "CONTROL", str(tmp_path))
    monkeypatch.setattr(cli_join, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_now_enables_the_unit_of_systemd_and_waits_for_its_session(
    tmp_path: Path, hub: list[bytes], systemctl: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    client: dict[str, Any] = {"hub": "192.0.2.1:8443", "addresses": ["10.20.0.7/32"], "away": None}
    away: dict[str, Any] = {"hub": None, "addresses": [], "away": {"reason": "no"}}
    rows = [[], [away], [client | {"addresses": []}], [client]]
    replies: list[Any] = [HostError("not yet"), {}, *({"clients": one} for one in rows)]

    def ask(path: str, request: Mapping[str, object], seconds: float) -> dict[str, Any]:
        assert (path, request["do"]) == (f"{tmp_path}/host-7.sock", "status")
        reply = replies.pop(0)
        if isinstance(reply, HostError):
            raise reply
        return dict(reply)

    monkeypatch.setattr(ctl_client, "ask", ask)
    monkeypatch.setattr(cli_join, "CONNECT_SECONDS", 600.0)
    assert join(tmp_path, now=True) == 0
    assert not replies
    assert join(tmp_path, now=True) == 1, "its own status says whether it runs"
    assert systemctl[0] == ("systemctl", "enable", "--now", "tunrouter@host-7")
    said = capsys.readouterr().out
    assert "or systemctl enable --now tunrouter@host-7" in said
    assert "connected to 192.0.2.1:8443, with the address 10.20.0.7/32\n" in said
    assert "tunrouter@host-7 runs, and starts with this machine" in said


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"clients": [{"hub": None, "addresses": [], "away": {"reason": "refused"}}]}, "refused"),
        (None, "it does not reply"),
    ],
    ids=["no session", "no reply"],
)
def test_a_service_that_does_not_get_through_is_told(
    tmp_path: Path, hub: list[bytes], systemctl: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], reply: dict[str, Any] | None, why: str,
) -> None:  # fmt: skip
    if reply is not None:
        monkeypatch.setattr(ctl_client, "ask", lambda path, request, seconds: reply)
    assert join(tmp_path, now=True) == 1
    assert f"tunrouter@host-7 runs and goes on trying: {why}; `tunrouter doctor`" in capsys.readouterr().err


def test_the_unit_is_looked_for_where_it_is_installed() -> None:
    script = (ROOT / "packaging" / "install.sh").read_text()
    folders = re.findall(r"UNITDIR=\$\{UNITDIR:-(\S+)\}", script)
    assert len(folders) == 3
    assert {f"{folder}/tunrouter@.service" for folder in folders} <= set(cli_join.UNIT)


def test_what_is_said(tmp_path: Path, hub: list[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    join(tmp_path)
    said = capsys.readouterr()
    assert "joined hub hub.example:8443 as host host-7" in said.out
    assert f"start it: tunrouter -C {tmp_path}/etc/host-7.yaml" in said.out
    assert "192.168.7.0/24 is routed to this host: let it forward" in said.err
    assert "clock" not in said.err


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (WELCOME, "its address is 192.168.123.7, fd00::7"),
        (Reply(Answer.WELCOME, gives=True), "the hub gives it an address"),
        (Reply(Answer.WELCOME), "no route of the hub leads to an address of this host yet"),
    ],
    ids=["known", "out of a pool", "none"],
)
def test_what_is_said_of_its_address(
    reply: Reply,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(client_enrol, "enrol", lambda token, password: reply)
    join(tmp_path)
    said = capsys.readouterr()
    assert [line for line in (said.out + said.err).splitlines() if words in line]


def test_a_wrong_clock_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client_enrol, "enrol", lambda token, password: Reply(Answer.WELCOME, 1.0))
    join(tmp_path)
    assert "ahead of the hub's: set it" in capsys.readouterr().err, "the hub's is of 1970"

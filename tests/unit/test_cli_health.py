"""`tunrouter health`: one line, and an exit status for containers and monitors."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from lib import (
    cli_entry,
    cli_health,
    cli_main,
    cli_process,
    ctl_client,
    ctl_find,
    ctl_health,
    ids,
    service_supervisor,
)
from lib.client_tries import Away
from lib.ctl_find import Found
from tests.support import schema

NS_1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"


def hub(name: str = "hub", listens: bool = True, fault: str = "") -> Any:
    settings = SimpleNamespace(name=name, host="", port=8443)
    return SimpleNamespace(settings=settings, listens=listens, fault=lambda: fault, refused=Counter())


def client(host: str, peer: str = "", namespace: bytes = ids.NO_NAMESPACE, fault: str = "") -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(name=f"client-{host}", host=host),
        session=SimpleNamespace(peer=peer) if peer else None,
        node=SimpleNamespace(namespace=namespace),
        away=Away("192.0.2.1:8443", "Connection refused", 0.0),
        fault=lambda: fault,
    )


def asked(hubs: list[Any], clients: list[Any], **request: str) -> dict[str, Any]:
    reply = ctl_health.health(
        {one.settings.name: one for one in hubs}, {str(n): one for n, one in enumerate(clients)}, request
    )
    schema.check(reply, "health")
    return reply


HUB_1, HUB_2 = "192.0.2.1:8443", "192.0.2.2:8443"


@pytest.mark.parametrize(
    ("hubs", "clients", "line"),
    [
        ([hub()], [], "healthy: hub hub listens on :8443"),
        ([], [client("host-1", HUB_1)], f"healthy: client host-1 is connected to {HUB_1}"),
        (
            [hub("a"), hub("b")],
            [client("c", HUB_1), client("d", HUB_2)],
            "healthy: 2 hubs listen; 2 clients are connected",
        ),
        ([hub(listens=False)], [], "unhealthy: hub hub on :8443: it does not listen"),
        ([hub(fault="nothing is accepted")], [], "unhealthy: hub hub on :8443: nothing is accepted"),
        (
            [hub()],
            [client("a", HUB_1), client("b")],
            f"unhealthy: client b has no session with hub {HUB_1}: Connection refused; it is being tried now",
        ),
        ([], [client("a", HUB_1, fault="nobody dials")], "unhealthy: client a: nobody dials"),
    ],
)
def test_what_a_monitor_reads(hubs: list[Any], clients: list[Any], line: str) -> None:
    reply = asked(hubs, clients)
    assert cli_health.line(reply) == line
    assert reply["healthy"] is line.startswith("healthy")


def test_of_a_hundred_clients_that_are_away_three_are_named() -> None:
    line = cli_health.line(asked([], [client(f"host-{n}") for n in range(100)]))
    assert [f"client host-{n} " in line for n in range(4)] == [True, True, True, False]
    assert line.endswith("; and 97 more problems")


def test_a_broken_task_of_the_process_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_supervisor, "fault", lambda: "files are watched: has ended")
    assert asked([hub()], [])["problems"] == ["files are watched: has ended"]


def test_one_of_several_clients_is_chosen_by_host_name() -> None:
    ours = ids.parse_uuid(NS_1)
    clients = [client("host-1", HUB_1), client("host-2"), client("host-2", HUB_2, ours)]
    assert asked([hub(listens=False)], clients, host="host-1")["healthy"] is True
    assert asked([], clients, host="host-2")["healthy"] is False
    reply = asked([hub()], clients, host="host-2", ns=NS_1)
    assert (reply["healthy"], reply["hubs"]) == (True, [])
    with pytest.raises(ValueError, match="there is no client host-3 here"):
        asked([hub()], clients, host="host-3")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a.sock")


def health(path: str, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli_entry.do_at_once(["health", "--control", path, *words])
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 1
    return status, said.out


def replying(path: str, reply: bytes) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as sock:
            sock.recv(65536)
            sock.sendall(reply)

    Thread(target=serve, daemon=True).start()


def test_nobody_there_is_one_line_and_status_1(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"unhealthy: control socket {path}: No such file or directory\n"
    assert health(path, capsys) == (1, said)
    status, text = health(path, capsys, "--json")
    reply = json.loads(text)
    schema.check(reply, "health")
    assert (status, reply["healthy"], reply["pid"]) == (1, False, None)


def test_a_process_that_hangs_is_status_1_soon(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli_health.SECONDS <= 5
    monkeypatch.setattr(cli_health, "SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert health(path, capsys) == (1, f"unhealthy: control socket {path}: no reply within 0.1 s\n")


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ({"ok": True, **asked([hub()], [])}, 0),
        ({"ok": True, **asked([], [client("a")])}, 1),
        ({"ok": False, "error": "cannot do 'health'; there is hello"}, 1),
        ({"ok": True, "nonsense": 1}, 1),
    ],
    ids=["healthy", "unhealthy", "an older version", "nonsense"],
)
def test_the_exit_status(
    reply: dict[str, Any], status: int, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replying(path, json.dumps(reply).encode() + b"\n")
    assert health(path, capsys)[0] == status


def test_a_wrong_namespace_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_entry.do_at_once(["health", "--ns", "no\x1bsense"]) == 2
    assert "--ns" in capsys.readouterr().err


def test_several_processes_are_listed_in_the_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"pid": 7, "hubs": ["hub"], "clients": [], "files": []}
    found = [Found(f"/run/tunrouter/{n}.sock", os.geteuid(), said) for n in (1, 2)]
    monkeypatch.setattr(ctl_find, "own", lambda seconds: found)
    assert cli_entry.do_at_once(["health"]) == 2
    text = capsys.readouterr().out
    assert text.startswith("unhealthy: --control: several tunrouters run here")
    assert all(one.path in text for one in found)
    assert text.count("\n") == 1


def nested(depth: int) -> Any:
    return json.loads('{"a": ' * depth + "1" + "}" * depth)


@pytest.mark.parametrize("command", [("health",), ("status",), ("kick", "host-1")], ids=" ".join)
@pytest.mark.parametrize(
    "lie", [{"healthy": True, **nested(700)}, {}, {"healthy": True, "hubs": [1], "sessions": "many"}]
)
def test_a_reply_that_is_none_is_one_line(
    command: tuple[str, ...], lie: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_process, "path", lambda *_, **more: "/control")
    monkeypatch.setattr(ctl_client, "ask", lambda *_: lie)
    assert cli_main.main(command) == 1
    said = capsys.readouterr()
    assert (said.out + said.err).count("\n") == 1
    assert "the reply is not one of a tunrouter" in said.out + said.err

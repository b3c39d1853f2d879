"""Looks of doctor: at clocks, name servers and programs, and that none of them outlasts its deadline."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import gevent
import pytest

from lib import (
    cli_doctor,
    ctl_find,
    doctor_look_host,
    doctor_look_tunnel,
    doctor_look_way,
    doctor_ping,
    doctor_processes,
)
from lib.ctl_find import Found
from lib.doctor_facts import Unknown
from lib.errors import HostError, ProtocolError
from lib.settings import ClientSettings, DeviceSettings, HubSettings, NodeSettings, Settings
from lib.settings_transport import TlsSettings, TransportSettings
from lib.stream_websocket import WebSocketCodec
from tests.support import name_server
from tests.support.tls import Authority


@contextmanager
def served(answer: bytes) -> Iterator[int]:
    """A server on loopback that answers every connection so; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def client(port: int, kind: str = "tcp") -> ClientSettings:
    node = NodeSettings("node-0", "127.0.0.1", port, transport=TransportSettings(kind))
    return ClientSettings("service-0", "host-1", DeviceSettings(), (node,))


def test_the_time_that_a_web_server_says_is_seen_whatever_else_it_says() -> None:
    answer = (
        f"HTTP/1.1 403 Forbidden\r\nServer: x\r\ndate: {formatdate(time.time() - 7200, usegmt=True)}\r\n\r\n"
    )
    with served(answer.encode()) as port:
        (way,) = doctor_look_way.ways([client(port, "ws")])
    assert way.stage == "WebSocket"
    assert "403" in way.error
    assert way.date == pytest.approx(time.time() - 7200, abs=5)


def test_nothing_listens_and_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        (way,) = doctor_look_way.ways([client(taken.getsockname()[1])])
    assert (way.stage, way.error) == ("connection", "Connection refused")


@pytest.mark.parametrize(
    ("data", "date"),
    [
        (b"HTTP/1.1 400 Bad\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", 784111777.0),
        (b"HTTP/1.1 400 Bad\r\nX: y\r\nDATE:Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nbody", 784111777.0),
        (b"HTTP/1.1 400 Bad\r\nDate: yesterday\r\n\r\n", None),
        (b"HTTP/1.1 400 Bad\r\n\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None),
        (b"\xff\xfe\r\n", None),
        (b"", None),
    ],
)
def test_the_date_of_a_response(data: bytes, date: float | None) -> None:
    assert doctor_look_way.read_date(data) == date


def test_our_own_hub_says_the_time_to_whoever_it_refuses() -> None:
    no_http, no_path = WebSocketCodec("/ws", ()), WebSocketCodec("/ws", ())
    no_http.turn_away()
    with pytest.raises(ProtocolError, match="WebSocket"):
        no_path.feed(memoryview(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"))
    for codec in (no_http, no_path):
        assert doctor_look_way.read_date(codec.output()) == pytest.approx(time.time(), abs=5)


def test_a_name_server_that_answers_and_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_look_way, "SERVER_SECONDS", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not doctor_look_way.asks("127.0.0.1", "", port), "it is silent"

        def answer() -> None:
            for _ in range(3):  # the two questions that nobody has answered, and one more
                query, asker = server.recvfrom(4096)
                server.sendto(name_server.reply(query, "192.0.2.1"), asker)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert doctor_look_way.asks("127.0.0.1", "", port)
        thread.join(5)
    assert not doctor_look_way.asks("127.0.0.1", "", port), "nobody is there"


def test_the_clock_is_held_against_files_and_certificates_of_hubs(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("hub.example", lasts=30)
    hub = HubSettings("h", "", 8443, transport=TransportSettings("tls", TlsSettings(pair.cert, pair.key)))
    clock = doctor_look_host.clock(Settings(hubs=(hub,)))
    ((file, certificate),) = clock.certificates
    assert (file, certificate.fingerprint) == (pair.cert, pair.fingerprint)
    assert certificate.ends == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert clock.newest[0] == pair.cert


@pytest.mark.usefixtures("own_children")
def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_look_host, "PROGRAM_SECONDS", 0.1)
    began = time.monotonic()
    with pytest.raises(HostError, match="had not ended within"):
        doctor_look_host._said("sleep", "30")
    assert time.monotonic() - began < 5


def test_a_look_that_hangs_or_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(patient: object) -> None:
        raise KeyError("odd")

    looks: dict[str, Any] = {name: lambda patient: () for name in cli_doctor._LOOKS}
    looks |= {"tun": lambda patient: gevent.sleep(60), "clock": fails}
    monkeypatch.setattr(cli_doctor, "_LOOKS", looks)
    patient = cli_doctor._Patient(None, Settings(), {"--to": []}, None)  # type: ignore[arg-type]
    facts = cli_doctor._facts(patient, time.monotonic() + 1.0)
    assert isinstance(facts.tun, Unknown)
    assert "took longer" in facts.tun.why
    assert facts.clock == Unknown("KeyError('odd')")
    assert facts.others == ()


def test_an_executable_with_its_two_processes_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, parents = Settings(clients=(client(8443),)), {102: 101, 101: 1, 103: 1}
    monkeypatch.setattr(
        doctor_processes, "_programs", lambda: ((pid, "tunrouter") for pid in (101, 102, 103))
    )
    monkeypatch.setattr(doctor_processes, "_settings_of", lambda pid: theirs)
    monkeypatch.setattr(doctor_processes, "_parent", lambda pid: parents.get(pid, 1))
    assert [other.pid for other in doctor_processes.others(theirs, None)] == [101, 103]


def test_behind_an_exit_nobody_needs_a_route_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(asked: list[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        return {one: one[1] == "192.0.2.2" for one in asked}

    found = [("192.0.2.1", "eth0", "192.0.2.2")]
    monkeypatch.setattr(doctor_look_tunnel, "_machines", lambda behind, tunnel: found)
    monkeypatch.setattr(doctor_ping, "is_allowed", lambda: True)
    monkeypatch.setattr(doctor_ping, "all_answers", answers)
    row: dict[str, Any] = {"addresses": ["10.20.0.7/32"], "prefixes": ["0.0.0.0/0"], "device": "tun0"}
    for table, count in ((None, 1), ("tunrouter_nat_tun0", 0)):
        facts = doctor_look_tunnel.neighbours([row | {"nat": {"on": bool(table), "table": table}}])
        assert isinstance(facts, tuple)
        assert len(facts) == count


def test_an_exit_does_not_ask_from_addresses_that_are_this_host_s_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything lies behind it, but nobody elsewhere could answer to 127.0.0.1 or fe80::1."""
    texts = (
        "127.0.0.1/8",
        "192.0.2.2/24",
        "169.254.1.1/16",
        "::1/128",
        "2001:db8::2/64",
        "fe80::1/64",
        "10.20.0.7/32",
    )
    found = [("tun0" if text.startswith("10.") else "eth0", ip_interface(text)) for text in texts]
    monkeypatch.setattr(doctor_look_tunnel, "_interfaces", lambda: found)
    monkeypatch.setattr(doctor_look_tunnel, "device_to", lambda address: "tun0")
    monkeypatch.setattr(doctor_ping, "is_allowed", lambda: True)
    monkeypatch.setattr(doctor_ping, "all_answers", lambda asked: dict.fromkeys(asked, True))
    row = {"addresses": ["10.20.0.7/32", "fd20::7/128"], "prefixes": ["0.0.0.0/0", "::/0"], "device": "tun0"}
    facts = doctor_look_tunnel.far(["10.20.0.1", "fd20::1"], [row], frozenset({"tun0"}))
    assert isinstance(facts, tuple)
    asked = [[source for source, _ in one.answers] for one in facts]
    assert asked == [["10.20.0.7", "192.0.2.2"], ["fd20::7", "2001:db8::2"]]


def test_processes_of_other_network_namespaces_are_looked_at_where_none_is_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def found(*pids: int) -> list[int]:
        every = [Found(f"{pid}.sock", 0, {"pid": pid, "files": []}) for pid in pids]
        monkeypatch.setattr(ctl_find, "own", lambda seconds: every)
        return [one.pid for one in doctor_processes.running(None, [])]

    for name, network in (("self", 1), ("7", 1), ("8", 2), ("9", 1)):
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "ns" / "net").symlink_to(f"net:[{network}]")
    monkeypatch.setattr(doctor_processes, "_PROC", tmp_path)
    monkeypatch.setattr(
        doctor_processes, "_asked", lambda path, hello: doctor_processes.Running(hello["pid"], path, {}, ())
    )
    assert found(7, 8, 9) == [7, 9]
    assert found(8) == [8]
    assert found(8, 10) == [10], "of one that cannot be known"
    assert len(found(*[7] * 20)) == doctor_processes.MOST

"""The loopback name server of a client, with servers on other loopback addresses, and a resolv.conf of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from gevent import socket
from gevent.server import StreamServer

from lib import client_names_files, client_stub, dns_forward, dns_resolv_conf, stream_dns
from lib.addresses import packed_prefix
from lib.client_stub import Stub
from lib.dns_forward import REFUSED, SERVFAIL, Zone

HUB, OLD, SECOND = "127.9.9.1", "127.9.9.2", "127.9.9.3"
ZONE = Zone((HUB,), "tun.example", (packed_prefix("10.20.0.0/16"),))

Reply = Callable[[DNSRecord], DNSRecord | None]


class Server:
    """A name server on a loopback address that notes what it is asked."""

    def __init__(self, address: str, reply: Reply) -> None:
        self.names: list[str] = []
        self.ports: list[int] = []
        self.numbers: list[int] = []
        self.over_tcp = 0
        self._reply, self._udp = reply, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, stream_dns.PORT))
        self._tcp = StreamServer((address, stream_dns.PORT), self._stream)
        self._tcp.start()
        self._task = gevent.spawn(self._datagrams)

    def _answer(self, data: bytes) -> bytes:
        message = DNSRecord.parse(data)
        self.names.append(str(message.q.qname).rstrip("."))
        self.numbers.append(message.header.id)
        found = self._reply(message)
        return bytes(found.pack()) if found is not None else b""

    def _datagrams(self) -> None:
        while True:
            data, asker = self._udp.recvfrom(4096)
            self.ports.append(asker[1])
            reply = self._answer(data)
            if reply:
                self._udp.sendto(reply, asker)

    def _stream(self, stream: socket.socket, _: object) -> None:
        self.over_tcp += 1
        message = stream_dns.received(stream)
        assert message
        stream.sendall(stream_dns.framed(self._answer(message)))

    def close(self) -> None:
        self._task.kill()
        self._udp.close()
        self._tcp.stop()


def gives(address: str) -> Reply:
    def reply(message: DNSRecord) -> DNSRecord:
        found = message.reply()
        found.add_answer(RR(message.q.qname, QTYPE.A, rdata=A(address)))
        return found

    return reply


def fails(code: int) -> Reply:
    def reply(message: DNSRecord) -> DNSRecord:
        found = message.reply()
        found.header.rcode = code
        return found

    return reply


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Reply], Server]]:
    """Start servers; the port of all of them is a free one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.9.9.1", 0))
        monkeypatch.setattr(stream_dns, "PORT", free.getsockname()[1])
    monkeypatch.setattr(client_stub, "WAITS", (0.4, 1.0))
    monkeypatch.setattr(client_stub, "SECONDS", 10.0)
    monkeypatch.setattr(client_stub, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(client_stub, "_NAME", "\0tunrouter-test/%d/" + str(stream_dns.PORT))
    monkeypatch.setattr(client_names_files, "is_of_others", lambda _: False)
    running: list[Server] = []

    def begin(address: str, reply: Reply) -> Server:
        running.append(Server(address, reply))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text(f"search lan\nnameserver {OLD}\nnameserver {SECOND}\n")
    return path


@pytest.fixture
def stub(serve: object, file: Path) -> Iterator[Stub]:
    made = Stub(str(file))
    assert made.set("c", ZONE) == ""
    yield made
    made.remove("c")
    made.remove("d")


def ask(stub: Stub, name: str, over_tcp: bool = False, kind: str = "A") -> DNSRecord | None:
    """What a program of this host is answered."""
    message = bytes(DNSRecord.question(name, kind).pack())
    if over_tcp:
        with socket.create_connection((stub.address, stream_dns.PORT), timeout=5) as stream:
            stream.sendall(stream_dns.framed(message))
            reply = stream_dns.received(stream)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(20)
            asking.connect((stub.address, stream_dns.PORT))
            asking.send(message)
            reply = asking.recv(4096)
    return DNSRecord.parse(reply) if reply else None


def address(found: DNSRecord | None) -> str:
    assert found is not None
    return str(found.rr[0].rdata) if found.rr else ""


def code(found: DNSRecord | None) -> int:
    assert found is not None
    return int(found.header.rcode)


def test_the_hub_is_asked_for_its_domain_and_for_nothing_else(
    stub: Stub, serve: Callable[[str, Reply], Server]
) -> None:
    hub, old = serve(HUB, gives("10.20.0.7")), serve(OLD, gives("192.0.2.7"))
    assert address(ask(stub, "host-1.tun.example")) == "10.20.0.7"
    assert address(ask(stub, "www.example")) == "192.0.2.7"
    assert address(ask(stub, "www.example", over_tcp=True)) == "192.0.2.7"
    assert address(ask(stub, "host-1.tun.example", over_tcp=True)) == "10.20.0.7", "the hub has no TCP"
    assert hub.names == ["host-1.tun.example"] * 2
    assert old.names == ["www.example"] * 2
    assert (hub.over_tcp, old.over_tcp) == (0, 1)
    for _ in range(6):
        ask(stub, "www.example")
    assert len(set(old.ports)) > 4
    assert len(set(old.numbers)) > 6


def test_an_address_that_the_hub_does_not_know_is_asked_of_the_others(
    stub: Stub, serve: Callable[[str, Reply], Server]
) -> None:
    hub, old = serve(HUB, fails(REFUSED)), serve(OLD, gives("192.0.2.7"))
    assert address(ask(stub, "9.0.20.10.in-addr.arpa", kind="PTR")) == "192.0.2.7"
    assert (len(hub.names), len(old.names)) == (1, 1)


def test_a_server_that_is_away_is_passed_over(stub: Stub, serve: Callable[[str, Reply], Server]) -> None:
    silent, second = serve(OLD, lambda _: None), serve(SECOND, gives("192.0.2.8"))
    assert address(ask(stub, "www.example")) == "192.0.2.8"
    before = len(silent.names)
    assert address(ask(stub, "www.example")) == "192.0.2.8"
    assert len(silent.names) == before, "it is asked last for a while"
    assert len(second.names) == 2


def test_a_failure_is_passed_on_when_nobody_answers(
    stub: Stub, serve: Callable[[str, Reply], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = serve(OLD, fails(REFUSED))
    assert code(ask(stub, "www.example")) == REFUSED
    assert len(old.names) == 1
    assert code(ask(stub, "host-1.tun.example")) == SERVFAIL, "nobody is there"
    serve(HUB, lambda _: None)
    monkeypatch.setattr(client_stub, "SECONDS", 0.5)
    assert code(ask(stub, "host-1.tun.example")) == SERVFAIL
    assert len(old.names) == 1, "names of the domain are asked of the hub alone"


def test_answers_to_something_else_are_not_taken(stub: Stub, serve: Callable[[str, Reply], Server]) -> None:
    def forged(message: DNSRecord) -> DNSRecord:
        found = gives("192.0.2.66")(message)
        assert found is not None
        found.header.id ^= 1
        return found

    serve(OLD, forged)
    serve(SECOND, gives("192.0.2.8"))
    assert address(ask(stub, "www.example")) == "192.0.2.8"


def test_an_answer_that_is_cut_off_is_passed_on_so(stub: Stub, serve: Callable[[str, Reply], Server]) -> None:
    def cut(message: DNSRecord) -> DNSRecord:
        found = message.reply()
        found.header.tc = 1
        return found

    serve(OLD, cut)
    found = ask(stub, "www.example")
    assert found is not None
    assert found.header.tc


def test_more_questions_than_there_may_be_fail_at_once(
    stub: Stub, serve: Callable[[str, Reply], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(OLD, lambda _: None)
    monkeypatch.setattr(client_stub, "WAITS", (30.0, 30.0))
    monkeypatch.setattr(client_stub, "SECONDS", 60.0)
    asking = [gevent.spawn(ask, stub, "www.example") for _ in range(client_stub.QUESTIONS)]
    with gevent.Timeout(10):
        while not stub._asked.full():
            gevent.sleep(0.01)
    with gevent.Timeout(10):
        assert code(ask(stub, "www.example")) == SERVFAIL
    gevent.killall(asking)


@pytest.mark.parametrize("over_tcp", [False, True])
def test_who_asks_without_end_lets_others_run(stub: Stub, over_tcp: bool) -> None:
    """Any user of this host may ask, and while there is data a receive alone lets nobody else run."""
    message, number, loop = bytes(12) + b"no question", 400, gevent.get_hub().loop
    kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as asking:
        asking.settimeout(5)
        asking.connect((stub.address, stream_dns.PORT))
        before = loop.iteration
        for _ in range(1 if over_tcp else number):
            asking.send(stream_dns.framed(message) * number if over_tcp else message)
        received = 0
        while received < number * 14 if over_tcp else received < number // 2:
            received += len(asking.recv(65536)) if over_tcp else bool(asking.recv(4096))
        assert loop.iteration - before >= number // (2 if over_tcp else 2 * client_stub.TOGETHER)


def test_what_is_no_question_is_said_so_and_an_answer_gets_none(stub: Stub) -> None:
    message = bytes(DNSRecord.question("www.example").pack())
    assert stub.answer(message[:14], over_tcp=False)[3] & 15 == 1
    assert stub.answer(bytes(DNSRecord.parse(message).reply().pack()), over_tcp=False) == b""
    assert stub.answer(b"\0" * 11, over_tcp=False) == b""


def test_the_file_names_it_first_while_it_serves(stub: Stub, file: Path) -> None:
    before = f"search lan\nnameserver {OLD}\nnameserver {SECOND}\n"
    assert file.read_text().endswith(before)
    assert dns_resolv_conf.is_set(file.read_text(), stub.address)
    assert stub.set("d", Zone(("127.9.9.4",), "other.example")) == ""
    assert "Names of other.example and tun.example" in file.read_text()
    stub.remove("c")
    assert "tun.example" not in file.read_text()
    stub.remove("d")
    assert file.read_text() == before
    assert stub.address == ""


def test_what_others_write_into_the_file_is_followed(
    stub: Stub, file: Path, serve: Callable[[str, Reply], Server]
) -> None:
    serve(SECOND, gives("192.0.2.8"))
    written = f"# by a DHCP client\nnameserver {SECOND}\n"
    other = file.with_name("new")
    other.write_text(written)
    other.rename(file)
    with gevent.Timeout(5):
        while not dns_resolv_conf.is_set(file.read_text(), stub.address):
            gevent.sleep(0.01)
    assert address(ask(stub, "www.example")) == "192.0.2.8"
    stub.remove("c")
    assert file.read_text() == written


def test_the_next_start_takes_away_what_a_killed_process_left(stub: Stub, file: Path) -> None:
    left = dns_resolv_conf.add(file.read_text(), "127.0.117.77", ["gone.example"])
    file.write_text(left)
    client_stub.mend(str(file))
    assert dns_resolv_conf.blocks(file.read_text()) == [stub.address], "ours lives"
    client_stub.mend(str(file.with_name("none")))


@pytest.mark.parametrize("what", ["file", "port", "machine"])
def test_what_cannot_be_is_said_and_leaves_nothing(
    serve: object, file: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    stub, before = Stub(str(file)), file.read_text()
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if what == "file":
        monkeypatch.setattr(
            client_names_files,
            "change",
            lambda path, _: (_ for _ in ()).throw(PermissionError(1, "Denied", path)),
        )
    elif what == "port":
        taken.bind(("0.0.0.0", stream_dns.PORT))
    else:
        monkeypatch.setattr(client_names_files, "is_of_others", lambda _: True)
    said = {
        "file": f"{file}: Denied",
        "port": f"127.0.117.1:{stream_dns.PORT}: a name server of this host has port 53 of all addresses",
        "machine": f"{file}: is the file of the whole machine",
    }
    assert stub.set("c", ZONE).startswith(said[what])
    assert stub.address == ""
    assert file.read_text() == before
    taken.close()
    monkeypatch.undo()


def test_a_change_that_fails_ends_it(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _: object) -> None:
        raise PermissionError(1, "Denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(client_names_files, "change", refuse)
        assert "Denied" in stub.set("c", ZONE)
    assert stub.address == "", "nobody wants its names any more"


def test_a_connection_that_ends_in_the_middle_of_a_question_is_dropped(stub: Stub) -> None:
    with socket.create_connection((stub.address, stream_dns.PORT), timeout=5) as stream:
        stream.sendall(struct.pack("!H", 40) + b"x" * 12)
        stream.shutdown(socket.SHUT_WR)
        assert stream.recv(10) == b""


def test_the_hub_is_not_asked_while_no_tunnel_leads_to_it(
    stub: Stub, serve: Callable[[str, Reply], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program would wait for each answer until it gives up: 20 s for one `getent hosts`."""
    hub, old = serve(HUB, gives("10.20.0.7")), serve(OLD, gives("192.0.2.1"))
    reached = [False]
    stub.set("c", ZONE._replace(is_reached=lambda: reached[0]))
    name, address, other = (
        bytes(DNSRecord.question(name, kind).pack())
        for name, kind in (
            ("host-1.tun.example", "A"), ("7.0.20.10.in-addr.arpa", "PTR"), ("www.example.com", "A"),
        )
    )  # fmt: skip
    assert dns_forward.code(stub.answer(name, over_tcp=False)) == SERVFAIL
    for question in (address, other):
        assert dns_forward.code(stub.answer(question, over_tcp=False)) == 0, "of the other server"
    assert (hub.names, old.names) == ([], ["7.0.20.10.in-addr.arpa", "www.example.com"])
    reached[0] = True
    assert dns_forward.code(stub.answer(name, over_tcp=False)) == 0
    assert hub.names == ["host-1.tun.example"]

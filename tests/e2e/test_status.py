"""Seeing in: status, drops, routes, kick, drain and top of a running hub and client."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lib import cli_show, framing, wire_control
from lib.wire_relay import Request
from tests.hostile import peer
from tests.support import schema
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, in_namespace
from tests.support.page import Player
from tests.support.program import (
    OVERLAY_2,
    TUNROUTER,
    example,
    host,
    needs_gost,
    pings,
    reach,
    run,
    start_client,
    start_gost,
    start_hub,
    unlimited,
    wait_for,
)
from tests.support.terminal import Terminal

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
NS_1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"


@pytest.fixture
def sockets(tmp_path: Path) -> tuple[str, str]:
    return str(tmp_path / "hub.sock"), str(tmp_path / "client.sock")


def asked(path: str, name: str, *command: str) -> dict[str, Any]:
    """What a command prints with --json, which must be as the schema says."""
    status, said = run(*command, "--json", "--control", path)
    assert status in (0, 3), said
    answer: dict[str, Any] = json.loads(said)
    schema.check(answer, name)
    return answer


def hello(path: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b'{"do": "hello"}\n')
        answer: dict[str, Any] = json.loads(sock.makefile().readline())
    assert answer.pop("ok") is True
    schema.check(answer, "hello")
    return answer


def test_status_drops_and_routes(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    killed = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    program = start_client(topology.host_1, "--control", sockets[1], *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    pings(topology.host_1, "192.168.123.77", 2)

    found = asked(sockets[0], "status", "status")
    assert found["clients"] == []
    assert [(hub["service"], hub["listen"], hub["sessions"]) for hub in found["hubs"]] == [
        ("service-0", ":8443", 2)
    ]
    by_host = {row["host"]: row for row in found["sessions"]}
    assert set(by_host) == {"host-1", "host-2"}
    one = by_host["host-1"]
    assert one["received_packets"] >= 6
    assert one["received_bytes_per_s"] > 0
    assert one["superpackets"] is True
    assert one["software"].startswith("tunrouter ")
    assert one["address"] == "192.168.123.1"
    assert "192.168.100.0/24" in one["prefixes"]
    assert one["drops"]["no-route"] >= 2
    (table,) = found["tables"]
    assert (table["kind"], table["name"], table["sources"]) == ("router", "router-0", [])
    (client,) = asked(sockets[1], "status", "status")["clients"]
    assert (client["host"], client["device"], client["hub"]) == ("host-1", "tun0", "10.77.1.1:8443")
    assert client["software"].startswith("tunrouter ")

    status, text = run("status", "--control", sockets[0])
    assert status == 0
    assert "\x1b" not in text
    line = next(line for line in text.splitlines() if line.startswith("host-1 "))
    assert all(part in line for part in ("10.77.1.2:", "192.168.123.1", "tcp", "bit/s", "no-route"))
    assert "router router-0" in text

    only = asked(sockets[0], "status", "status", "--host", "host-1")
    assert ([row["host"] for row in only["sessions"]], only["tables"]) == (["host-1"], [])
    assert asked(sockets[0], "status", "status", "--ns", NS_1)["sessions"] == []
    text = run("status", "--control", sockets[0], "--host", "host-9")[1]
    assert "only host host-9: no session and no client" in text
    assert {row["host"] for row in asked(sockets[0], "drops", "drops", "--host", "host-2")["drops"]} <= {
        "host-2"
    }
    assert run("health", "--control", sockets[0]) == (0, "healthy: hub service-0 listens on :8443\n")
    assert asked(sockets[1], "health", "health", "--host", "host-1")["healthy"] is True

    drops = asked(sockets[0], "drops", "drops")
    row = next(row for row in drops["drops"] if row["reason"] == "no-route")
    assert row["last"]["packet"] == "icmp echo 192.168.123.1 > 192.168.123.77"
    assert row["remedy"]
    late = next(row for row in drops["destinations"] if row["destination"] == "192.168.123.77")
    assert late["reasons"]["no-route"] >= 2
    schema.check(asked(sockets[1], "drops", "drops"), "drops")
    text = run("drops", "--control", sockets[0])[1]
    assert "icmp echo 192.168.123.1 > 192.168.123.77" in text
    assert "what to do" in text
    assert row["remedy"] in text

    routes = asked(sockets[0], "routes", "routes")
    gateways = {row["prefix"]: row["gateways"] for row in routes["routes"]}
    (gateway,) = gateways["192.168.200.0/24"]
    assert gateway == {
        "host": "host-2", "metric": None, "source": "inline", "fall_through": False, "live": True, "hubs": [],
        "carries": True,
    }  # fmt: skip
    asked(sockets[0], "explain", "explain", "--from", "host-1", OVERLAY_2)
    assert hello(sockets[0])["hubs"] == ["service-0"]
    assert hello(sockets[1])["hubs"] == []

    (row,) = asked(sockets[1], "status", "status")["clients"]
    assert row["away"] is None
    killed.stop(signal.SIGKILL)
    program.wait_line("trying again")
    (row,) = asked(sockets[1], "status", "status")["clients"]
    away = row["away"]
    assert (row["hub"], away["hub"]) == (None, f"{HUB_TO_HOST_1}:8443")
    assert away["reason"]
    assert 0 <= away["next_try_s"] <= 4
    status, text = run("health", "--control", sockets[1])
    assert (status, text.count("\n")) == (1, 1)
    assert text.startswith(f"unhealthy: client host-1 has no session with hub {HUB_TO_HOST_1}:8443: ")
    assert run("health", "--control", sockets[0])[0] == 1
    text = run("status", "--control", sockets[1])[1]
    assert f"host-1 has no session with hub {HUB_TO_HOST_1}:8443: " in text


def test_routes_by_prefix_and_who_carries_them(
    topology: Topology, write: Write, sockets: tuple[str, str]
) -> None:
    file = write(
        "routes.txt", "10.1.0.0/16 host-1\n10.1.2.0/24 host-9\n10.1.2.0/24 host-1\n10.2.0.0/16 host-9\n"
    )
    text = f"{example('server.yml').partition('routers:')[0]}routers: [{{name: router-0, file: {{path: {file}}}}}]\n"
    hub = start_hub(topology.hub, "-C", write("hub.yml", text), "--control", sockets[0])
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    hub.wait_line("is host host-1")

    def prefixes(*words: str) -> list[str]:
        return [row["prefix"] for row in asked(sockets[0], "routes", "routes", *words)["routes"]]

    assert prefixes() == ["10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16"]
    assert prefixes("10.1.0.0/16") == ["10.1.0.0/16", "10.1.2.0/24"]
    assert prefixes("10.1.2.0/23") == ["10.1.2.0/24"]
    assert prefixes("10.1.2.3") == ["10.1.2.0/24", "10.1.0.0/16"]
    assert prefixes("fd00::/8") == []
    status, text = run("routes", "--control", sockets[0])
    assert status == 0
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("10.")}
    assert "host-9 (away), host-1" in lines["10.1.2.0/24"]
    assert lines["10.1.2.0/24"].split()[1] == "host-1"
    assert lines["10.2.0.0/16"].split()[1] == "nobody"
    assert lines["10.2.0.0/16"].endswith(file)
    (table,) = asked(sockets[0], "status", "status")["tables"]
    (source,) = table["sources"]
    assert (table["rows"], source["name"], source["error"]) == (3, file, "")
    status, text = run("routes", "10.1.0.0/99", "--control", sockets[0])
    assert (status, "neither an address nor a prefix" in text) == (2, True)
    status, text = run("routes", "--service", "other", "--control", sockets[0])
    assert (status, "there is no hub 'other'" in text) == (1, True)
    Path(file).unlink()
    hub.send(signal.SIGHUP)
    hub.wait_line("its last good rows stay")
    (table,) = asked(sockets[0], "status", "status")["tables"]
    assert "No such file" in table["sources"][0]["error"]
    assert "failing for" in run("status", "--control", sockets[0])[1]


def test_kick_and_drain(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    config = write("hub.yml", example("server.yml"))
    hub = start_hub(topology.hub, "-D", "-C", config, "--control", sockets[0])
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    met = r"10\.77\.1\.2:\d+ \(host-1\) is tunrouter"  # before that it is GOST's: nobody to ask to go
    hub.wait_line(met)
    before = hub.line_count()
    assert run("kick", "host-1", "--control", sockets[0]) == (0, "1 session ended\n")
    hub.wait_line("left: kicked by the operator")
    client.wait_line("connected to", after=3)
    hub.wait_line(met, after=before)
    before, lines = hub.line_count(), client.line_count()
    assert run("drain", "host-1", "--control", sockets[0]) == (0, "1 session asked to make way for another\n")
    client.wait_line("asks for another session", after=lines)
    client.wait_line("connected to", after=lines)
    assert "trying again" not in "".join(client.text().splitlines(True)[lines:])
    status, said = run("kick", "host-9", "--control", sockets[0])
    assert (status, said) == (1, "error: no live session of host 'host-9'; did you mean 'host-1'?\n")
    status, said = run("kick", "host-1", "--ns", NS_1, "--control", sockets[0])
    assert (status, f"'host-1' in namespace {NS_1}" in said) == (1, True)
    status, said = run("drain", "host-1", "--ns", "nonsense", "--control", sockets[0])
    assert (status, "not a UUID: 'nonsense'; no namespace has a title here" in said) == (1, True)
    hub.wait_line(met, after=before)
    lines = hub.line_count()
    start_client(topology.host_2, *host(1, HUB_TO_HOST_2))  # a second one of that name
    hub.wait_line("is host host-1", after=lines)
    hub.wait_line(met.replace(r"77\.1", r"77\.2"))
    assert run("drain", "host-1", "--control", sockets[0]) == (
        0,
        "2 sessions asked to make way for another\n",
    )
    other_tenant = f"router://{HUB_TO_HOST_2}:8443?router.id={NS_1}"
    start_client(topology.host_2, "-L", "tun:///host-1?net=192.168.124.1/24", "-F", other_tenant)
    status, said = run("kick", "host-1", "--control", sockets[0])
    assert (status, f"--ns {NS_1} --service service-0; say which one, or --all" in said) == (1, True)
    assert run("kick", "host-1", "--ns", NS_1, "--control", sockets[0]) == (0, "1 session ended\n")


@needs_gost
def test_a_gost_client_is_told_apart(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    start_gost(topology.host_1, *host(1, HUB_TO_HOST_1))
    hub.wait_line("is host host-1")
    (row,) = asked(sockets[0], "status", "status")["sessions"]
    assert (row["software"], row["superpackets"], row["rtt_s"]) == ("", False, 0)


def test_a_watched_process_that_ends(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    words = ("status", "--watch", "--control", sockets[0])
    interrupted = topology.hub.popen(*TUNROUTER, *words)
    as_json = topology.hub.popen(*TUNROUTER, *words, "--json")
    left = topology.hub.popen(*TUNROUTER, *words)
    for process in (interrupted, as_json, left):
        process.wait_line("pid")
    interrupted.wait_line("pid", after=interrupted.line_count())
    interrupted.send(signal.SIGINT)
    assert interrupted.wait(5) == 0
    blocks = interrupted.text().split("\n\ntunrouter ")
    assert len(blocks) >= 2
    as_json.wait_line("pid", after=1)
    hub.stop(signal.SIGKILL)
    assert (left.wait(5), as_json.wait(5)) == (0, 0)
    assert "has ended" in left.text()
    for line in as_json.text().splitlines()[:-1]:
        schema.check(json.loads(line), "status")


def terminal(
    process: Process, *words: str, columns: int = 80, environ: dict[str, str] | None = None
) -> Terminal:
    """A command on a terminal of its own, about the process with this control socket."""
    control = process.argv[process.argv.index("--control") + 1]
    return Terminal((*TUNROUTER, *words, "--control", control), columns, environ=environ)


def test_on_terminals(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    client = start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    with terminal(hub, "status") as narrow:
        assert narrow.ended() == 0
        line = next(line for line in narrow.wait("host-2").splitlines() if line.startswith("host-1"))
        assert "bit/s" in line
        assert "packets/s" not in line
        assert b"\x1b[1m" in narrow.output
    with terminal(hub, "status", environ={"NO_COLOR": "1"}) as plain:
        assert plain.ended() == 0
        assert "host-2" in plain.wait("host-2")
        assert b"\x1b" not in plain.output
    with terminal(hub, "status", columns=300) as wide:
        wide.wait("packets/s", "192.168.100.0/24", "0.1.0")
    with terminal(hub, "status", "--watch") as watched:
        watched.wait("host-1", "host-2")
        client.stop()
        watched.wait(gone="host-2")
        watched.press(b"\x03")
        assert watched.ended() == 0


def test_top(topology: Topology, write: Write, sockets: tuple[str, str]) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))

    def are(*hosts: str) -> Callable[[str], bool]:
        return lambda screen: tuple(re.findall(r"^host-\d", screen, re.MULTILINE)) == hosts

    with terminal(hub, "top", "--sort", "host") as top:
        top.wait("▲host", "q end", where=are("host-1", "host-2"))
        assert top.modes != top.before
        top.press(b"r")
        top.wait("▼host", where=are("host-2", "host-1"))
        top.press(b"\x1b[C")
        top.wait("q end", gone="▼host")
        top.press(b"<")
        top.wait("▼host", where=lambda screen: "packets/s " not in screen.splitlines()[4])
        top.resize(300, 30)
        top.wait("packets in", "prefixes")
        top.press(b"q")
        assert top.ended() == 0
        assert top.modes == top.before
        assert b"\x1b[?1049h" in top.output
        assert top.ends_with(b"\x1b[?1049l", b"\x1b[?25h")
    with terminal(hub, "top") as top:
        top.wait("host-1")
        top.process.send_signal(signal.SIGTERM)
        assert top.ended() == 0
        assert top.modes == top.before
        assert top.ends_with(b"\x1b[?1049l", b"\x1b[?25h")
    with terminal(hub, "top") as top:
        top.wait("host-1")
        hub.stop(signal.SIGKILL)
        assert top.ended() == 0
        top.wait("has ended")
        assert top.modes == top.before


def test_a_hub_with_many_hosts_prints_few_lines_and_all_where_asked(
    topology: Topology, write: Write, sockets: tuple[str, str]
) -> None:
    """`status` and `top` ask for the rows that they show; programs get all."""
    many = cli_show.MAX_ROWS + 20
    file = write("hub.yml", unlimited(example("server.yml")))
    hub = start_hub(topology.hub, "-C", file, "--control", sockets[0])
    with ExitStack() as stack:
        with in_namespace(topology.host_1.name):
            for number in range(many):
                one = peer.session("tcp", HUB_TO_HOST_1.partition(":")[0], f"host-{number:03}")
                stack.callback(one.close)
        assert len(asked(sockets[0], "status", "status")["sessions"]) == many
        status, said = run("status", "--control", sockets[0])
        assert status == 0
        assert len(re.findall(r"^host-\d\d\d ", said, re.MULTILINE)) == cli_show.MAX_ROWS
        assert f"\nthe first {cli_show.MAX_ROWS} of {many} sessions: those with problems" in said
        assert re.search(rf"^{many} sessions, \d+ with problems", said, re.MULTILINE)
        said = run("status", "--all", "--control", sockets[0])[1]
        assert len(re.findall(r"^host-\d\d\d ", said, re.MULTILINE)) == many
        assert "--all" not in said
        with terminal(hub, "top", "--sort", "host") as top:
            top.wait("host-000", f"{many} peers")
            top.press(b"r")
            top.wait(f"host-{many - 1:03}", gone="host-000")
            top.press(b"r")
            top.wait("host-000", gone=f"host-{many - 1:03}")
            for seen in ("\nhost-108", f"\nhost-{many - 1:03}"):
                top.press(6 * b"\x1b[6~")
                top.wait(seen)
            top.press(b"q")
            assert top.ended() == 0


EVIL_HOST = "e\u202evil\u200b[red]\u2066"
EVIL_SOFTWARE = b"\x1b]0;title\x07\x1b[2J\nhost-9  up\xe2\x80\xae"


def test_what_a_peer_chose_reaches_no_terminal_raw(
    topology: Topology, write: Write, sockets: tuple[str, str]
) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", sockets[0])
    software = bytes([wire_control.Field.SOFTWARE]) + len(EVIL_SOFTWARE).to_bytes(2, "big") + EVIL_SOFTWARE
    hello_frame = wire_control.encode_hello(wire_control.Hello(bytes(16))) + software
    with in_namespace(topology.host_1.name):
        evil = peer.opened("tcp", HUB_TO_HOST_1.partition(":")[0])
    with evil:
        assert peer.log_in(evil, "tcp", Request(EVIL_HOST, "192.168.99.9")) == 0
        evil.sendall(framing.encode(hello_frame))
        assert evil.recv(4096)
        raw = asked(sockets[0], "status", "status")["sessions"][0]
        assert raw["host"] == EVIL_HOST
        assert raw["software"] == "?]0;title??[2J?host-9  up???"
        shown = "e\\u202evil\\u200b[red]\\u2066"
        for words in (("status",), ("status", "--watch"), ("top",)):
            with terminal(hub, *words, columns=300) as seen:
                seen.wait(shown, raw["software"])
                assert not {"\u202e", "\u200b", "\u2066"} & set(seen.output.decode())
                assert b"\x1b]0" not in seen.output
        for words in (("drops",), ("routes",)):
            _, said = run(*words, "--control", sockets[0])
            assert all(line.isprintable() for line in said.split("\n"))
    hub.wait_line(re.escape(shown))
    assert EVIL_HOST not in hub.text()


def test_top_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    status, said = run("top", "--control", str(tmp_path / "no.sock"))
    assert (status, "needs a terminal" in said) == (1, True)
    status, said = run("top", "--sort", "hots")
    assert (status, "did you mean 'host'" in said.lower()) == (2, True), said


def test_a_table_that_takes_a_while_shows_a_bar_on_a_terminal_only(tmp_path: Path) -> None:
    prefixes = (f"{10 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(150_000))
    rows = "".join(f"{prefix}.0/24 host-1\n{prefix}.128/25 host-2\n" for prefix in prefixes)
    (tmp_path / "routes.txt").write_text(rows)
    text = (
        "services: [{name: s, addr: '127.0.0.1:0', handler: {type: router, metadata: {router: r}}, "
        f"listener: {{type: tcp}}}}]\nrouters: [{{name: r, file: {{path: {tmp_path / 'routes.txt'}}}}}]\n"
    )
    (tmp_path / "hub.yml").write_text(text)
    words = (*TUNROUTER, "-C", str(tmp_path / "hub.yml"), "--control", "none")
    with Terminal(words, 250) as shown:
        shown.wait("router r [#", "of 300,000 rows")
        text = shown.wait("router r: 300000 routes", gone="of 300,000 rows")
        for line in text.splitlines():
            assert not line or line.startswith("20"), text  # nothing but whole lines of the log is left
        shown.process.terminate()
        shown.ended()
    pipe = Process(words, tmp_path / "log")
    try:
        pipe.wait_line("300000 routes")
    finally:
        pipe.stop()
    assert "#" not in pipe.text()


def test_questions_do_without_gevent() -> None:
    code = (
        "import sys; from lib import cli_entry; cli_entry.do_at_once(['status', '--control', '/nonexistent']); "
        "sys.exit(any(name in sys.modules for name in ('gevent', 'rich', 'yaml', 'msgspec', 'ssl')))"
    )
    process = Process((sys.executable, "-c", code), Path("/dev/null"))
    assert process.wait(20) == 0
    assert "control socket /nonexistent: No such file" in process.text()


IDENTITIES = """\
services:
- name: s
  addr: ":8443"
  handler: {{type: router, metadata: {{router: r, keepalive.timeout: 3s}}}}
  listener: {{type: tcp}}
routers: [{{name: r, file: {{path: {routes}}}}}]
"""


def test_a_misspelt_host_and_two_machines_of_one_name(
    topology: Topology, write: Write, sockets: tuple[str, str], tmp_path: Path
) -> None:
    """Both ends say it in the log and in `status`, until the route has come, or the other machine has gone."""
    (hub_socket, client_socket), routes = sockets, tmp_path / "routes"
    routes.write_text("192.168.123.1 host-1\n192.168.123.2 host-2\n")
    file = write("hub.yml", IDENTITIES.format(routes=routes))
    hub = start_hub(topology.hub, "-C", file, "--control", hub_socket)
    misspelt = tuple(word.replace("host-2", "hots-2") for word in host(2, HUB_TO_HOST_2))
    client = start_client(topology.host_2, *misspelt, "--control", client_socket)
    hub.wait_line("host hots-2 is gateway of nothing in .*; did you mean 'host-2'?")
    client.wait_line("no route of the hub leads to host hots-2, .*; did you mean 'host-2'?")
    assert "hub s: host hots-2 is gateway of nothing" in run("status", "--control", hub_socket)[1]
    assert "no route of the hub leads to host hots-2" in run("status", "--control", client_socket)[1]
    routes.write_text("192.168.123.1 host-1\n192.168.123.2 hots-2\n")
    hub.wait_line("router r: .* routes")
    wait_for(lambda: asked(client_socket, "status", "status")["clients"][0]["advice"] == [])
    assert asked(hub_socket, "status", "status")["hubs"][0]["warnings"] == []
    client.stop()

    first = start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    second = start_client(topology.host_2, *host(1, HUB_TO_HOST_2), "--control", client_socket)
    line = hub.wait_line(
        r"host host-1 is connected from (10\S+):\d+ and from (10\S+):\d+, and both are alive"
    )
    assert {line[1], line[2]} == {"10.77.1.2", "10.77.2.2"}
    second.wait_line("another machine is connected to the hub as host-1 too")
    first.wait_line("another machine is connected to the hub as host-1 too")
    assert "and both are alive" in run("status", "--control", hub_socket)[1]
    assert hub.text().count("and both are alive") == 1
    first.stop()
    wait_for(lambda: asked(client_socket, "status", "status")["clients"][0]["advice"] == [])


def test_sudo_status_finds_a_hub_of_another_user_unless_one_of_root_s_runs(tmp_path: Path) -> None:
    nobody = (
        "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search "
        "--ambient-caps=+dac_read_search env XDG_RUNTIME_DIR=/run/user/65534"  # it must read this checkout
    )
    with Namespace("hub", tmp_path) as namespace:
        player = Player(tmp_path, {"hub": namespace})
        own = "mount -t tmpfs tmpfs /run; mkdir /run/tunrouter; install -d -o 65534 -m 700 /run/user /run/user/65534"
        player.run("hub", own)
        theirs = player.start("hub", f"{nobody} tunrouter -L router://:8443")
        path = theirs.wait_line(r"control socket (/run/user/65534/tunrouter/\d+\.sock)")[1]
        said = player.run("hub", "tunrouter status")
        assert re.search(rf"^asking pid \d+ of user nobody, control socket {path}$", said, re.MULTILINE)
        assert "on :8443 over tcp" in said
        assert player.run("hub", "tunrouter health").startswith("healthy")
        player.start("hub", "tunrouter -L router://:8444 --user nobody")
        said = player.run("hub", "tunrouter status")
        assert "on :8444 over tcp" in said
        assert f"of user nobody runs too: --control {path}" in said
        both = player.popen("hub", f"{nobody} tunrouter status")
        assert both.wait(20) == 2, "it may ask both, and that of --user is in root's directory"
        assert all(socket in both.text() for socket in (path, "/run/tunrouter/"))

"""From start to end: what the program leaves behind, what it says, and its exit status."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology
from tests.support.program import (
    OVERLAY_2,
    client_example,
    drops,
    example,
    host,
    pings,
    run,
    start,
    start_client,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback", "real_starts")

Write = Callable[[str, str], str]

WITHOUT_CAPABILITY = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
NOBODY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
END_STATUS = {signal.SIGTERM: 0, signal.SIGINT: 0, signal.SIGKILL: -9}


def system(namespace: Namespace) -> tuple[str, ...]:
    """All that a client sets: devices, addresses, routes, rules."""
    return (
        " ".join(sorted(namespace.devices())),
        namespace.run("ip", "-o", "addr", "show"),
        namespace.run("ip", "-4", "route", "show", "table", "all"),
        without_uplink(namespace.run("ip", "-6", "route", "show", "table", "all")),
        namespace.run("ip", "rule"),
    )


def without_uplink(lines: str) -> str:
    """IPv6 routes of the topology's own veth come up by and by."""
    return "".join(line for line in lines.splitlines(keepends=True) if "dev uplink" not in line)


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", END_STATUS, ids=lambda n: n.name)
def test_client_leaves_nothing(topology: Topology, write: Write, number: signal.Signals) -> None:
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    before = system(topology.host_1)
    net = "net=192.168.123.1/24,fd77::1/64&route=192.168.200.0/24,fd78::/64&name=tr0"
    client = start_client(
        topology.host_1, "-L", f"tun:///host-1?{net}", "-F", f"router://{HUB_TO_HOST_1}:8443"
    )
    during = system(topology.host_1)
    for text in ("192.168.123.1/24", "fd77::1/64", "192.168.200.0/24 dev tr0", "fd78::/64 dev tr0"):
        assert any(text in part for part in during), text
    assert client.stop(number) == END_STATUS[number]
    assert system(topology.host_1) == before


@pytest.mark.parametrize("number", END_STATUS, ids=lambda n: n.name)
def test_client_without_a_hub_leaves_nothing(topology: Topology, number: signal.Signals) -> None:
    before = system(topology.host_1)
    client = start(topology.host_1, *host(1, HUB_TO_HOST_1))
    client.wait_line("refused")
    assert client.stop(number) == END_STATUS[number]
    assert system(topology.host_1) == before


@pytest.mark.parametrize("number", END_STATUS, ids=lambda n: n.name)
def test_hub_frees_its_port(topology: Topology, write: Write, number: signal.Signals) -> None:
    config = write("server.yml", example("server.yml"))
    for _ in range(2):  # the second finds the port free, with the first one's client still about
        hub = start_hub(topology.hub, "-C", config)
        if topology.host_1.devices() == {"lo", "uplink"}:
            start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
        hub.wait_line("is host host-1")
        assert hub.stop(number) == END_STATUS[number]


def test_removed_device_is_made_anew(topology: Topology, write: Write) -> None:
    """Somebody deletes the TUN device: one clear line, and the client goes on."""
    start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    client = start_client(topology.host_1, *host(1, HUB_TO_HOST_1, extra="&name=tr0"))
    for _ in range(2):
        before = client.line_count()
        topology.host_1.run("ip", "link", "del", "tr0")
        client.wait_line("connected to", after=before)
        (link,) = topology.host_1.ip("addr", "show", "dev", "tr0")
        assert [address["local"] for address in link["addr_info"]] == ["192.168.123.1"]
    assert client.text().count("device tr0 has been removed; it is made anew") == 1, "one line for an outage"
    assert client.stop() == 0


# --- the counters -------------------------------------------------------------------------------


def test_counters_on_sigusr1_and_at_the_end(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-D", "-C", write("server.yml", example("server.yml")))
    client = start_client(topology.host_1, "-D", *host(1, HUB_TO_HOST_1))
    assert pings(topology.host_1, OVERLAY_2, 3) == 0  # host-2 is not there
    assert pings(topology.host_1, "192.168.123.9", 4) == 0  # nobody's
    zero = "00000000-0000-0000-0000-000000000000"
    wanted = {(zero, "host-1", "no-session"): 3, (zero, "host-1", "no-route"): 4}
    drops(hub, lambda counts: counts == wanted)
    assert client.stop() == 0
    hub.wait_line("host-1.* left")
    ended = {(zero, "(ended)", "no-session"): 3, (zero, "(ended)", "no-route"): 4}
    drops(hub, lambda counts: {(zero, *key[1:]): n for key, n in counts.items()} == ended)
    seen = hub.line_count()
    assert hub.stop() == 0
    printed = "\n".join(hub.text().splitlines()[seen:])
    assert "dropped 3 no-session" in printed
    assert "dropped 4 no-route" in printed


def test_no_counters_at_the_end_without_d(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    assert pings(topology.host_1, OVERLAY_2, 3) == 0
    assert hub.stop() == 0
    assert "dropped 3" not in hub.text()


def test_client_counts_what_it_lost_while_away(topology: Topology) -> None:
    client = start(topology.host_1, *host(1, HUB_TO_HOST_1))
    client.wait_line("refused")
    assert pings(topology.host_1, OVERLAY_2, 3) == 0
    drops(client, lambda counts: counts == {("-", "host-1", "no-session"): 3})


def test_sighup_does_not_end_it(topology: Topology, write: Write) -> None:
    hub = start_hub(topology.hub, "-C", write("server.yml", example("server.yml")))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: nothing is different")
    assert pings(topology.host_1, OVERLAY_2) == 5


# --- what this host does not let us do ----------------------------------------------------------


def error_line(said: str) -> str:
    """The one line that is an error, of an output that holds no other than notes."""
    (line,) = [line for line in said.splitlines() if "error" in line.split(":")[0]]
    assert "Traceback" not in said
    return line


def test_no_permission_for_a_device(topology: Topology) -> None:
    before = system(topology.host_1)
    status, said = run(*host(1, HUB_TO_HOST_1), namespace=topology.host_1, before=WITHOUT_CAPABILITY)
    assert status == 1
    assert "no permission: run as root or with CAP_NET_ADMIN" in error_line(said)
    assert system(topology.host_1) == before


def test_port_taken(topology: Topology, write: Write) -> None:
    config = write("server.yml", example("server.yml"))
    first = start_hub(topology.hub, "-C", config)
    status, said = run("-C", config, namespace=topology.hub)
    assert status == 1
    assert "8443: Address already in use" in error_line(said)
    assert first.returncode is None


def test_port_not_allowed(topology: Topology) -> None:
    status, said = run(
        *("-L", "router://:443?sourceCheck=on"),
        namespace=topology.hub,
        before=("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"),
    )
    assert status == 1
    assert "443: Permission denied" in error_line(said)


def test_failure_leaves_no_device(topology: Topology, write: Write) -> None:
    """The second of two services cannot be had: the first one's device goes again."""
    before = system(topology.host_1)
    one = "tun:///host-1?net=192.168.123.1/24&name=tr0"
    taken = "tun:///host-2?net=192.168.124.1/24&name=uplink"
    status, said = run(
        "-L", one, "-L", taken, "-F", f"router://{HUB_TO_HOST_1}:8443", namespace=topology.host_1
    )
    assert status == 1
    assert "uplink" in error_line(said)
    assert system(topology.host_1) == before


@pytest.mark.parametrize("name", ["server.yml", "client.yml", "namespaces-server.yml", "ingress-server.yml"])
def test_check_touches_nothing(topology: Topology, write: Write, name: str) -> None:
    """It needs no rights, no free port, no plugin and no hub."""
    start_hub(topology.hub, "-C", write("taken.yml", example("server.yml")))
    before = system(topology.hub)
    config = write(name, example(name, HUB_TO_HOST_1))
    status, said = run("check", "-C", config, namespace=topology.hub, before=NOBODY)
    assert (status, said.count("ok: ")) == (0, 1)
    assert system(topology.hub) == before


def test_check_fails_as_the_start_does(topology: Topology, write: Write) -> None:
    broken = write(
        "client.yml", client_example("client.yml", 1, HUB_TO_HOST_1).replace("addr: host-1", "adr: host-1")
    )
    before = system(topology.host_1)
    checked, started = (run(*words, "-C", broken, namespace=topology.host_1) for words in (["check"], []))
    assert checked == started
    status, said = started
    line = next(n for n, text in enumerate(Path(broken).read_text().splitlines(), 1) if "adr:" in text)
    assert status == 2
    assert f"error: {broken}:{line}:7: " in said
    assert "did you mean 'addr'?" in said
    assert system(topology.host_1) == before

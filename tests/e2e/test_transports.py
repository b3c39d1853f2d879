"""TLS, mutual TLS, WebSocket and both, through proxies too, with a real GOST at either end."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.load import iperf3, transfer
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    needs_gost,
    pings,
    reach,
    run,
    start,
    start_client,
    start_gost,
    start_hub,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
OURS, THEIRS = "tunrouter", "GOST"
START_HUB = {OURS: start_hub, THEIRS: start_gost}
START_CLIENT = {OURS: start_client, THEIRS: start_gost}
ENOUGH = 1 << 20
FULL = ("-M", "do", "-s", "1392")

HUB = """\
services:
- name: service-0
  addr: ":8443"
  handler:
    type: router
    metadata: {{router: router-0}}
  listener:
    type: {kind}
{more}
routers:
- name: router-0
  routes:
  - {{net: 192.168.123.1/32, gateway: host-1}}
  - {{net: 192.168.123.2/32, gateway: host-2}}
"""


def hub_config(kind: str, more: str = "") -> str:
    return HUB.format(kind=kind, more=more)


def client(number: int, hub: str, kind: str, query: str = "", *forwards: str) -> tuple[str, ...]:
    words = ["-L", f"tun:///host-{number}?net=192.168.123.{number}/24"]
    for forward in (*forwards, f"router+{kind}://{hub}:8443{query}"):
        words += ["-F", forward]
    return tuple(words)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def pairings() -> list[object]:
    sides = [
        (OURS, OURS, OURS),
        (OURS, THEIRS, OURS),
        (THEIRS, OURS, OURS),
    ]
    return [
        pytest.param(
            kind, *side, id=f"{kind}: hub {side[0]}, {side[1]} to {side[2]}",
            marks=[needs_gost] if THEIRS in side else [],
        )
        for kind in ("tls", "mutual tls", "ws", "wss")
        for side in sides
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "hub", "left", "right"), pairings())
def test_pairing(
    topology: Topology,
    write: Write,
    authority: Authority,
    tmp_path: Path,
    kind: str,
    hub: str,
    left: str,
    right: str,
) -> None:
    control = str(tmp_path / "hub.sock")
    socket = ("--control", control) if hub == OURS else ()
    mutual, kind = kind == "mutual tls", kind.removeprefix("mutual ")
    more = query = ""
    if kind in ("tls", "wss"):
        own = authority.issue("hub.test")
        ca = f", caFile: {authority.ca.cert}" if mutual else ""
        more = f"    tls: {{certFile: {own.cert}, keyFile: {own.key}{ca}}}"
        query = f"?secure=true&serverName=hub.test&ca={authority.ca.cert}"
    if mutual:
        theirs = authority.issue("host.test")
        query += f"&cert={theirs.cert}&key={theirs.key}"
    programs = [
        START_HUB[hub](topology.hub, "-C", write("hub.yml", hub_config(kind, more)), *socket),
        START_CLIENT[left](topology.host_1, *client(1, HUB_TO_HOST_1, kind, query)),
        START_CLIENT[right](topology.host_2, *client(2, HUB_TO_HOST_2, kind, query)),
    ]
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert pings(topology.host_2, OVERLAY_1, 5, *FULL) == 5
    assert iperf3(topology.host_1, topology.host_2, OVERLAY_2) > ENOUGH
    transfer(topology.host_1, topology.host_2, OVERLAY_2, 8)
    transfer(topology.host_2, topology.host_1, OVERLAY_1, 8)
    assert [program.returncode for program in programs] == [None, None, None]
    if (hub, right) == (OURS, OURS):
        assert "takes superpackets" in run("explain", "--control", control, "--from", "host-1", OVERLAY_2)[1]


# --- certificates ----------------------------------------------------------------------------------


def refused(namespace: Namespace, why: str, *arguments: str) -> None:
    start(namespace, *arguments).wait_line(why)


def test_without_a_certificate_the_hub_makes_one_keeps_it_and_a_pin_trusts_it(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    kept = tmp_path / "state"
    code = (
        "import sys; from pathlib import Path; from gevent import monkey; monkey.patch_all(); "
        f"from lib import cli_main, stream_certificates; stream_certificates.state_directory = lambda: Path({str(kept)!r}); "
        "sys.exit(cli_main.main(sys.argv[1:]))"
    )
    config = write("hub.yml", hub_config("tls"))

    def hub() -> tuple[Process, str]:
        process = topology.hub.popen(os.sys.executable, "-c", code, "-C", config)  # type: ignore[attr-defined]
        said = process.wait_line("certificate sha256:([0-9a-f]{64})")[1]
        process.wait_line("listening on")
        return process, said

    process, fingerprint = hub()
    assert (kept / "key.pem").stat().st_mode & 0o777 == 0o600
    colons = ":".join(re.findall("..", fingerprint.upper()))
    for pin in (fingerprint, colons):
        start_client(topology.host_1, *client(1, HUB_TO_HOST_1, "tls", f"?pin=sha256:{pin}")).stop()
    wrong = fingerprint[:-1] + ("0" if fingerprint[-1] != "0" else "1")
    refused(
        topology.host_1,
        "not the one pinned",
        *client(1, HUB_TO_HOST_1, "tls", f"?pin=sha256:{wrong}"),
    )
    process.stop()
    assert hub()[1] == fingerprint


def test_whom_a_client_trusts(topology: Topology, write: Write, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    own = authority.issue("hub.test")
    more = f"    tls: {{certFile: {own.cert}, keyFile: {own.key}}}"
    start_hub(topology.hub, "-C", write("hub.yml", hub_config("tls", more)))
    failing = {
        f"?ca={other.ca.cert}": "certificate",
        f"?ca={authority.ca.cert}&secure=true&serverName=elsewhere.test": "(?i)hostname mismatch",
        "?secure=true&serverName=hub.test": "certificate",
    }
    for query, why in failing.items():
        refused(topology.host_1, why, *client(1, HUB_TO_HOST_1, "tls", query))
    topology.host_1.kill_all()
    checked = client(1, HUB_TO_HOST_1, "tls", f"?ca={authority.ca.cert}")  # the chain, not the name
    start_client(topology.host_1, *checked).stop()
    unchecked = start_client(topology.host_1, *client(1, HUB_TO_HOST_1, "tls"))
    assert "the hub's certificate is not checked" in unchecked.text()


def test_without_a_client_certificate_nobody_comes_in(
    topology: Topology, write: Write, authority: Authority
) -> None:
    own = authority.issue("hub.test")
    more = f"    tls: {{certFile: {own.cert}, keyFile: {own.key}, caFile: {authority.ca.cert}}}"
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config("tls", more)))
    start(topology.host_1, *client(1, HUB_TO_HOST_1, "tls"))
    hub.wait_line("TLS: peer did not return a certificate")


def test_a_new_certificate_is_picked_up_and_sessions_stay(
    topology: Topology, write: Write, authority: Authority
) -> None:
    old = authority.issue("hub.test")
    more = f"    tls: {{certFile: {old.cert}, keyFile: {old.key}}}"
    control = ("--control", str(Path(old.key).with_name("control")))
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config("tls", more)), *control)

    def is_told() -> bool:
        return "certificate not read again" in " ".join(
            run("status", *control, namespace=topology.hub)[1].split()
        )

    first = start_client(topology.host_1, *client(1, HUB_TO_HOST_1, "tls", f"?pin=sha256:{old.fingerprint}"))
    Path(old.key).write_text("half a")  # what a renewal that is not done looks like
    start_client(topology.host_2, *client(2, HUB_TO_HOST_2, "tls", f"?pin=sha256:{old.fingerprint}")).stop()
    hub.wait_line("the one before stays")
    assert is_told()
    new = authority.issue("hub.test")  # the same files
    start_client(topology.host_2, *client(2, HUB_TO_HOST_2, "tls", f"?pin=sha256:{new.fingerprint}"))
    hub.wait_line(f"read again: sha256:{new.fingerprint}")
    assert not is_told()
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert first.text().count("connected to") == 1


def test_the_versions_spoken(topology: Topology, write: Write, authority: Authority) -> None:
    own = authority.issue("hub.test")
    more = f"    tls: {{certFile: {own.cert}, keyFile: {own.key}}}"
    options = "chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: '%s:8443', connector: {type: router}, dialer: {type: tls, tls: {options: {%s}}}}]}]}]"
    listen = "services: [{name: s, handler: {type: tun, chain: c}, listener: {type: tun, metadata: {net: 192.168.123.1/24}}, forwarder: {nodes: [{name: t, addr: host-1}]}}]\n"
    old = listen + options % (HUB_TO_HOST_1, "minVersion: VersionTLS12, maxVersion: VersionTLS12")
    newest = more.replace("}", ", options: {minVersion: VersionTLS13}}")
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config("tls", newest)))
    client = start(topology.host_1, "-C", write("old.yml", old))
    hub.wait_line("the client has up to 1.2, this hub 1.3: write minVersion: VersionTLS12")
    client.wait_line("TLS: no version in common: this client has 1.2,")
    topology.host_1.kill_all()
    hub.stop()
    start_hub(topology.hub, "-C", write("hub.yml", hub_config("tls", more)))
    start_client(topology.host_1, "-C", write("old.yml", old))


def test_an_unknown_name_is_rejected(topology: Topology, write: Write, authority: Authority) -> None:
    own = authority.issue("hub.test")
    more = f"    tls: {{certFile: {own.cert}, keyFile: {own.key}, rejectUnknownSNI: true}}"
    start_hub(topology.hub, "-C", write("hub.yml", hub_config("tls", more)))
    start(topology.host_1, *client(1, HUB_TO_HOST_1, "tls")).wait_line("TLS: .*unrecognized name")
    topology.host_1.kill_all()
    start_client(topology.host_1, *client(1, HUB_TO_HOST_1, "tls", "?serverName=hub.test"))


# --- WebSocket ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [OURS, pytest.param(THEIRS, marks=needs_gost)])
def test_another_path(topology: Topology, write: Write, side: str) -> None:
    more = "    metadata: {path: /tunnel, header: {X-Kind: tunnel}}"
    START_HUB[side](topology.hub, "-C", write("hub.yml", hub_config("ws", more)))
    refused(topology.host_1, "WebSocket: refused with HTTP status 404", *client(1, HUB_TO_HOST_1, "ws"))
    topology.host_1.kill_all()
    start_client(topology.host_1, *client(1, HUB_TO_HOST_1, "ws", "?path=/tunnel&host=office.test"))


# --- through proxies -------------------------------------------------------------------------------


@needs_gost
@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_the_way_out_through_a_proxy(
    topology: Topology, write: Write, authority: Authority, kind: str
) -> None:
    """host-1 reaches the hub through a proxy in host-2's namespace, and only through it."""
    own = authority.issue("hub.test")
    more = f"    tls: {{certFile: {own.cert}, keyFile: {own.key}}}"
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config("wss", more)))
    start_gost(topology.hub, "-L", f"{kind}://user:p%40ss@:1080")
    query = f"?pin=sha256:{own.fingerprint}"
    # the proxy resolves the name, which only it knows: the hub's own loopback
    through = client(1, "localhost", "wss", query, f"{kind}://user:p%40ss@{HUB_TO_HOST_1}:1080")
    wrong = client(1, "localhost", "wss", query, f"{kind}://user:wrong@{HUB_TO_HOST_1}:1080")
    refused(topology.host_1, f"proxy {HUB_TO_HOST_1}:1080 does not accept the login 'user'", *wrong)
    topology.host_1.kill_all()
    start_client(topology.host_1, *through)
    start_client(topology.host_2, *client(2, HUB_TO_HOST_2, "wss", query))
    assert pings(topology.host_1, OVERLAY_2) == 5
    transfer(topology.host_1, topology.host_2, OVERLAY_2, 16)
    assert "is host host-1" in hub.text()


@needs_gost
def test_through_two_proxies(topology: Topology, write: Write) -> None:
    start_hub(topology.hub, "-C", write("hub.yml", hub_config("tcp")))
    start_gost(topology.hub, "-L", "socks5://:1080")
    start_gost(topology.hub, "-L", "http://:1081")
    both = (f"socks5://{HUB_TO_HOST_1}:1080", "http://127.0.0.1:1081")
    start_client(topology.host_1, *client(1, "127.0.0.1", "tcp", "", *both))


def test_a_proxy_that_is_none_is_told(topology: Topology) -> None:
    words = client(1, "hub.test", "tcp", "", f"ss://{HUB_TO_HOST_1}:1080")
    status, said = run("check", *words)
    assert status == 2
    assert "there can be socks5" in said


def test_a_client_that_is_told_to_end_ends_at_once_in_a_handshake(topology: Topology, write: Write) -> None:
    """The hub accepts the connection and says nothing: deadlines, and signals before them."""
    start_hub(topology.hub, "-C", write("hub.yml", hub_config("tcp")))
    process = start(topology.host_1, *client(1, HUB_TO_HOST_1, "tls"))
    process.wait_line("device tun0")
    assert process.stop(signal.SIGTERM, timeout=8) == 0

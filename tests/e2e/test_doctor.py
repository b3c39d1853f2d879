"""`tunrouter doctor` in real namespaces: silent where all is well, and each fault is found where it is made.

    lan 192.168.200.7 --- host-2 --- hub --- host-1

One topology for all: each fault is made, found beside the others of its test, and taken back.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, connect
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    needs_gost,
    program_pid,
    reach,
    run,
    start,
    start_client,
    start_gost,
    start_hub,
    wait_for,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
LAN, GATEWAY = "192.168.200.7", "192.168.200.1"
NETS = {1: "192.168.123.1/24&route=192.168.200.0/24", 2: "192.168.123.2/24&route=192.168.100.0/24"}


class House:
    """The topology with a hub and two clients, and a machine behind host-2."""

    def __init__(self, topology: Topology, lan: Namespace, tmp_path: Path, write: Write) -> None:
        self.topology, self.lan, self.place = topology, lan, tmp_path
        pair = Authority(tmp_path).issue("hub.example", lasts=900)
        self.mark = pair.fingerprint
        listener = f"type: tls\n      tls: {{certFile: {pair.cert}, keyFile: {pair.key}}}"
        text = example("server.yml").replace("listener:\n      type: tcp", f"listener:\n      {listener}")
        assert "type: tls" in text
        self.config = write("hub.yml", text)
        self.hub = start_hub(topology.hub, "-C", self.config, "--control", self.control(0))
        self.clients = [
            start_client(where, *self.client(number), "--control", self.control(number))
            for number, where in ((1, topology.host_1), (2, topology.host_2))
        ]

    def control(self, number: int) -> str:
        return f"{self.place}/control-{number}"

    def client(self, number: int, mark: str = "", net: str = "") -> tuple[str, ...]:
        hub = {1: HUB_TO_HOST_1, 2: HUB_TO_HOST_2}[number]
        listen = f"tun:///host-{number}?net={net or NETS[number]}"
        return ("-L", listen, "-F", f"router+tls://{hub}:8443?pin=sha256:{mark or self.mark}")

    def doctor(self, number: int, *more: str, **client: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        """(exit status, what is found by each check, the whole reply) for the hub (0) or a client."""
        where = (self.topology.hub, self.topology.host_1, self.topology.host_2)[number]
        what = self.client(number, **client) if number else ("-C", self.config)
        status, said = run(
            "doctor", "--json", "--control", self.control(number), *what, *more, namespace=where
        )
        reply = json.loads(said)
        found: dict[str, str] = {}
        for finding in reply["findings"]:
            text = f"{finding['what']} | {finding['mend']}"
            found[finding["check"]] = f"{found.get(finding['check'], '')}{text}\n"
        return status, found, reply


@contextmanager
def resolv_conf(namespace: Namespace, text: str) -> Iterator[None]:
    """What `ip netns exec` shows programs there as /etc/resolv.conf: this machine's leads nowhere from there."""
    directory = Path("/etc/netns") / namespace.name
    directory.mkdir(parents=True)
    path = directory / "resolv.conf"
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()
        directory.rmdir()


@pytest.fixture
def house(topology: Topology, tmp_path: Path, write: Write) -> Iterator[House]:
    with (
        Namespace("lan", tmp_path) as lan,
        resolv_conf(topology.hub, ""),
        resolv_conf(topology.host_1, "nameserver 10.77.1.77\noptions timeout:1 attempts:1\n"),
        resolv_conf(topology.host_2, ""),
    ):
        connect(topology.host_2, "lan0", f"{GATEWAY}/24", lan, "eth0", f"{LAN}/24")
        lan.run("ip", "route", "add", "192.168.123.0/24", "via", GATEWAY)
        topology.host_2.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        made = House(topology, lan, tmp_path, write)
        reach(topology.host_1, LAN)
        yield made


@contextmanager
def fault(namespace: Namespace, make: str, mend: str) -> Iterator[None]:
    """Commands of a shell that make a fault and take it back."""
    namespace.run("sh", "-ec", make)
    try:
        yield
    finally:
        namespace.run("sh", "-ec", mend)


def sysctl(namespace: Namespace, name: str, wrong: int, right: int) -> Any:
    return fault(namespace, f"sysctl -qw {name}={wrong}", f"sysctl -qw {name}={right}")


def test_all_is_silent_on_healthy_hosts_and_faults_of_a_gateway_are_found(house: House) -> None:
    hub, host_2, lan = house.topology.hub, house.topology.host_2, house.lan
    status, found, reply = house.doctor(0)
    assert (status, found, reply["healthy"], reply["not_looked_at"]) == (0, {}, True, [])
    assert {"listening", "firewall", "clock"} <= set(reply["in_order"])
    status, found, reply = house.doctor(2, "--to", OVERLAY_1)
    assert (status, found, reply["not_looked_at"]) == (0, {}, [])
    wanted = {"session", "hub", "certificate", "TUN device", "overlap", "forwarding", "firewall"}
    assert wanted | {"return routes", "far address", "path MTU"} <= set(reply["in_order"])

    drop = "add table inet t; add chain inet t f { type filter hook forward priority 0; policy drop; }"
    device = reply_device(house, 2)
    with (
        sysctl(host_2, "net.ipv4.ip_forward", 0, 1),
        sysctl(host_2, f"net.ipv4.conf.{device}.rp_filter", 1, 0),
        fault(host_2, "ip rule add to 192.168.100.0/24 lookup 78; ip route add 192.168.100.0/24 dev lan0 table 78",
              "ip rule del lookup 78"),
        fault(lan, "ip route del 192.168.123.0/24", f"ip route add 192.168.123.0/24 via {GATEWAY}"),
        fault(host_2, f"nft '{drop}'", "nft delete table inet t"),
        fault(host_2, "ip addr add 192.168.100.9/24 dev lan0", "ip addr del 192.168.100.9/24 dev lan0"),
    ):  # fmt: skip
        status, found, _ = house.doctor(2)
    assert status == 1
    assert (
        "192.168.200.0/24 to this host, which does not forward | sysctl -w net.ipv4.ip_forward=1"
        in found["forwarding"]
    )
    assert "from 192.168.100.0/24" in found["reverse path"]
    assert f"{LAN} on lan0 answers to {GATEWAY}, but not to {OVERLAY_2}" in found["return routes"]
    assert "nft insert rule inet t f" in found["firewall"]
    assert "192.168.100.0/24 overlaps with 192.168.100.0/24" in found["overlap"]

    with fault(hub, "nft 'add table ip t; add chain ip t i { type filter hook input priority 0; };"
               " add rule ip t i iifname != lo meta l4proto { tcp, udp } th dport 8443 drop'", "nft delete table ip t"):  # fmt: skip
        status, found, _ = house.doctor(0)
    assert status == 1
    assert "nft insert rule ip t i tcp dport 8443 accept" in found["firewall"]
    assert "nft insert rule ip t i udp dport 8443 accept" in found["firewall"]


def reply_device(house: House, number: int) -> str:
    status = json.loads(run("status", "--json", "--control", house.control(number))[1])
    return str(status["clients"][0]["device"])


def test_faults_of_the_way_are_found(house: House) -> None:
    hub, host_1 = house.topology.hub, house.topology.host_1
    with fault(hub, "ip link set to-host-1 mtu 1300", "ip link set to-host-1 mtu 1500"):
        status, found, _ = house.doctor(1, "--to", "10.77.1.1", mark="77" * 32)
    assert status == 1
    assert f"sha256:{house.mark}, not the one pinned" in found["hub"]
    assert "to the hub 10.77.1.1: packets of more than 1280 bytes vanish" in found["path MTU"]
    assert "ip link set dev uplink mtu 1280" in found["path MTU"]
    assert "10.77.1.77 does not answer" in found["names"]
    assert "leads through uplink, which is no tunnel" in found["far address"]

    house.hub.stop()
    house.clients[0].wait_line("trying again|next try|no connection", timeout=20)
    status, found, _ = house.doctor(1)
    assert status == 1
    assert "Connection refused" in found["hub"]
    assert "has no session" in found["session"]
    assert host_1.run("ip", "route", "get", HUB_TO_HOST_1)


@needs_gost
def test_a_gost_of_the_same_name_and_a_missing_right_are_found(house: House) -> None:
    start_gost(house.topology.host_1, *house.client(1)[:2], "-F", f"router://{HUB_TO_HOST_1}:8443")
    status, found, _ = house.doctor(1)
    assert status == 1
    assert "gost (pid" in found["other programs"]
    assert f"it is host host-1 at {HUB_TO_HOST_1}:8443 too" in found["other programs"]
    alone = ("doctor", "--control", "none", "-L", "tun:///host-9?net=10.5.5.1/24")
    no_right = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    hub = ("-F", f"router+tls://{HUB_TO_HOST_2}:8443")
    status, said = run(*alone, *hub, namespace=house.topology.host_2, before=no_right)
    assert status == 1
    assert "TUN device: TUN device (any name): no permission" in said
    assert "is not checked at all" in said
    assert f"pin=sha256:{house.mark}" in said
    assert "no tunrouter runs it here now" in said
    sandbox = (
        sys.executable,
        "-m",
        "tests.support.refused_ioctl",
        "0x400454d0",
        str(errno.EINVAL),
    )  # TUNSETOFFLOAD
    pinned = ("-F", f"router+tls://{HUB_TO_HOST_2}:8443?pin=sha256:{house.mark}")
    status, said = run(*alone, *pinned, namespace=house.topology.host_2, before=sandbox)
    assert status == 1
    assert "single packets only (TUNSETOFFLOAD: Invalid argument)" in said
    assert "\n1 finding\n" in said


@pytest.mark.usefixtures("real_starts")
def test_without_a_file_it_is_about_the_process_that_runs(
    topology: Topology, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = f"{tmp_path}/control"
    client = start(topology.host_1, "--control", control, *host(1, HUB_TO_HOST_1))
    client.wait_line("Connection refused")
    status, said = run("doctor", "--control", control, namespace=topology.host_1)
    assert status == 1
    assert f"client service-0 (host host-1); pid {program_pid(client)} runs it" in said
    assert f"service service-0: no connection to {HUB_TO_HOST_1}:8443: Connection refused" in said
    assert f"host host-1 has no session: {HUB_TO_HOST_1}:8443" in said

    monkeypatch.setenv("HUB_PASSWORD", "secret")
    auther = "authers: [{name: a, auths: [{username: u, password: '${env:HUB_PASSWORD}'}]}]\n"
    text = example("server.yml").replace("type: router\n", "type: router\n      auther: a\n", 1)
    text = auther + text.replace("type: tcp", "type: tls", 1)
    start_hub(topology.hub, "-C", write("hub.yml", text), "--control", f"{tmp_path}/hub")
    monkeypatch.delenv("HUB_PASSWORD")
    status, said = run("doctor", "--control", f"{tmp_path}/hub", namespace=topology.hub)
    assert (status, "hub service-0" in said) == (0, True), said


def test_what_the_running_hub_fails_to_do_is_found(topology: Topology, tmp_path: Path, write: Write) -> None:
    """A list of logins that is gone, and rows of it that cannot be used; then all is well again."""
    rows, control = write("logins.txt", "user secret\nalone\n"), f"{tmp_path}/hub"
    text = example("server.yml").replace("type: router\n", "type: router\n      auther: a\n", 1)
    auther = f"authers: [{{name: a, reload: 100ms, file: {{path: {rows}}}}}]\n"
    text = auther + text.replace("type: tcp", "type: tls", 1)
    hub = start_hub(topology.hub, "-C", write("hub.yml", text), "--control", control)

    def doctor() -> str:
        return run("doctor", "--control", control, namespace=topology.hub)[1]

    assert f"running process: 1 row of {rows} for auther a cannot be used" in " ".join(doctor().split())
    os.unlink(rows)
    hub.wait_line("No such file")
    said = " ".join(doctor().split())
    assert f"running process: auther a cannot be read from {rows} for" in said
    assert "No such file" in said
    write("logins.txt", "user secret\n")
    wait_for(lambda: "nothing is wrong" in doctor())
    write("hub.yml", f"{text}log: {{output: /proc/none/log}}\n")
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: log file")
    assert "running process: reload: log file /proc/none/log" in " ".join(doctor().split())
    status = run("status", "--control", control, namespace=topology.hub)[1]
    assert "reload: log file /proc/none/log" in " ".join(status.split())
    write("hub.yml", text)
    hub.send(signal.SIGHUP)
    wait_for(lambda: "nothing is wrong" in doctor())


def test_a_bundle_has_the_report_and_no_secret(tmp_path: Path, write: Write, topology: Topology) -> None:
    secret = "MaRkEd-secret"
    text = example("client.yml", HUB_TO_HOST_1).replace(
        "connector:\n", f"connector:\n        auth: {{username: alice, password: {secret}}}\n", 1
    )
    assert secret in text
    path, bundle = write("client.yml", text), str(tmp_path / "bundle.tar.gz")
    status, said = run("doctor", "--control", "none", "--bundle", bundle, path, namespace=topology.host_1)
    assert status == 1, "no hub runs"
    assert "bundle.tar.gz: packed" in said
    assert os.stat(bundle).st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        texts = {one.name.rpartition("/")[2]: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
    assert {
        "report.txt",
        "report.json",
        "configuration.json",
        "facts.txt",
        "network.txt",
        "firewall.txt",
    } <= set(texts)
    assert "alice" in texts["configuration.json"]
    assert f"{HUB_TO_HOST_1}:8443" in texts["report.txt"]
    assert "uplink" in texts["network.txt"]
    assert not [name for name, one in texts.items() if "MaRkEd" in one]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "nowhere"), "--to: 'nowhere' is no IP address"),
        (("-L", "tun://"), "error: "),
        (("/nonexistent.yml",), "No such file"),
    ],
)
def test_a_wrong_command_line_has_status_2(arguments: tuple[str, ...], said: str) -> None:
    status, text = run("doctor", "--control", "none", *arguments)
    assert status == 2
    assert said in text

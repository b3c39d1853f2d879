"""Names of hosts, as the C library's resolver asks the hub for them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import stream_certificates
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    pings,
    reach,
    run,
    start,
    start_client,
    start_hub,
    wait_for,
)
from tests.support.resolved import needs_resolved, start_resolved

pytestmark = pytest.mark.usefixtures("no_traceback")

HUB, DOMAIN = "192.168.123.254", "tun.example"
NAMES = f"""    address: {HUB}/24
    dnsDomain: {DOMAIN}
    names: {{printer.host-2: 192.168.200.9}}
    routes:
"""


def test_the_c_library_finds_hosts_by_name_and_back(
    topology: Topology, write: Callable[[str, str], str], hosts_file: Path
) -> None:
    text = example("server.yml").replace("    routes:\n", NAMES)
    start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    one = topology.host_1
    reach(one, OVERLAY_2)
    (hosts_file.parent / "resolv.conf").write_text(
        f"nameserver {HUB}\nsearch {DOMAIN}\noptions timeout:2 attempts:2\n"
    )
    for name, address in (
        (f"host-2.{DOMAIN}", OVERLAY_2),
        ("host-2", OVERLAY_2),
        (f"HOST-1.{DOMAIN}.", OVERLAY_1),
        ("printer.host-2", "192.168.200.9"),
        (DOMAIN, HUB),
    ):
        assert one.run("getent", "ahostsv4", name).split()[0] == address
    assert one.run("getent", "hosts", OVERLAY_2).split() == [OVERLAY_2, f"host-2.{DOMAIN}"]
    for name in (f"host-9.{DOMAIN}", "www.example.com"):
        assert one.run("getent", "ahostsv4", name, check=False) == ""
    assert "1 received" in one.run("ping", "-c1", "-W2", "host-2")


ASK = """
import sys
from dnslib import DNSRecord
said = DNSRecord.parse(DNSRecord.question(sys.argv[2]).send(sys.argv[1], 53, timeout=5))
print(*(str(one.rdata) for one in said.rr))
"""


def test_every_worker_answers_for_the_hosts_of_all(
    topology: Topology, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    """Each host has an address of the pool, and asks the worker that it is at for both."""
    control, name = str(tmp_path / "hub.sock"), f"names-{os.getpid()}"
    hosts = topology.host_1, topology.host_2

    def written(more: str) -> str:
        return write("hub.yml", "workers: 2\n" + HUB_TEXT.format(name=name, more=more))

    def asked(place: Namespace, what: str) -> str:
        return place.run(sys.executable, "-c", ASK, "10.20.0.1", f"{what}.{DOMAIN}", check=False).strip()

    def workers() -> dict[int, dict[str, int]]:
        rows = json.loads(run("status", "--json", "--control", control)[1])["workers"]
        return {row["worker"]: row for row in rows}

    hub = start(topology.hub, "-C", written(f", dnsDomain: {DOMAIN}"), "--control", control)
    pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
    hub.wait_line("listening on")
    try:
        for number, place in enumerate(hosts, 1):
            there = {1: HUB_TO_HOST_1, 2: HUB_TO_HOST_2}[number]
            url = f"router+tls://{there}:8443?pin={pin}"
            start_client(place, "-L", f"tun:///host-{number}?namesBy=off", "-F", url)
            reach(place, "10.20.0.1")
        assert [row["connections"] for row in workers().values()] == [1, 1]
        for dead in (0, 1, 2):
            if dead:
                pid = workers()[dead]["pid"]
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: workers().get(dead, {"pid": pid})["pid"] != pid)  # noqa: B023
            for place in hosts:
                reach(place, "10.20.0.1")
                wait_for(lambda: asked(place, "host-1") and asked(place, "host-2"))  # noqa: B023
                found = [asked(place, f"host-{number}") for number in (1, 2)]
                assert len({*found, "10.20.0.1", ""}) == 4, found
                reach(place, found[1] if place is topology.host_1 else found[0])
            assert [asked(place, "host-1") for place in hosts] == [found[0]] * 2, "all say the same"
        written(f", dnsDomain: {DOMAIN}, names: {{printer: 10.20.9.9}}")
        hub.send(signal.SIGHUP)
        for place in hosts:
            wait_for(lambda: asked(place, "printer") == "10.20.9.9")  # noqa: B023
    finally:
        topology.hub.kill_all()  # so that none writes the file again
        (stream_certificates.state_directory() / f"pool-{name}").unlink(missing_ok=True)


HUB_TEXT = """
services:
- {{name: hub, addr: ":8443", handler: {{type: router, metadata: {{router: {name}}}}}, listener: {{type: tls}}}}
routers:
- {{name: {name}, address: 10.20.0.1/16, pool: 10.20.0.0/16{more}}}
"""


@pytest.mark.usefixtures("real_starts")
def test_a_client_asks_the_hub_for_its_domain_alone(
    topology: Topology,
    write: Callable[[str, str], str],
    tmp_path: Path,
    hosts_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What systemd-resolved is told: the program in its place writes it down."""
    calls, program = tmp_path / "calls", tmp_path / "bin" / "resolvectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{calls}\n')
    program.chmod(0o755)
    name = f"names-{os.getpid()}"
    path = write("hub.yml", HUB_TEXT.format(name=name, more=", dnsDomain: tun.example"))
    hub = start(topology.hub, "-C", path)
    pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
    hub.wait_line("listening on")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    url = f"router+tls://{HUB_TO_HOST_1}:8443?pin={pin}"
    client = start_client(
        topology.host_1,
        "-L",
        "tun:///host-1?name=tun7&namesBy=resolved",
        "-F",
        url,
        "--control",
        f"{tmp_path}/client.sock",
    )
    client.wait_line("names of tun.example are asked of 10.20.0.1")
    set_by_client = ["dns tun7 10.20.0.1", "domain tun7 ~tun.example", "default-route tun7 no"]
    assert calls.read_text().splitlines() == set_by_client
    assert pings(topology.host_1, "10.20.0.1", 1) == 1, "the name server is reached through the tunnel"
    control = f"{tmp_path}/client.sock"
    doctor = ("doctor", "--control", control, "-L", "tun:///host-1?name=tun7", "-F", url)
    status, said = run(*doctor, namespace=topology.host_1)
    assert status == 1
    assert "names of tun.example are not asked of the hub (10.20.0.1)" in said, (
        "nobody does what resolvectl was told"
    )
    resolv_conf = hosts_file.parent / "resolv.conf"
    others = resolv_conf.read_text()
    resolv_conf.write_text("nameserver 10.20.0.1\n")
    status, said = run(*doctor, namespace=topology.host_1)
    assert status == 0, said
    assert "names of hosts" in said
    assert "far address" in said
    write("hub.yml", HUB_TEXT.format(name=name, more=""))
    hub.send(signal.SIGHUP)
    wait_for(lambda: calls.read_text().splitlines()[3:] == ["revert tun7"])
    client.stop()
    resolv_conf.write_text(others)

    # on a device that outlives a killed process the next start takes it back, also one that wants no names
    write("hub.yml", HUB_TEXT.format(name=name, more=", dnsDomain: tun.example"))
    hub.send(signal.SIGHUP)
    topology.host_1.run("ip", "tuntap", "add", "tun7", "mode", "tun")
    for more in ("resolved", "off"):
        client = start_client(topology.host_1, "-L", "tun:///host-1?name=tun7&namesBy=resolved", "-F", url)
        client.wait_line("names of tun.example are asked of 10.20.0.1")
        client.stop(signal.SIGKILL)
        calls.write_text("")
        client = start_client(topology.host_1, "-L", f"tun:///host-1?name=tun7&namesBy={more}", "-F", url)
        assert calls.read_text().splitlines()[0] == "revert tun7"
        if more == "resolved":
            client.wait_line("names of tun.example are asked of 10.20.0.1")
        client.stop()
        later = calls.read_text().splitlines()[1:]
        assert later == ([*set_by_client, "revert tun7"] if more == "resolved" else [])
        assert "alias" not in topology.host_1.run("ip", "link", "show", "tun7")
    hub.stop()
    for kept in stream_certificates.state_directory().glob(f"*{name}*"):
        kept.unlink()


FAR = "198.51.100.7"
"""What the name server beside the tunnel says of every name."""
needs_dig = pytest.mark.skipif(shutil.which("dig") is None, reason="no dig (bind9-dnsutils)")


@needs_dig
@pytest.mark.usefixtures("real_starts")
def test_a_stub_asks_the_hub_for_its_domain_and_leaves_the_files_as_they_were(
    topology: Topology, write: Callable[[str, str], str], hosts_file: Path
) -> None:
    """Clean end, `kill -9` and the next start; dig, getent and curl ask as resolv.conf says."""
    one, resolv_conf = topology.host_1, hosts_file.parent / "resolv.conf"
    before = f"# by hand\nsearch lan.example\nnameserver {HUB_TO_HOST_1}\noptions timeout:1 attempts:1 rotate"
    resolv_conf.write_text(before)
    name = f"stub-{os.getpid()}"
    hub = start(
        topology.hub, "-C", write("hub.yml", HUB_TEXT.format(name=name, more=", dnsDomain: tun.example"))
    )
    pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
    hub.wait_line("listening on")
    names = topology.hub.popen(sys.executable, "-m", "tests.support.name_server", HUB_TO_HOST_1, "53", FAR)
    names.wait_line("name server ready")

    def client(by: str) -> Process:
        url = f"router+tls://{HUB_TO_HOST_1}:8443?pin={pin}"
        return start_client(one, "-L", f"tun:///host-1?name=tun7&namesBy={by}", "-F", url)

    def dig(*words: str) -> str:
        return one.run("dig", "+short", "+tries=1", "+time=3", *words).strip()

    running = client("auto")
    running.wait_line(r"names of tun.example are asked of 10.20.0.1, by way of 127.0.117.1")
    [address] = [
        row["local"] for row in one.ip("addr", "show", "tun7")[0]["addr_info"] if row["family"] == "inet"
    ]
    for words, said in (
        (("host-1.tun.example",), address),
        (("+tcp", "host-1.tun.example"), address),
        (("-x", address), "host-1.tun.example."),
        (("www.example.com",), FAR),
        (("host-9.tun.example",), ""),
    ):
        assert dig(*words) == said, words
    assert one.run("getent", "ahostsv4", "www.example.com").split()[0] == FAR
    assert "10.20.0.1:9" in one.run("sh", "-c", "curl -sv -m 3 http://tun.example:9/ 2>&1 || true")
    running.stop()
    assert resolv_conf.read_text() == before
    running = client("stub")
    running.wait_line("by way of")
    running.stop(signal.SIGKILL)
    assert resolv_conf.read_text() != before
    assert one.run("getent", "ahostsv4", "www.example.com").split()[0] == FAR, "a killed client leaves names"
    running = client("hosts")
    running.wait_line("kept in /etc/hosts")
    wait_for(lambda: f"{address} host-1.tun.example" in hosts_file.read_text())
    resolved = one.run("getent", "-s", "files", "ahostsv4", "tun.example").split()
    assert resolved[0] == "10.20.0.1"
    assert resolv_conf.read_text() == before, "this start has mended it"
    running.stop(signal.SIGKILL)
    assert "tun.example" in hosts_file.read_text()
    running = client("off")
    assert resolv_conf.read_text() == before
    assert hosts_file.read_text() == ""
    running.stop()
    for kept in stream_certificates.state_directory().glob(f"*{name}*"):
        kept.unlink()


@needs_resolved
@needs_dig
@pytest.mark.usefixtures("real_starts")
def test_a_real_systemd_resolved_asks_the_hub_for_its_domain_alone(
    topology: Topology,
    write: Callable[[str, str], str],
    tmp_path: Path,
    hosts_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """resolvectl and dig are the judges; what was set goes with the device, also by kill -9."""
    one, resolv_conf = topology.host_1, hosts_file.parent / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    program = start_resolved(one, tmp_path)
    monkeypatch.setenv("PATH", f"{program}:{os.environ['PATH']}")
    names = topology.hub.popen(sys.executable, "-m", "tests.support.name_server", HUB_TO_HOST_1, "53", FAR)
    names.wait_line("name server ready")
    one.run("resolvectl", "dns", "uplink", HUB_TO_HOST_1)
    one.run("resolvectl", "domain", "uplink", "~.")
    name = f"resolved-{os.getpid()}"
    hub = start(
        topology.hub, "-C", write("hub.yml", HUB_TEXT.format(name=name, more=", dnsDomain: tun.example"))
    )
    pin = hub.wait_line(r"(sha256:[0-9a-f]{64})").group(1)
    hub.wait_line("listening on")
    url = f"router+tls://{HUB_TO_HOST_1}:8443?pin={pin}"
    for number in (signal.SIGKILL, signal.SIGTERM):
        client = start_client(one, "-L", "tun:///host-1?name=tun7", "-F", url)
        client.wait_line("names of tun.example are asked of 10.20.0.1, by systemd-resolved")
        assert "10.20.0.1" in one.run("resolvectl", "query", "tun.example")
        assert one.run("resolvectl", "domain", "tun7").split()[-1] == "~tun.example"
        assert one.run("resolvectl", "default-route", "tun7").split()[-1] == "no"
        assert "-- link: tun7" in one.run("resolvectl", "query", "host-1.tun.example")
        assert one.run("dig", "+short", "+time=3", "@127.0.0.53", "www.example.com").strip() == FAR
        refused = one.run("sh", "-c", "resolvectl query host-9.tun.example 2>&1 || true")
        assert "'host-9.tun.example' not found" in refused
        client.stop(number)
        assert "tun7" not in one.run("resolvectl", "dns")
    assert resolv_conf.read_text() == "nameserver 127.0.0.53\n"
    hub.stop()
    for kept in stream_certificates.state_directory().glob(f"*{name}*"):
        kept.unlink()

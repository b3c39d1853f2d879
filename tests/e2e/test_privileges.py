"""Least privilege: who the process is and what it may do once devices and ports are open."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import (
    OVERLAY_2,
    TUNROUTER,
    client_example,
    example,
    host,
    pings,
    program_pid,
    reach,
    run,
    start,
    start_client,
    start_hub,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("no_traceback", "real_starts")

Write = Callable[[str, str], str]
NET_BIND_SERVICE, NET_ADMIN = 1 << 10, 1 << 12
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
BBR = "bbr" if "bbr" in AVAILABLE else "reno"
"""What `congestion: auto` is on this machine."""
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
ROOTS = next((name for name in AVAILABLE if name not in ALLOWED), "")
"""A congestion control that root alone may choose on this machine; empty for none."""


def state(process: Process) -> dict[str, str]:
    """What /proc says of a process and each of its threads, which must be the same for all."""
    found: dict[str, str] = {}
    for task in Path(f"/proc/{program_pid(process)}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs"):
                assert (
                    found.setdefault(name, value.split()[0] if value.split() else "")
                    == (value.split() or [""])[0]
                )
    return found


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may enter. pytest's own are closed, by each of its runs anew."""
    with tempfile.TemporaryDirectory(prefix="tunrouter-test-", ignore_cleanup_errors=True) as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


def used(control: str) -> set[str]:
    """The congestion control of each session of a hub."""
    rows = json.loads(run("status", "--json", "--control", control)[1])["sessions"]
    assert rows
    return {row["congestion"] for row in rows}


def test_a_hub_keeps_nothing_and_a_client_what_routes_need(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    nobody = pwd.getpwnam("nobody")
    control = str(tmp_path / "hub.sock")
    for namespace in (topology.hub, topology.host_1):
        namespace.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")
    asked = {name: tmp_path / f"{name}.sock" for name in ("api", "metrics")}
    text = "user: nobody\n" + example("server.yml")
    text += "".join(f"{name}: {{addr: 'unix://{path}'}}\n" for name, path in asked.items())
    path = write("hub.yml", text)
    hub = start_hub(topology.hub, "-C", path, "--control", control)
    hub.wait_line("user nobody from here on")
    assert state(hub) == {
        "Uid": str(nobody.pw_uid), "Gid": str(nobody.pw_gid), "Groups": str(nobody.pw_gid),
        "CapEff": "0" * 16, "CapPrm": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1",
    }  # fmt: skip
    assert stat.S_IMODE(os.stat(control).st_mode) == 0o600
    assert os.stat(control).st_uid == nobody.pw_uid  # who may end it may ask it
    assert (
        run("status", "--control", control, before=("setpriv", "--reuid", "65534", "--clear-groups"))[0] == 0
    )
    for name, socket in asked.items():
        assert os.stat(socket).st_uid == nobody.pw_uid, f"{name} stays root's"
        curl = ("curl", "-sf", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", str(socket))
        page = {"api": "/config", "metrics": "/metrics"}[name]
        asking = ("setpriv", "--reuid", "65534", "--clear-groups", *curl, f"http://127.0.0.1{page}")
        assert topology.hub.run(*asking) == "200"
    assert stat.S_IMODE(os.stat(asked["api"]).st_mode) == 0o600
    config = write("one.yml", client_example("client.yml", 1, HUB_TO_HOST_1))
    client = start(topology.host_1, "--user", "nobody", "-C", config)
    client.wait_line("connected to")
    found = state(client)
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == NET_ADMIN
    start(topology.host_2, *host(2, HUB_TO_HOST_2)).wait_line("connected to")
    reach(topology.host_1, OVERLAY_2)
    assert pings(topology.host_1, OVERLAY_2) == 5
    assert used(control) == {BBR}, "what its listening socket had before it gave up its privileges"
    sockets = topology.host_1.run("ss", "-tin", "state", "established")
    assert f"\t {BBR} " in sockets

    Path(config).write_text(Path(config).read_text().replace("192.168.200.0/24", "192.168.201.0/24"))
    client.send(signal.SIGHUP)
    client.wait_line("reload: done")
    assert any(route["dst"] == "192.168.201.0/24" for route in topology.host_1.ip("route", "show"))
    slower = text.replace("type: tcp", "type: tcp\n      metadata: {congestion: reno}")
    Path(path).write_text(slower.replace("host-2", "host-3"))
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: done")
    assert used(control) == {"reno"}, "in sessions that live"
    assert client.stop() == 0
    assert hub.stop() == 0


BIND = """import socket, sys
for option in (0, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if option:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            sock.bind(("", 8443))
            print("bound")
        except OSError as error:
            print(error.strerror)
"""


@pytest.mark.parametrize(("workers", "port"), [("", 8443), ("workers: 2\n", 443)])
def test_sessions_of_a_hub_that_gave_up_root_have_sockets_at_its_port_and_no_other_user(
    topology: Topology, write: Write, tmp_path: Path, workers: str, port: int
) -> None:
    text = workers + "user: nobody\n" + example("server.yml").replace("type: tcp", "type: tls")
    text = text.replace(":8443", f":{port}")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    hub.wait_line("user nobody from here on")
    for number, (namespace, address) in enumerate(
        ((topology.host_1, HUB_TO_HOST_1), (topology.host_2, HUB_TO_HOST_2)), 1
    ):
        *words, node = host(number, address)
        node = node.replace("router://", "router+tls://").replace(":8443", f":{port}")
        start_client(namespace, *words, node)
    reach(topology.host_1, OVERLAY_2)

    def have_own() -> bool:
        pings(topology.host_1, OVERLAY_2, 1)
        return topology.hub.run("ss", "-uanH", "state", "established", f"sport = :{port}").count("\n") == 2

    wait_for(have_own, 30)
    topology.hub.run("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
    bind = BIND.replace("8443", str(port))
    other = ("setpriv", "--reuid", "65533", "--clear-groups", sys.executable, "-c", bind)
    assert topology.hub.run(*other).splitlines() == ["Address already in use"] * 3


def listeners(namespace: Namespace) -> list[str]:
    """The addresses at which somebody listens, over TCP."""
    return [line.split()[3] for line in namespace.run("ss", "-ltnH").splitlines()]


@pytest.mark.skipif(not ROOTS, reason="everybody may choose every congestion control here")
def test_a_listener_that_a_reload_opens_has_what_only_root_may_choose(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    control = str(tmp_path / "hub.sock")
    topology.hub.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")
    text = example("server.yml").replace("type: tcp", f"type: tcp\n      metadata: {{congestion: {ROOTS}}}")
    path = write("hub.yml", "user: nobody\n" + text)
    hub = start_hub(topology.hub, "-C", path, "--control", control)
    hub.wait_line("user nobody from here on")
    assert state(hub)["CapEff"] == "0" * 16
    before = listeners(topology.hub)
    for address in (":8444", f'"{HUB_TO_HOST_1}:8445"', ":8443"):
        Path(path).write_text("user: nobody\n" + text.replace(":8443", address))
        seen = hub.line_count()
        hub.send(signal.SIGHUP)
        hub.wait_line("reload: done", after=seen)
        port = address.strip('"').rpartition(":")[2]
        url = f"router://{HUB_TO_HOST_1}:{port}"
        client = start_client(topology.host_1, "-L", "tun:///host-1?net=192.168.123.1/24", "-F", url)
        assert used(control) == {ROOTS}
        client.stop()
    assert listeners(topology.hub) == before, "nothing else listens"
    assert "congestion: " not in hub.text()
    assert hub.stop() == 0


def test_a_user_that_is_not_there(topology: Topology, write: Write) -> None:
    status, said = run(
        "-C", write("hub.yml", "user: nobdy\n" + example("server.yml")), namespace=topology.hub
    )
    assert (status, "user: there is no user 'nobdy' here" in said) == (1, True)


HUB = '{"services": [{"name": "s", "addr": ":8443", "handler": {"type": "router"}, "listener": {"type": "tcp"}}]'


@pytest.mark.parametrize(
    "arguments", [("-L", "router://:8443", "--user", "root"), ("-C", HUB + ', "user": "root"}')], ids=["flag", "key"]
)  # fmt: skip
def test_who_is_not_root_becomes_nobody_else(topology: Topology, arguments: tuple[str, ...]) -> None:
    status, said = run(
        *arguments, namespace=topology.hub, before=("setpriv", "--reuid", "65534", "--clear-groups")
    )
    assert (status, "only root can become root" in said) == (1, True)


def test_nothing_listens_but_the_tunnel(topology: Topology, write: Write) -> None:
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    assert len(unix_listeners(topology.hub)) == 1, "the control socket"
    lines = topology.hub.run("ss", "-tulnH").split("\n")
    assert [line.split()[4].rpartition(":")[2] for line in lines if line] == ["8443"]


def unix_listeners(namespace: Namespace) -> list[str]:
    return [line for line in namespace.run("ss", "-xlnH").split("\n") if line]


INLINE = """{"services": [{"name": "service-0", "addr": ":%d", "handler": {"type": "router", "metadata": {"router": "r"}},
 "listener": {"type": "tcp"}}], "routers": [{"name": "r", "routes": [
 {"dst": "192.168.123.1", "gateway": "host-1"}, {"dst": "192.168.123.2", "gateway": "host-2"}]}]%s}"""


def test_a_hub_need_not_be_started_by_root(topology: Topology) -> None:
    """Another user without any capability, and no control socket where none is wanted."""
    nobody = (
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    )
    hub = topology.hub.popen(*nobody, *TUNROUTER, "-C", INLINE % (8443, ""), "--control", "none")
    hub.wait_line("listening on")
    found = state(hub)
    assert (found["Uid"], found["CapEff"], found["CapPrm"]) == ("65534", "0" * 16, "0" * 16)
    assert unix_listeners(topology.hub) == []
    start(topology.host_1, *host(1, HUB_TO_HOST_1)).wait_line("connected to")
    start(topology.host_2, *host(2, HUB_TO_HOST_2)).wait_line("connected to")
    reach(topology.host_1, OVERLAY_2)
    assert hub.stop() == 0

    low = topology.hub.popen(*TUNROUTER, "-C", INLINE % (443, ', "user": "nobody"'), "--control", "none")
    low.wait_line("user nobody from here on")
    found = state(low)
    assert (
        int(found["CapEff"], 16) == int(found["CapPrm"], 16) == int(found["CapBnd"], 16) == NET_BIND_SERVICE
    )

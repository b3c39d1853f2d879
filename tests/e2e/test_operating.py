"""packaging/docs/operating.md, and MTU and MSS in the guide: every file and command, as they stand there."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.tun import HEADER_SIZE
from tests.e2e.test_recipes import HUB, namespaces, with_hub
from tests.support import packets as p
from tests.support.devices import READ_SIZE, device, settings
from tests.support.echo import unanswered
from tests.support.netns import Namespace, Process, connect, in_namespace
from tests.support.page import DOCS, Player, blocks, with_systemctl
from tests.support.program import TUNROUTER, pings

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.needs_root]

PAGE = DOCS / "operating.md"
FINGERPRINT = re.compile(r"certificate (sha256:[0-9a-f]{64})")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def fingerprint(hub: Process) -> str:
    found = FINGERPRINT.search(hub.text())
    assert found, hub.text()
    return found[1]


def test_no_password_is_on_a_command_line(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub host-1 host-2")
    with_hub(places)
    player = Player(tmp_path, places)
    player.play(blocks(PAGE, "Passwords that `ps` does not show"))
    player.run("host-1", "ping -c 1 -W 5 10.200.0.2")
    pids = [pid for place in places.values() for pid in place.pids()]
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    assert sum(b"tunrouter" in line for line in lines) >= 3
    assert not [line for line in lines if b"change-me" in line]
    assert "scrypt" in (player.directory("hub") / "site-1.hash").read_text()
    assert "change-me" not in "".join(one.text() for one in player.started)


def own_etc(player: Player, place: str) -> None:
    """A place's own /etc, in which a test may write."""
    etc = player.directory(place) / "etc"
    etc.mkdir()
    for name in ("passwd", "group", "nsswitch.conf", "hosts"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc)
    (etc / "tunrouter").mkdir()
    player.run(place, f"mount --bind {etc} /etc")


def test_tenants_come_by_invitation_and_have_the_same_addresses(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub plant depot")
    with_hub(places)
    with_systemctl(tmp_path)
    player = Player(tmp_path, places)
    for place in places:
        own_etc(player, place)
    player.play(blocks(PAGE, "Tenants, and who comes and goes"))
    assert " received" in player.said[-1]
    plant, depot = (
        {
            line.split()[3]
            for line in places[name].run("ip", "-4", "-o", "addr").splitlines()
            if " tun0 " in line
        }
        for name in ("plant", "depot")
    )
    assert plant
    assert depot
    assert {one.partition("/")[2] for one in plant | depot} <= {"24", "32"}
    assert pings(places["depot"], "10.0.0.1") == 5, "the hub, in the other namespace"
    (own,) = {one.partition("/")[0] for one in plant}
    assert pings(places["depot"], own, 1, "-W1") == (
        1 if own in {one.partition("/")[0] for one in depot} else 0
    )
    hosts = player.run("hub", "tunrouter hosts --ns 5f0c0b5e-7a5c-4c8e-9b3d-0a1b2c3d4e5f")
    assert "plant" in hosts
    assert "depot" not in hosts


def test_a_restored_backup_keeps_the_pin(stack: ExitStack, tmp_path: Path) -> None:
    player = Player(tmp_path, namespaces(stack, tmp_path, "hub new-hub"))
    save, restore, read = blocks(PAGE, "Backup: what must be kept")
    start = "tunrouter -L router+tls://:8443"
    for place in ("hub", "new-hub"):
        own_etc(player, place)
    (player.directory("hub") / "etc/tunrouter/tunrouter.yaml").write_text("# ours\n")
    first = player.start("hub", start)
    player.play([save])
    shutil.copy(player.directory("hub") / "backup.tgz", player.directory("new-hub"))
    player.play([restore, read])
    second = player.start("new-hub", start)
    assert fingerprint(second) == fingerprint(first)
    assert player.said[-1].split()[0] == fingerprint(first).removeprefix("sha256:")
    assert (player.directory("new-hub") / "etc/tunrouter/tunrouter.yaml").read_text() == "# ours\n"
    second.stop()
    player.run("new-hub", "rm /var/lib/tunrouter/*")
    assert fingerprint(player.start("new-hub", start)) != fingerprint(first), "without it: another one"


def test_a_second_hub_takes_over_and_no_ping_waits_long(stack: ExitStack, tmp_path: Path) -> None:
    """reuseport: the second hub is started, the first one is ended."""
    places = namespaces(stack, tmp_path, "hub host-1 host-2")
    with_hub(places)
    player = Player(tmp_path, places)
    *before, second, health, end = blocks(PAGE, "A new version without a gap")
    player.play(before[:2])
    player.environment["PIN"] = fingerprint(player.started[0])
    player.play(before[2:])
    player.run("host-1", "ping -c 1 -W 5 10.200.0.2")
    pings = places["host-1"].popen("ping", "-n", "-i", "0.005", "10.200.0.2")
    pings.wait_line("icmp_seq=")
    player.play([second, health])
    assert player.said[-1] == "healthy: hub hub listens on :8443\n"
    lines = [host.line_count() for host in player.started[1:3]]
    player.play([end])
    assert player.started[0].wait(10) == 0
    for host, seen in zip(player.started[1:3], lines, strict=True):
        host.wait_line("connected to", after=seen)
    pings.wait_line("icmp_seq=", after=pings.line_count() + 20)  # by the new hub
    pings.stop(signal.SIGINT)
    assert unanswered(pings.text()) == [], "in steps of 5 ms"
    assert "2 sessions" in player.run("hub", "tunrouter status --control green.sock")


# --- containers


def caps(service: dict[str, Any]) -> list[str]:
    """What setpriv says for a container's capabilities, of which compose files name what is added."""
    kept = "".join(f",+{name.lower()}" for name in service.get("cap_add", ()))
    assert service["cap_drop"] == ["ALL"]
    return ["setpriv", f"--bounding-set=-all{kept}", f"--inh-caps=-all{kept}", "--no-new-privs"]


def contained(player: Player, place: str, service: dict[str, Any]) -> Process:
    """Start a service of a compose file as its container would: process 1, /proc/sys read-only, few rights."""
    here = player.directory("container")
    setup = ["mount -t proc proc /proc", "mount -o bind,ro /proc/sys /proc/sys"]
    for volume in service["volumes"]:
        source, _, rest = volume.partition(":")
        target = player.directory(place) / rest.partition(":")[0].lstrip("/")
        if source.startswith("./"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here / source, target)
    root = player.directory(place)
    words = [f"{root}{word}" if word.startswith("/etc/") else word for word in service["command"]]
    quoted = " ".join([*caps(service), *TUNROUTER, *words])
    script = " && ".join([*setup, f"exec {quoted}"])
    return player.popen(place, f"exec unshare --pid --fork --mount --kill-child sh -c '{script}'")


def test_the_compose_file_s_services_are_healthy_with_the_rights_it_gives_them(
    stack: ExitStack, tmp_path: Path
) -> None:
    places = namespaces(stack, tmp_path, "hub host-1")
    with_hub(places)
    player = Player(tmp_path, places)
    player.play(blocks(PAGE, "In a container"))
    files = player.directory("container")
    compose = yaml.safe_load((files / "compose.yaml").read_text())
    docker = (files / "Dockerfile").read_text()
    (check,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])", docker)
    check = " ".join(yaml.safe_load(check))
    own = tmp_path / "hosts"
    own.write_text(f"127.0.0.1 localhost\n{HUB} hub\n")
    player.run("host-1", f"mount --bind {own} /etc/hosts")

    services = compose["services"]
    assert "cap_add" not in services["hub"]
    hub = contained(player, "hub", services["hub"])
    hub.wait_line("listening on")
    assert player.run("hub", check) == "healthy: hub hub listens on :8443\n"
    client = contained(player, "host-1", services["host-1"])
    client.wait_line("connected to")
    assert player.run("host-1", check) == f"healthy: client host-1 is connected to {HUB}:8443\n"
    assert services["host-1"]["devices"] == ["/dev/net/tun:/dev/net/tun"]
    # docker stop: the hub ends by SIGTERM, and the client's check says so
    lines = client.line_count()
    os.kill(child(hub), signal.SIGTERM)
    assert hub.wait(10) == 0
    client.wait_line("trying again", after=lines)
    gone = player.popen("host-1", check)
    assert gone.wait(10) == 1
    assert gone.text().startswith("unhealthy: client host-1 has no session with hub hub:8443: ")


def child(process: Process) -> int:
    """The process that `unshare --fork` has started: the container's process 1."""
    (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(pid)


# --- MTU and MSS


def mss_of(packet: bytes) -> int:
    """The MSS in a TCP packet with IPv4, 0 where there is none."""
    header = packet[(packet[0] & 15) * 4 :]
    options = header[20 : (header[12] >> 4) * 4]
    while options and options[0]:
        if options[0] == 2:
            return int.from_bytes(options[2:4])
        options = options[1:] if options[0] == 1 else options[options[1] :]
    return 0


def next_tcp(descriptor: int, skip: int) -> bytes:
    """The next TCP packet with IPv4 of a device or a packet socket."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        assert poll.poll(5000), "no packet"
        packet = os.read(descriptor, READ_SIZE)[skip:]
        if packet[0] >> 4 == 4 and packet[9] == p.TCP:
            return packet


def test_the_kernel_sets_the_mss_of_what_it_forwards_into_the_tunnel(
    stack: ExitStack, tmp_path: Path
) -> None:
    places = namespaces(stack, tmp_path, "router pc")
    router, pc = places["router"], places["pc"]
    connect(router, "lan", "192.168.7.1/24", pc, "eth0", "192.168.7.7/24")
    pc.ip("route", "add", "default", "via", "192.168.7.1")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    player = Player(tmp_path, places)
    player.play(blocks(DOCS / "guide.md", "MTU and MSS"))
    tun = stack.enter_context(device(router, settings("10.9.0.1/24", mtu=1420), "tun0"))
    with listening(pc, "192.168.7.7", 80), listening_to_all(pc) as seen:
        syn = p.tcp(
            "10.9.0.2", "192.168.7.7", b"", ports=(4000, 80), flags=2, options=b"\2\4" + (1460).to_bytes(2)
        )
        os.write(tun.fd, p.headed(syn))
        assert mss_of(next_tcp(seen.fileno(), 0)) == 1380  # what came for the computer, which has 1500
        assert mss_of(next_tcp(tun.fd, HEADER_SIZE)) == 1380  # and its reply, which said 1460


def listening(namespace: Namespace, address: str, port: int) -> socket.socket:
    with in_namespace(namespace.name):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.bind((address, port))
    made.listen()
    return made


def listening_to_all(namespace: Namespace) -> socket.socket:
    """A socket that gets every IPv4 packet of a namespace (packet(7))."""
    with in_namespace(namespace.name):
        return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))


# --- Ansible


def test_the_play_installs_no_configuration_that_check_refuses(tmp_path: Path, stack: ExitStack) -> None:
    player = Player(tmp_path, namespaces(stack, tmp_path, "hub"))
    own_etc(player, "hub")
    play, template = (block.text for block in blocks(PAGE, "Many machines, with Ansible"))
    (whole,) = yaml.safe_load(play)
    tasks = {next(key for key in task if "." in key): task for task in whole["tasks"]}
    assert all(key.startswith("ansible.builtin.") for key in tasks)
    written = tasks["ansible.builtin.template"]
    validate = written["ansible.builtin.template"]["validate"]
    assert {task["notify"] for task in whole["tasks"] if "notify" in task} == {whole["handlers"][0]["name"]}
    (player.directory("hub") / "etc/tunrouter/password").write_text("secret\n")
    values = {
        "tunrouter_net": "10.200.0.1/24",
        "inventory_hostname": "host-1",
        "tunrouter_pin": f"sha256:{'0' * 64}",
    }
    text = re.sub(r"\{\{ (\w+) \}\}", lambda found: values[found[1]], template)
    file = player.directory("hub") / "rendered.yaml"
    file.write_text(text)
    assert "is host host-1" in player.run("hub", validate.replace("%s", str(file)))
    file.write_text(text.replace("pin:", "pni:"))
    refused = player.popen("hub", validate.replace("%s", str(file)))
    assert refused.wait(10) == 2
    health = tasks["ansible.builtin.command"]["ansible.builtin.command"]
    unhealthy = player.popen("hub", health)
    assert unhealthy.wait(10) == 1


def test_every_block_of_the_page_is_run_here() -> None:
    headings = {block.heading for block in blocks(PAGE)}
    source = Path(__file__).read_text()
    assert not [heading for heading in headings if f'"{heading}"' not in source]

"""packaging/docs/recipes.md: every recipe's files and commands, taken out of the page, in a network like its
own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netns import Namespace, connect
from tests.support.page import DOCS, Block, Player, blocks
from tests.support.program import pings
from tests.support.tls import Authority

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.needs_root]

PAGE = DOCS / "recipes.md"
HUB = "203.0.113.10"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def namespaces(stack: ExitStack, tmp_path: Path, names: str) -> dict[str, Namespace]:
    """Namespaces by name, with logs in tmp_path; gone when the stack is closed."""
    return {name: stack.enter_context(Namespace(name, tmp_path)) for name in names.split()}


def with_hub(places: dict[str, Namespace]) -> None:
    """Everybody but the hub is joined to it by a wire of their own; all know the way to its address."""
    hub = places["hub"]
    hub.ip("addr", "add", f"{HUB}/32", "dev", "lo")
    for number, (name, place) in enumerate(list(places.items())[1:], 1):
        connect(hub, name, f"10.77.{number}.1/24", place, "uplink", f"10.77.{number}.2/24")
        place.ip("route", "add", HUB, "via", f"10.77.{number}.1")


def recipe(heading: str) -> tuple[list[Block], list[Block]]:
    """Its blocks: up to the hub's start, and the rest, which may need the hub's fingerprint."""
    found = blocks(PAGE, heading)
    assert found, f"no recipe {heading!r}"
    cut = 1 + next(n for n, block in enumerate(found) if block.kind == "start")
    return found[:cut], found[cut:]


def play(player: Player, heading: str) -> None:
    """Both halves, with $PIN in between as a person would read it off the hub's log."""
    first, rest = recipe(heading)
    player.play(first)
    pin = re.search(r"certificate (sha256:[0-9a-f]{64})", player.started[0].text())
    assert pin, player.started[0].text()
    player.environment["PIN"] = pin[1]
    player.play(rest)


def test_two_offices_behind_nat(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub router-a router-b box-a box-b pc-a pc-b")
    behind_nat(places, 100, 200)
    player = Player(tmp_path, places)
    play(player, "Two offices behind NAT")
    assert " 0% packet loss" in player.said[-1]
    assert pings(places["pc-b"], "192.168.100.7") == 5
    # the NAT is one: the hub sees the routers, and cannot come in by itself
    status = player.run("hub", "tunrouter status")
    assert {"203.0.113.21", "203.0.113.22"} <= set(re.findall(r"203\.0\.113\.2\d", status))
    places["hub"].ip("route", "add", "192.168.100.0/24", "via", "203.0.113.21")
    assert pings(places["hub"], "192.168.100.2", 1, "-W1") == 0
    # a download, through a way whose packets are smaller than the offices'
    player.directory("pc-b").joinpath("file").write_bytes(os.urandom(3_000_000))
    server = player.popen("pc-b", "exec python3 -um http.server 8080")
    server.wait_line("Serving HTTP")
    fetch = "import urllib.request as r; r.urlretrieve('http://192.168.200.7:8080/file', 'file')"
    player.run("pc-a", f'python3 -c "{fetch}"')
    got, sent = (player.directory(place).joinpath("file").read_bytes() for place in ("pc-a", "pc-b"))
    assert got == sent


def behind_nat(places: dict[str, Namespace], *nets: int) -> None:
    """A hub on the internet, and networks 192.168.NET.0/24 behind routers a and b, each with a box (.2) and a pc (.7)."""
    places["hub"].ip("link", "add", "internet", "type", "bridge")
    places["hub"].ip("addr", "add", f"{HUB}/24", "dev", "internet")
    places["hub"].ip("link", "set", "internet", "up")
    for letter, number, public in zip("ab", nets, ("203.0.113.21", "203.0.113.22"), strict=True):
        _office(places, letter, f"192.168.{number}", public)


def _office(places: dict[str, Namespace], letter: str, net: str, public: str) -> None:
    """A router with NAT at the bridges of the internet and of its office, a box and a computer behind it."""
    hub, router = places["hub"], places[f"router-{letter}"]
    hub.ip("link", "add", f"to-{letter}", "type", "veth", "peer", "name", "wan", "netns", router.name)
    hub.ip("link", "set", f"to-{letter}", "master", "internet", "up")
    router.ip("addr", "add", f"{public}/24", "dev", "wan")
    router.ip("link", "set", "wan", "up")
    router.ip("link", "add", "lan", "type", "bridge")
    router.ip("addr", "add", f"{net}.1/24", "dev", "lan")
    router.ip("link", "set", "lan", "up")
    for name, last in ((f"box-{letter}", 2), (f"pc-{letter}", 7)):
        inside = places[name]
        router.ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", inside.name)
        router.ip("link", "set", name, "master", "lan", "up")
        inside.ip("addr", "add", f"{net}.{last}/24", "dev", "eth0")
        inside.ip("link", "set", "eth0", "up")
        inside.ip("route", "add", "default", "via", f"{net}.1")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    router.run(
        *("nft", "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; };"),
        "add rule ip nat post oifname wan masquerade; add table ip guard;"
        "add chain ip guard forward { type filter hook forward priority 0; };"
        "add rule ip guard forward iifname wan ct state new drop",
    )


def test_two_sites_with_the_same_addresses(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub router-a router-b box-a box-b pc-a pc-b")
    behind_nat(places, 1, 1)
    player = Player(tmp_path, places)
    play(player, "Two sites with the same addresses")
    assert " 0% packet loss" in player.said[-1]
    assert pings(places["pc-b"], "10.71.0.7", 1) == 1
    assert pings(places["pc-b"], "10.71.0.2", 1) == 1, "the box itself, by its address at the site"
    learned = player.run("box-a", "ip route show proto 117")
    assert "10.72.0.0/24" in learned, "the hub has told it, and nothing of 192.168.1.0/24"
    assert "192.168.1.0" not in learned


def test_a_tenant_for_each_customer(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub plant-acme office-acme depot-bolt shop-bolt")
    with_hub(places)
    player = Player(tmp_path, places)
    play(player, "A tenant for each customer")
    assert "shop.bolt" in player.said[-1]
    # the same address is another computer for each
    before = {name: _received(places[name]) for name in ("office-acme", "shop-bolt")}
    assert pings(places["plant-acme"], "10.0.0.2", 7) == 7
    gained = {name: _received(places[name]) - count for name, count in before.items()}
    assert gained == {"office-acme": 7, "shop-bolt": 0}
    # a customer's login is good for nothing of another's
    hub = player.started[0]
    for command in _foreign_logins(player):
        lines = hub.line_count()
        intruder = player.popen("shop-bolt", f"exec {command}")
        intruder.wait_line("refused")
        hub.wait_line("refused", after=lines)
        intruder.stop(signal.SIGKILL)


def _foreign_logins(player: Player) -> Iterator[str]:
    """Bolt's command, but into acme's namespace, and as a host of acme's."""
    (command,) = next(block for block in blocks(PAGE) if block.place == "shop-bolt").commands()
    acme, bolt = "5f0c0b5e-7a5c-4c8e-9b3d-0a1b2c3d4e5f", "c0ffee00-1234-4abc-8def-56789abcdef0"
    assert bolt in command
    yield command.replace(bolt, acme)
    yield command.replace("shop.bolt", "office.acme").replace(bolt, acme)


def _received(namespace: Namespace) -> int:
    """How many echo requests it has been sent."""
    rows = namespace.run("cat", "/proc/net/snmp").splitlines()
    names, values = (row.split() for row in rows if row.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


PROXY = """\
Port 3128
Listen 10.77.1.1
BasicAuth worker proxy-secret
ConnectPort 443
"""


def test_out_through_an_http_proxy(stack: ExitStack, tmp_path: Path) -> None:
    assert shutil.which("tinyproxy"), "make tools-test installs it (Debian: tinyproxy-bin)"
    places = namespaces(stack, tmp_path, "hub host-1 host-2")
    with_hub(places)
    config = tmp_path / "tinyproxy.conf"
    config.write_text(PROXY)
    proxy = places["hub"].popen("tinyproxy", "-d", "-c", str(config))
    proxy.wait_line("Starting main loop")
    # the office: nothing goes out but to the proxy
    places["host-1"].run(
        *("nft", "add table inet office; add chain inet office out { type filter hook output priority 0; };"),
        "add rule inet office out oifname uplink meta l4proto tcp tcp dport != 3128 reject with tcp reset",
    )
    player = Player(tmp_path, places)
    play(player, "Out through an HTTP proxy")
    assert " 0% packet loss" in player.said[-1]
    assert "CONNECT 203.0.113.10:443" in proxy.text()
    direct = player.popen(
        "host-1", 'exec tunrouter -L tun:///host-9 -F "router+wss://203.0.113.10:443?pin=$PIN"'
    )
    direct.wait_line("refused")


def test_on_port_443_beside_a_web_site(stack: ExitStack, tmp_path: Path) -> None:
    if not shutil.which("nginx"):
        pytest.skip("no nginx: `make tools-test` as root installs it")
    places = namespaces(stack, tmp_path, "hub host-1 host-2")
    with_hub(places)
    player = Player(tmp_path, places)
    authority = Authority(tmp_path)
    site = authority.issue("www.example.org", file="site")
    for file in (site.cert, site.key):
        shutil.copy(file, player.directory("hub"))
    for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):  # the authority is a public one here
        player.environment[variable] = authority.ca.cert
    names = tmp_path / "hosts"
    names.write_text(f"127.0.0.1 localhost\n{HUB} www.example.org\n")
    for name in ("host-1", "host-2"):
        player.run(name, f"mount --bind {names} /etc/hosts")
    player.play(blocks(PAGE, "On port 443 beside a web site"))
    assert " 0% packet loss" in player.said[-1]
    assert "The web site." in player.said[-1]
    status = player.run("hub", "tunrouter status")
    assert {"10.77.1.2:0", "10.77.2.2:0"} <= set(re.findall(r"\S+:0\b", status)), status
    assert "warning" not in player.started[0].text(), player.started[0].text()


def test_all_traffic_through_one_host(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub laptop exit internet")
    hub, server = places["hub"], places["internet"]
    hub.ip("addr", "add", f"{HUB}/32", "dev", "lo")
    for number, name in enumerate(("laptop", "exit"), 1):
        connect(hub, name, f"10.77.{number}.1/24", places[name], "uplink", f"10.77.{number}.2/24")
        places[name].ip("route", "add", "default", "via", f"10.77.{number}.1")
    connect(places["exit"], "world", "198.51.100.1/24", server, "eth0", "198.51.100.80/24")
    player = Player(tmp_path, places)
    play(player, "All traffic through one host")
    assert " 0% packet loss" in player.said[-1]
    # nobody comes in from outside, who knows the way: the hub's access list
    server.ip("route", "add", "10.200.0.0/24", "via", "198.51.100.1")
    assert pings(server, "10.200.0.1", 1, "-W1") == 0
    around = places["laptop"].run("ip", "route", "get", HUB)
    assert "dev uplink" in around
    player.started[-1].stop()
    assert "default via 10.77.1.1" in places["laptop"].run("ip", "route")
    assert pings(places["laptop"], "198.51.100.80", 1, "-W1") == 0, "it was the tunnel that led there"


def test_under_supervisord(stack: ExitStack, tmp_path: Path) -> None:
    places = namespaces(stack, tmp_path, "hub")
    player = Player(tmp_path, places)
    *up_to, hup, stop = blocks(PAGE, "Under supervisord")
    log = player.directory("hub") / "tunrouter.log"
    status = "supervisorctl -c supervisord.conf status tunrouter || true"
    player.play(up_to)
    first = _running(player, status)
    _wait(lambda: "listening on" in log.read_text())
    player.play([hup])
    _wait(lambda: "reload: nothing is different" in log.read_text())
    assert _running(player, status) == first, "a reload is no restart"
    os.kill(first, signal.SIGKILL)
    _wait(lambda: log.read_text().count("listening on") == 2)
    assert _running(player, status) != first
    player.play([stop])
    assert "STOPPED" in player.run("hub", status)
    assert "Traceback" not in log.read_text()


def _running(player: Player, status: str) -> int:
    """The process id that supervisorctl tells, once it tells that the program runs."""
    until = time.monotonic() + 10
    while not (found := re.search(r"RUNNING\s+pid (\d+)", said := player.run("hub", status))):
        assert time.monotonic() < until, said
        time.sleep(0.1)
    return int(found[1])


def _wait(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)

"""Default routes through a host: nat and killswitch, judged by curl, ping, dig and nft, and what they leave behind.

laptop (host-1) ---> hub ---> exit (host-2) ==NAT==> the internet, which is the hub's namespace too
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.netns import HOST_2, HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import GOST, pings, run, start_client, start_gost, start_hub, wait_for
from tests.support.restored import picture, resolv_conf

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
FAR, FAR_6 = "198.51.100.80", "2001:db8:80::80"
NAME = "hub.test"
HUB = """
services:
- {name: hub, addr: ":8443", handler: {type: router, metadata: {router: table}}, listener: {type: tls}}
routers:
- name: table
  routes:
  - {dst: 10.200.0.1, gateway: host-1}
  - {dst: "fd20::1", gateway: host-1}
  - {dst: 10.200.0.2, gateway: host-2}
  - {dst: "fd20::2", gateway: host-2}
  - {dst: 0.0.0.0/0, gateway: host-2}
  - {dst: "::/0", gateway: host-2}
"""
EXIT = "tun:///host-2?name=tun0&net=10.200.0.2/24,fd20::2/64&nat=true", f"router+tls://{HUB_TO_HOST_2}:8443"
LAPTOP = "tun:///host-1?net=10.200.0.1/24,fd20::1/64&route=0.0.0.0/0,::/0"
SERVER = """
import http.server, socket, sys
class Asked(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].removeprefix("::ffff:").encode())
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(("::", 80), Asked).serve_forever()
"""
"""Says who has asked, over both versions of IP."""
LEAKS = """
table inet seen {
  counter leaked { }
  counter leases { }
  chain from { type filter hook prerouting priority -300;
    iifname "to-host-1" jump which
  }
  chain which {
    meta l4proto { tcp, udp } th dport 8443 return
    meta nfproto ipv4 udp sport 68 udp dport 67 counter name leases return
    meta nfproto ipv6 udp sport 546 udp dport 547 counter name leases return
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } return
    meta nfproto { ipv4, ipv6 } counter name leaked
  }
}
"""
"""Rules of the next router: they count what the laptop sends beside the tunnel."""
DHCP = """
import socket
device = socket.if_nametoindex("uplink")
for near, far in (
    (("0.0.0.0", 68), ("255.255.255.255", 67)),
    (("::", 546, 0, 0), ("ff02::1:2", 547, 0, device)),
):
    with socket.socket(socket.AF_INET6 if ":" in near[0] else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"uplink")
        asking.bind(near)
        asking.sendto(b"a lease, please", far)
"""
"""What a DHCP client asks of both versions of IP, by the sockets from which it renews a lease."""


@pytest.fixture
def internet(topology: Topology, write: Write) -> Topology:
    """The topology with default routes, IPv6, a far address that tells who asks, and the hub."""
    hub = topology.hub
    for namespace, network, own in (
        (topology.host_1, "fd01::", HUB_TO_HOST_1),
        (topology.host_2, "fd02::", HUB_TO_HOST_2),
    ):
        device = "to-host-1" if own == HUB_TO_HOST_1 else "to-host-2"
        hub.run("ip", "addr", "add", f"{network}1/64", "dev", device, "nodad")
        namespace.run("ip", "addr", "add", f"{network}2/64", "dev", "uplink", "nodad")
        namespace.run("ip", "route", "add", "default", "via", own)
        namespace.run("ip", "route", "add", "default", "via", f"{network}1")
    hub.run("ip", "addr", "add", f"{FAR}/32", "dev", "lo")
    hub.run("ip", "addr", "add", f"{FAR_6}/128", "dev", "lo")
    hub.popen(sys.executable, "-c", SERVER)
    hub.run("nft", LEAKS)
    start_hub(hub, "-C", write("hub.yml", HUB))
    return topology


def asked_by(namespace: Namespace, address: str) -> str:
    """Whom the far server sees."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    return namespace.run("curl", "-s", "--retry", "3", "--retry-connrefused", "-m", "5", url)


def leaked(topology: Topology, counter: str = "leaked") -> int:
    """Packets that the laptop has sent beside the tunnel so far; "leases" are those of DHCP, which may."""
    words = topology.hub.run("nft", "list", "counter", "inet", "seen", counter).split()
    return int(words[words.index("packets") + 1])


def passed(namespace: Namespace, *probes: str) -> str:
    """Run shell commands at the same time; returns those that have succeeded, one a line."""
    each = (f"{{ {one} >/dev/null 2>&1 && echo {shlex.quote(one)}; }}" for one in probes)
    return namespace.run("bash", "-c", " & ".join(each) + " & wait")


def test_all_traffic_goes_through_the_exit_and_then_everything_is_as_before(internet: Topology) -> None:
    laptop, exit_host = internet.host_1, internet.host_2
    exit_host.run("sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=0", "net.ipv4.conf.lo.forwarding=1")
    before = picture(laptop), picture(exit_host)
    exit_client = start_client(exit_host, "-L", EXIT[0], "-F", EXIT[1])
    for hub, way in ((HUB_TO_HOST_1, "-4"), ("fd01::1", "-6")):
        client = start_client(
            laptop, "-L", LAPTOP, "-F", f"router+tls://{f'[{hub}]' if ':' in hub else hub}:8443"
        )
        assert (asked_by(laptop, FAR), asked_by(laptop, FAR_6)) == (HOST_2, "fd02::2")
        assert [one["dst"] for one in laptop.ip(way, "route", "show", "proto", "116")] == [hub]
        client.stop()
        assert picture(laptop) == before[0]
    seen = exit_host.run("nft", "list", "ruleset")
    assert "masquerade" in seen
    assert 'elements = { "uplink" }' in seen, "between other devices nothing is forwarded now either"

    exit_client.stop(signal.SIGKILL)  # the next start mends it, also one that is no exit
    assert picture(exit_host) != before[1]
    end = start_client(exit_host, "-L", EXIT[0].replace("&nat=true", ""), "-F", EXIT[1])
    assert "tunrouter" not in exit_host.run("nft", "list", "ruleset")
    end.stop()
    assert picture(exit_host) == before[1]
    end = start_client(exit_host, "-L", EXIT[0], "-F", EXIT[1], "--user", "nobody")
    end.stop()
    assert picture(exit_host) == before[1]


@pytest.fixture
def name_server(internet: Topology) -> Iterator[Process]:
    """A name server in the laptop's own network, which knows the hub's name."""
    path = resolv_conf(internet.host_1)
    path.parent.mkdir(parents=True)
    path.write_text(f"nameserver {HUB_TO_HOST_1}\noptions timeout:1 attempts:1\n")
    argv = (sys.executable, "-m", "tests.support.name_server", HUB_TO_HOST_1, "53", HUB_TO_HOST_1)
    started = internet.hub.popen(*argv)
    started.wait_line("name server ready")
    yield started
    path.unlink()
    path.parent.rmdir()


def test_nothing_leaves_beside_the_tunnel_until_a_clean_end_or_unlock(
    internet: Topology, name_server: Process
) -> None:
    laptop = internet.host_1
    before = picture(laptop)
    start_client(internet.host_2, "-L", EXIT[0], "-F", EXIT[1])
    locked = ("-L", f"{LAPTOP}&killswitch=true", "-F", f"router+tls://{NAME}:8443")
    client = start_client(laptop, *locked)
    begun = leaked(internet)  # the look-up of the hub's name, the only one

    def tries() -> None:
        """All that a leak could be: the network itself, far addresses, names; and what another program sends."""
        probes = (
            f"ping -c1 -W0.5 {HUB_TO_HOST_1}",
            f"ping -c1 -W0.5 -I uplink {FAR}",
            "ping -c1 -W0.5 fd01::1",
            f"ping -c1 -W0.5 -I uplink {FAR_6}",
            f"dig +tries=1 +time=1 @{HUB_TO_HOST_1} {NAME}",
            f"curl -s -m0.5 --interface uplink http://{FAR}/",
            f"curl -s -m0.5 http://{HUB_TO_HOST_1}:53/",
        )
        assert passed(laptop, *probes) == ""
        assert leaked(internet) == begun

    assert (asked_by(laptop, FAR), asked_by(laptop, FAR_6)) == (HOST_2, "fd02::2")
    status, text = run("unlock", namespace=laptop)
    assert status == 1
    assert "a running tunrouter has the killswitch" in text
    tries()
    laptop.run(sys.executable, "-c", DHCP)
    wait_for(lambda: leaked(internet, "leases") == 2)
    laptop.run("nft", "flush", "ruleset")
    client.wait_line("somebody has removed the table")

    client.stop(signal.SIGKILL)
    tries()
    status, text = run(
        "doctor", "--control", "none", *locked[:3], "router://10.77.1.1:8443", namespace=laptop
    )
    assert "locked by a killswitch that no process holds" in text

    name_server.stop(signal.SIGKILL)
    again = start_client(laptop, *locked, "--user", "nobody")  # it finds the hub by what the table has
    assert "is taken over: it lets out tun0, and tcp 10.77.1.1 port 8443" in again.text()
    assert asked_by(laptop, FAR) == HOST_2
    again.stop(signal.SIGKILL)
    status, text = run("unlock", namespace=laptop)
    assert (status, text[:68]) == (
        0,
        "the killswitch is removed: it let out tun0, and tcp 10.77.1.1 port 8443"[:68],
    )
    assert run("unlock", namespace=laptop) == (0, "no killswitch is set here\n")
    assert asked_by(laptop, FAR) == "10.77.1.2"

    again = start_client(laptop, *locked[:3], f"router+tls://{HUB_TO_HOST_1}:8443", "--user", "nobody")
    assert "killswitch: nothing leaves this host beside the tunnel" in again.text()
    again.stop()
    assert picture(laptop) == before


PROXY = f"""\
Port 3128
Listen {HUB_TO_HOST_1}
ConnectPort 8443
"""
BESIDE = f"""
table inet beside {{
  counter leaked {{ }}
  chain from {{ type filter hook prerouting priority -300;
    iifname "to-host-1" jump which
  }}
  chain which {{
    ip daddr {HUB_TO_HOST_1} tcp dport {{ 3128, 1080 }} return
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report }} return
    meta nfproto {{ ipv4, ipv6 }} counter name leaked
  }}
}}
"""
"""Rules of the next router: they count what the laptop sends to anybody but a proxy."""


@pytest.mark.skipif(shutil.which("tinyproxy") is None, reason="no tinyproxy (Debian: tinyproxy-bin)")
def test_of_a_hub_behind_a_proxy_the_proxy_alone_is_let_out(internet: Topology, tmp_path: Path) -> None:
    laptop, hub = internet.host_1, internet.hub
    before = picture(laptop)
    config = tmp_path / "tinyproxy.conf"
    config.write_text(PROXY)
    hub.popen("tinyproxy", "-d", "-c", str(config)).wait_line("Starting main loop")
    proxies = {"http": 3128}
    if GOST:
        start_gost(hub, "-L", "socks5://:1080")
        proxies["socks5"] = 1080
    hub.run("nft", BESIDE)

    def tries(port: int) -> None:
        """Who may be reached: the proxy, and not the hub behind it, nor anybody else."""
        to_proxy = f"echo >/dev/tcp/{HUB_TO_HOST_1}/{port}"
        others = (
            f"timeout 0.5 bash -c 'echo >/dev/tcp/{HUB_TO_HOST_2}/8443'",
            f"timeout 0.5 bash -c 'echo >/dev/tcp/{HUB_TO_HOST_1}/8443'",
            f"ping -c1 -W0.5 {HUB_TO_HOST_1}",
            f"ping -c1 -W0.5 -I uplink {FAR}",
            "ping -c1 -W0.5 fd01::1",
        )
        assert passed(laptop, to_proxy, *others) == f"{to_proxy}\n"

    for kind, port in proxies.items():
        way = ("-F", f"{kind}://{HUB_TO_HOST_1}:{port}", "-F", f"router+tls://{HUB_TO_HOST_2}:8443")
        client = start_client(laptop, "-L", f"{LAPTOP}&killswitch=true", *way)
        tries(port)
        client.stop(signal.SIGKILL)
        tries(port)
        client = start_client(laptop, "-L", f"{LAPTOP}&killswitch=true", *way)
        assert f"is taken over: it lets out tun0, and tcp {HUB_TO_HOST_1} port {port}\n" in client.text()
        client.stop()
        assert picture(laptop) == before
    words = hub.run("nft", "list", "counter", "inet", "beside", "leaked").split()
    assert words[words.index("packets") + 1] == "0"
    assert pings(laptop, HUB_TO_HOST_1, 1) == 1, "it was the killswitch that was in the way"

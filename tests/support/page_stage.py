"""A hub with hosts and a web API, and its page in a browser beside it: for tests of the page with a real hub.

Knows: the hub's configuration, its users, the hosts and how each of them is broken.
Refuses to know: what the page shows.

    host-1, host-2    clients with devices           leaves    one more, which dies
    lossy             a client over TLS              drops     sends what no route leads to
    twice             joins from two machines        flaps     comes and goes
    stands            does not read                  mine, theirs    of two tenants; the second has a route of its own
"""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

from lib.ids import NO_NAMESPACE, parse_uuid
from lib.wire_relay import Request
from tests.support.chromium import Chromium, Tab
from tests.support.netns import (
    HUB_TO_HOST_1,
    HUB_TO_HOST_2,
    ROOT,
    Namespace,
    Process,
    Topology,
    connect,
    in_namespace,
)
from tests.support.packets import frame, udp
from tests.support.program import (
    NAMESPACE_1,
    NAMESPACE_2,
    OVERLAY_2,
    host,
    reach,
    start_client,
    start_hub,
)
from tests.support.sessions import joined

URL = "http://127.0.0.1:18080/"
HUB_TO_HOST_3 = "10.77.3.1"
NOWHERE = "192.168.123.77"
"""An address in the hosts' network to which no route leads."""
PASSWORD = "s3cret"
ADMIN, VIEWER, TENANT = "ada", "eve", "ten"
"""Users. The tenant's namespace is NAMESPACE_1, with the host `mine`."""
ADDRESSES = {
    "leaves": "192.168.125.1", "lossy": "192.168.125.2", "drops": "192.168.125.3", "twice": "192.168.125.4",
    "flaps": "192.168.125.5", "stands": "192.168.125.6",
}  # fmt: skip
_TLS = f"{{certFile: {ROOT}/tests/data/tls/cert.pem, keyFile: {ROOT}/tests/data/tls/key.pem}}"
_ROUTES = {"host-1": ("192.168.123.1", "192.168.100.0/24"), "host-2": (OVERLAY_2, "192.168.200.0/24")}
_LOSS = "table ip loss { chain c { type filter hook input priority 0; udp sport 8444 numgen random mod 100 < 7 drop; }; }"
"""Of datagrams to clients 7 % are lost: more than 2 %, and not so many that they are given up."""


def config() -> str:
    """The hub's configuration."""
    routes = [(prefix, name) for name, found in _ROUTES.items() for prefix in found]
    routes += [(address, name) for name, address in ADDRESSES.items()]
    lines = "\n".join(f"  - {{dst: {prefix}, gateway: {name}}}" for prefix, name in routes)
    handler = "{type: router, metadata: {router: router-0, domain: all, keepalive.timeout: 60s}}"
    return f"""\
services:
- name: service-0
  addr: :8443
  handler: {handler}
  listener: {{type: tcp}}
- name: over-tls
  addr: :8444
  handler: {handler}
  listener: {{type: tls, tls: {_TLS}}}
routers:
- name: router-0
  routes:
{lines}
- name: {NAMESPACE_1}
  title: Bakery
  routes: [{{dst: 192.168.126.1, gateway: mine}}]
- name: {NAMESPACE_2}
  title: Shipyard
  routes: [{{dst: 192.168.127.0/24, gateway: theirs}}]
api:
  addr: 127.0.0.1:18080
  users:
  - {{username: {ADMIN}, password: {PASSWORD}}}
  - {{username: {VIEWER}, password: {PASSWORD}, role: viewer}}
  - {{username: {TENANT}, password: {PASSWORD}, role: tenant, namespace: {NAMESPACE_1}}}
"""


def row(name: str) -> str:
    """A script: the row of a host, when it is there."""
    return f"[...document.querySelectorAll('.rows .tr')].find((one) => one.querySelector('.name')?.textContent === '{name}')"


class Stage:
    """The hub with its hosts, and a browser in the hub's namespace; all tests share it."""

    def __init__(self, topology: Topology, place: Path, stack: ExitStack) -> None:
        """Start everything; `stack` ends it."""
        self.topology, self._stack = topology, stack
        self.config = place / "hub.yml"
        self.config.write_text(config())
        start_hub(topology.hub, "-C", str(self.config)).wait_line("web API on 127.0.0.1:18080")
        one = host(1, HUB_TO_HOST_1, extra="&route=192.168.125.0/24")
        self.clients = {
            "host-1": start_client(topology.host_1, *one),
            "host-2": start_client(topology.host_2, *host(2, HUB_TO_HOST_2)),
        }
        self._third = stack.enter_context(Namespace("host-3", place))
        connect(topology.hub, "to-host-3", f"{HUB_TO_HOST_3}/24", self._third, "uplink", "10.77.3.2/24")
        self._sockets: dict[str, socket.socket] = {}
        self.join("mine", namespace=NAMESPACE_1)
        self.join("theirs", namespace=NAMESPACE_2)
        reach(topology.host_1, OVERLAY_2)
        self.browser = Chromium(place / "profile", ("ip", "netns", "exec", topology.hub.name))
        stack.callback(self.browser.close)

    def open(self, view: str, user: str = ADMIN) -> Tab:
        """The page at a view, in a tab of its own, for a user who has logged in."""
        tab = self.browser.open(f"{URL}#/{view}")
        tab.type("[name=user]", user)
        tab.type("[name=password]", PASSWORD)
        tab.press("Enter")
        tab.wait("document.getElementById('who').textContent")
        return tab

    def join(
        self, name: str, where: Namespace | None = None, namespace: str = "", receive: int = 0
    ) -> socket.socket:
        """A session of a host that is no more than a socket; without `where` it is in host-1's namespace."""
        where = where or self.topology.host_1
        hub = HUB_TO_HOST_1 if where is self.topology.host_1 else HUB_TO_HOST_2
        number = parse_uuid(namespace) if namespace else NO_NAMESPACE
        with in_namespace(where.name):
            sock, _ = joined((hub, 8443), Request(name, ADDRESSES.get(name, ""), number), receive=receive)
        self._stack.callback(sock.close)
        self._sockets[name] = sock
        return sock

    def client(self, name: str, hub: str, extra: str = "") -> Process:
        """A client with a device, in a namespace beside those of host-1 and host-2."""
        listen = f"tun:///{name}?net={ADDRESSES[name]}/32&name={name}{extra}"
        return start_client(self._third, "-L", listen, "-F", hub)

    def more_hosts(self) -> None:
        """Let those join that break later; all of them are well."""
        self.clients["leaves"] = self.client("leaves", f"router://{HUB_TO_HOST_3}:8443")
        over_tls = f"router+tls://{HUB_TO_HOST_3}:8444"
        self.clients["lossy"] = self.client("lossy", over_tls, "&route=192.168.123.0/24")
        for name in ("drops", "twice", "flaps"):
            self.join(name)
        self.join("stands", receive=4096)

    def break_all(self) -> None:
        """Break each of them in its way."""
        self.clients["leaves"].send(signal.SIGKILL)
        self._sockets["drops"].sendall(frame(udp(ADDRESSES["drops"], NOWHERE, b"x")))
        for _ in range(3):
            self._sockets["flaps"].close()
            self.join("flaps")
        self.topology.host_1.popen("ping", "-q", "-i0.02", "-s1300", ADDRESSES["stands"])
        self._third.run("nft", _LOSS)  # at the hub the kernel would say that nothing goes out
        self.topology.host_1.popen("ping", "-q", "-i0.05", ADDRESSES["lossy"])
        self._stay_alive(self._sockets["twice"], self.join("twice", self.topology.host_2))

    def _stay_alive(self, *sockets: socket.socket) -> None:
        """Send a packet by each of them again and again, until the end."""
        ended, packet = threading.Event(), frame(udp(ADDRESSES["twice"], OVERLAY_2, b"x"))

        def run() -> None:
            while not ended.wait(0.3):
                for sock in sockets:
                    with suppress(OSError):  # the hub has closed
                        sock.sendall(packet)

        thread = threading.Thread(target=run)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(ended.set)

"""Hubs behind nginx, HAProxy, Caddy and stunnel, as Debian ships them, and clients that go out through squid.

The configurations are those of packaging/docs/recipes.md, with other ports and with time-outs of 3 s.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HOST_1, HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.page import DOCS, blocks
from tests.support.program import needs_gost, pings, start, start_client, start_gost, start_hub
from tests.support.tls import Authority

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.needs_root]

Write = Callable[[str, str], str]
TIME_OUT = 3
"""Seconds after which each proxy ends a connection on which nothing passes."""
PROGRAMS = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "stunnel4": "stunnel4",
    "squid": "squid",
}
"""Program -> its package in Debian."""
PORTS = {
    "nginx": 4431,
    "haproxy": 4432,
    "haproxy-tcp": 4433,
    "caddy": 4434,
    "stunnel": 4435,
    "slow-stunnel": 4436,
}
SQUID_PORT, SLOW_TCP = 3128, 8083

HUB = """\
services:
- {{name: ws, addr: "127.0.0.1:8080", handler: {handler}, listener: {{type: ws, metadata: {{path: /tunnel}}}}}}
- {{name: tcp, addr: ":8081", handler: {handler}, listener: {{type: tcp}}}}
- {{name: wss, addr: "127.0.0.1:8443", handler: {handler},
   listener: {{type: wss, tls: {{certFile: {own.cert}, keyFile: {own.key}}}, metadata: {{path: /tunnel}}}}}}
- {{name: slow, addr: "127.0.0.1:8082", handler: {slow}, listener: {{type: ws, metadata: {{path: /tunnel}}}}}}
- {{name: slow-tcp, addr: ":8083", handler: {slow}, listener: {{type: tcp}}}}
routers:
- name: table
  routes:
"""
HANDLER = "{{type: router, metadata: {{router: table, domain: d, trustedProxies: [127.0.0.1], keepalive.timeout: {}}}}}"
SQUID = """\
http_port 3128
acl hub port {ports}
http_access allow CONNECT hub
http_access deny all
cache deny all
cache_log /dev/null
access_log none
pid_filename none
netdb_filename none
read_timeout {seconds} seconds
visible_hostname proxy.test
"""


@pytest.fixture(autouse=True)
def installed() -> None:
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if missing:
        pytest.skip(f"`make tools-test` as root installs them: {' '.join(missing)} missing")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Front:
    """The proxies of one hub's machine, with the certificate of www.example.org."""

    def __init__(self, machine: Namespace, directory: Path, authority: Authority) -> None:
        self._machine, self._directory = machine, directory
        site = authority.issue("www.example.org", file="site")
        both = directory / "site-both.pem"
        both.write_text(Path(site.cert).read_text() + Path(site.key).read_text())

    def start(self, place: str, *argv: str, **changed: str) -> Process:
        """Start a proxy with a file out of the recipes. `changed` is texts in it and what stands there instead."""
        heading = "On port 443 beside a web site" if place == "hub" else None
        (block,) = (
            block
            for block in blocks(DOCS / "recipes.md", heading or "")
            if block.kind == "file" and block.place == place and block.name != "hub.yml"
        )
        text = block.text
        for old, new in changed.items():
            assert old in text, f"{block.name} has no {old!r}"
            text = text.replace(old, new)
        directory = self._directory / place
        directory.mkdir()
        for pem in self._directory.glob("site*.pem"):
            shutil.copy(pem, directory)
        (directory / block.name).write_text(text)
        return self._machine.popen("sh", "-c", f"cd {directory} && exec {' '.join(argv)}")


def start_nginx(front: Front) -> None:
    upgrade = (
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
    )
    more = (
        f"proxy_read_timeout {TIME_OUT}s; proxy_send_timeout {TIME_OUT}s;\n"
        f"location = /again {{ proxy_pass https://127.0.0.1:8443/tunnel; {upgrade} }}\n"
        f"location = /slow {{ proxy_pass http://127.0.0.1:8082/tunnel; {upgrade} }}\n"
    )
    foreground = ("nginx", "-p", ".", "-c", "nginx.conf", "-g", "'daemon off; pid nginx.pid;'")
    changed = {"443 ssl": f"{PORTS['nginx']} ssl", "location / {": f"{more}location / {{"}
    front.start("hub", *foreground, **changed)


def start_all(front: Front) -> None:
    start_nginx(front)
    quick = {f"timeout {what}": f"timeout {what} {TIME_OUT}s #" for what in ("client", "server", "tunnel")}
    haproxy = ("haproxy", "-db", "-f", "haproxy.cfg")
    slow = "use_backend slow if { path /slow }\ndefault_backend site\n"
    slow += "backend slow\nhttp-request set-path /tunnel\nserver hub 127.0.0.1:8082"
    changed = {":443": f":{PORTS['haproxy']}", "default_backend site": slow}
    front.start("haproxy", *haproxy, **changed, **quick)
    del quick["timeout tunnel"]
    front.start("haproxy-tcp", *haproxy, **{":443": f":{PORTS['haproxy-tcp']}"}, **quick)
    caddy = ("env", "HOME=$PWD", "caddy", "run", "--adapter", "caddyfile", "--config", "Caddyfile")
    seconds = f"{TIME_OUT}s"
    times = f"timeouts {{\nread_header {seconds}\nread_body {seconds}\nwrite {seconds}\nidle {seconds}\n}}"
    options = f"{{\nadmin off\nauto_https disable_redirects\nservers {{\n{times}\n}}\n}}\n"
    front.start("caddy", *caddy, **{"www.example.org {": f"{options}www.example.org:{PORTS['caddy']} {{"})
    idle = f"TIMEOUTidle = {TIME_OUT}"
    slow = f"[slow]\naccept = {PORTS['slow-stunnel']}\nconnect = 8083\ncert = site.pem\nkey = site-key.pem\n{idle}"
    stunnel = {"= 443\n": f"= {PORTS['stunnel']}\n", "TIMEOUTidle = 43200": f"{idle}\n{slow}"}
    front.start("stunnel", "stunnel4", "stunnel.conf", **stunnel)


def listening(machine: Namespace, *ports: int) -> None:
    """Wait until somebody listens on each of these ports."""
    until = time.monotonic() + 15
    while True:
        said = machine.run("ss", "-Hltn")
        missing = [port for port in ports if f":{port} " not in said]
        if not missing:
            return
        assert time.monotonic() < until, f"nobody listens on {missing}\n{said}"
        time.sleep(0.05)


def hub_config(hosts: list[str], authority: Authority) -> str:
    """A hub with four listeners; host number N (from 1) has 10.200.0.N, and host-2 10.200.1.0/24."""
    own = authority.issue("tunnel.example.org", file="own")
    text = HUB.format(handler=HANDLER.format("3s"), slow=HANDLER.format("1h"), own=own)
    text += "  - {dst: 10.200.1.0/24, gateway: host-2}\n"
    for number, name in enumerate(hosts, 1):
        text += f"  - {{dst: 10.200.0.{number}, gateway: {name}}}\n"
    return text


def client_config(hosts: list[tuple[str, str, str, str]], ca: str) -> str:
    """All hosts in one process. A host is (name, hub's address, dialer type, path)."""
    services, chains = "services:\n", "chains:\n"
    for number, (name, hub, kind, path) in enumerate(hosts, 1):
        # With two lanes one may be there again before the other is cut off, and the session never ends.
        alive = "1h, lanes: 1" if name.startswith("slow") else "3s"
        services += (
            f"- {{name: {name}, handler: {{type: tun, chain: {name}, metadata: {{keepalive.timeout: {alive}}}}},"
            f" listener: {{type: tun, metadata: {{net: 10.200.0.{number}/32, route: 10.200.1.{number}/32}}}},"
            f" forwarder: {{nodes: [{{addr: {name}}}]}}}}\n"
        )
        server = "tunnel.example.org" if name == "haproxy-tcp" else "www.example.org"
        tls = f", tls: {{secure: true, caFile: {ca}, serverName: {server}}}" if kind != "tcp" else ""
        more = f", metadata: {{path: {path}, host: {server}}}" if kind == "wss" else ""
        dialer = f"{{type: {kind}{tls}{more}}}"
        squid = f"{{name: s, addr: '{HUB_TO_HOST_1}:{SQUID_PORT}', connector: {{type: http}}, dialer: {{type: tcp}}}}"
        hops = f"{{name: o, nodes: [{squid}]}}, " if name.endswith("squid") else ""
        node = f"{{name: n, addr: '{hub}', connector: {{type: router}}, dialer: {dialer}}}"
        chains += f"- {{name: {name}, hops: [{hops}{{name: h, nodes: [{node}]}}]}}\n"
    return services + chains


HOSTS = [
    ("nginx", PORTS["nginx"], "wss", "/tunnel"),
    ("nginx-https", PORTS["nginx"], "wss", "/again"),
    ("haproxy", PORTS["haproxy"], "wss", "/tunnel"),
    ("haproxy-tcp", PORTS["haproxy-tcp"], "wss", "/tunnel"),
    ("caddy", PORTS["caddy"], "wss", "/tunnel"),
    ("stunnel", PORTS["stunnel"], "tls", ""),
    ("squid", PORTS["nginx"], "wss", "/tunnel"),
    ("slow-nginx", PORTS["nginx"], "wss", "/slow"),
    ("slow-haproxy", PORTS["haproxy"], "wss", "/slow"),
    ("slow-stunnel", PORTS["slow-stunnel"], "tls", ""),
    ("slow-squid", SLOW_TCP, "tcp", ""),
]
NAMED = ("nginx", "haproxy", "caddy")
"""Hosts whose address the proxy names."""


def test_sessions_stay_behind_each_proxy_and_show_the_client_s_own_address(
    topology: Topology, write: Write, authority: Authority, tmp_path: Path
) -> None:
    names = [name for name, *_ in HOSTS]
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config(names, authority)))
    start_all(Front(topology.hub, tmp_path, authority))
    squid = write("squid.conf", SQUID.format(seconds=TIME_OUT, ports=f"{PORTS['nginx']} {SLOW_TCP}"))
    topology.hub.popen("squid", "-N", "-f", squid)
    listening(topology.hub, *PORTS.values(), SQUID_PORT, SLOW_TCP, 8080, 8081, 8082, 8443)
    hosts = [(name, f"{HUB_TO_HOST_1}:{port}", kind, path) for name, port, kind, path in HOSTS]
    client = start(topology.host_1, "-C", write("client.yml", client_config(hosts, authority.ca.cert)))
    for name in names:
        client.wait_line(rf"{name}: connected to", timeout=20)
    sources = ",".join(f"10.200.1.{number}/24" for number in range(1, len(HOSTS) + 1))
    listen = f"tun:///host-2?net={sources}&route=10.200.0.0/24"
    start_client(topology.host_2, "-L", listen, "-F", f"router://{HUB_TO_HOST_2}:8081")
    slow = {name for name in names if name.startswith("slow")}  # may be away at any moment
    lasting = [name for name in names if name not in slow]
    _answer(topology, lasting, hub)
    time.sleep(TIME_OUT + 1)  # nothing but keepalive passes for so long

    # the time-outs are there: who has set no keepalive below them has been cut off
    for name in slow:
        hub.wait_line(rf"\({name}\) left")
    assert set(re.findall(r"\((\S+)\) left", hub.text())) == slow, hub.text()
    _answer(topology, lasting, hub)
    text = hub.text()
    for name in NAMED:
        assert re.search(rf"{HOST_1}:0 \(through 127\.0\.0\.1:\d+\) is host {name} ", text), name
    for name in ("nginx-https", "haproxy-tcp", "stunnel"):  # these name nobody
        assert re.search(rf" 127\.0\.0\.1:\d+ is host {name} ", text), name
    assert re.search(rf"{HUB_TO_HOST_1}:0 \(through 127\.0\.0\.1:\d+\) is host squid ", text), (
        "as nginx sees it"
    )


@needs_gost
def test_a_gost_client_stays_behind_nginx_if_it_sends_pings(
    topology: Topology, write: Write, authority: Authority, tmp_path: Path
) -> None:
    hub = start_hub(topology.hub, "-C", write("hub.yml", hub_config(["pings", "silent"], authority)))
    start_nginx(Front(topology.hub, tmp_path, authority))
    listening(topology.hub, PORTS["nginx"], 8080)
    for number, (name, query) in enumerate({"pings": "&keepalive=true&ttl=1s", "silent": ""}.items(), 1):
        listen = f"tun:///{name}?net=10.200.0.{number}/32"
        way = f"router+wss://{HUB_TO_HOST_1}:{PORTS['nginx']}?path=/tunnel{query}"
        start_gost(topology.host_1, "-L", listen, "-F", way)
        hub.wait_line(rf"{HOST_1}:0 \(through .*\) is host {name} ")
    hub.wait_line(r"\(silent\) left")
    assert "(pings) left" not in hub.text()


def _answer(topology: Topology, names: list[str], hub: Process) -> None:
    """Ping everybody from host-2, which comes to the hub without a proxy."""
    for number, (name, *_) in enumerate(HOSTS, 1):
        if name in names:
            source = f"10.200.1.{number}"
            assert pings(topology.host_2, f"10.200.0.{number}", 2, "-I", source) == 2, f"{name}\n{hub.text()}"

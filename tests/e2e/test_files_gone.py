"""A hub and a client from which somebody takes the program's files while they run: a cleaner of /tmp, an upgrade."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.test_metrics import get
from tests.e2e.test_plugins_grpc import start_plugin as start_grpc_plugin
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import reach, run, start, start_plugin
from tests.support.redis_server import Redis, needs_redis
from tests.support.tls import Authority
from tests.support.vanishing import Vanishing

Write = Callable[[str, str], str]

HUB = """\
services:
- {{name: asking, addr: ':8441', handler: {{type: router, auther: team, metadata: {{router: grpc}}}}}}
- {{name: reading, addr: ':8442', handler: {{type: router, metadata: {{router: sources}}}},
   listener: {{type: wss, tls: {tls}}}}}
- {{name: requesting, addr: ':8443', handler: {{type: router, metadata: {{router: http}}}},
   listener: {{type: tls, tls: {tls}}}}}
- {{name: plain, addr: ':8444', handler: {{type: router, metadata: {{router: inline}}}}, listener: {{type: ws}}}}
routers:
- {{name: grpc, plugin: {{addr: '127.0.0.1:8001', timeout: 2s}}}}
- {{name: sources, file: {{path: {rows}}}, redis: {{addr: '{redis}', key: r}}, http: {{url: 'http://127.0.0.1:8088/rows'}}}}
- {{name: http, plugin: {{type: http, addr: 'http://127.0.0.1:8000/', timeout: 2s}}}}
- {{name: inline, routes: [{{net: 10.4.0.1/32, gateway: host-1}}, {{net: 10.4.0.2/32, gateway: host-2}}]}}
authers: [{{name: team, plugin: {{addr: '127.0.0.1:8001', timeout: 2s}}}}]
recorder: 1MB
metrics: {{addr: '127.0.0.1:9100'}}
"""
MORE = """\
services: [{name: more, addr: ':8445', handler: {type: router, metadata: {router: more}}}]
routers: [{name: more, file: {path: /nonexistent}}]
"""
TRANSPORTS = ("tcp", "wss", "tls", "ws")
"""Of the hub's services 1 to 4; each has a network of its own, 10.N.0.0/24."""


def client_config(number: int, hub: str) -> str:
    """A client of all four services, in one process."""
    services, chains = [], []
    for index, kind in enumerate(TRANSPORTS, 1):
        login = "{username: one, password: '1'}"
        services.append(
            f"- name: s{index}\n"
            f"  handler: {{type: tun, chain: c{index}}}\n"
            f"  listener: {{type: tun, metadata: {{net: 10.{index}.0.{number}/24}}}}\n"
            f"  forwarder: {{nodes: [{{name: h, addr: host-{number}}}]}}\n"
        )
        chains.append(
            f"- name: c{index}\n"
            f"  hops: [{{name: h, nodes: [{{name: n, addr: '{hub}:844{index}', "
            f"connector: {{type: router{f', auth: {login}' if index == 1 else ''}}}, dialer: {{type: {kind}}}}}]}}]\n"
        )
    return f"services:\n{''.join(services)}chains:\n{''.join(chains)}"


def helpers(hub: Namespace, tmp_path: Path) -> tuple[Redis, Process]:
    """Plugins over HTTP and gRPC, a Redis and a web server; each has the routes of one service."""
    start_plugin(hub, routes={"*": {"10.3.0.1": "host-1", "10.3.0.2": "host-2"}})
    grpc = start_grpc_plugin(
        hub, routes={"*": {"10.1.0.1": "host-1", "10.1.0.2": "host-2"}}, logins={"one": "1"}
    )
    redis = Redis(hub)
    redis.start()
    redis.do("HSET", "r", "10.2.0.1", "host-1")
    web = tmp_path / "web"
    web.mkdir()
    (web / "rows").write_text("10.2.0.9 host-9\n")
    server = hub.popen(sys.executable, "-m", "http.server", "8088", "--bind", "127.0.0.1", "-d", str(web))
    server.wait_line("Serving")
    return redis, grpc


@needs_redis
def test_every_feature_works_when_the_program_s_files_have_gone(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    """Nothing is imported any more once a process serves: what it can need is there before."""
    redis, _ = helpers(topology.hub, tmp_path)
    own = Authority(tmp_path).issue("hub.test")
    rows = write("rows", "")
    text = HUB.format(tls=f"{{certFile: {own.cert}, keyFile: {own.key}}}", rows=rows, redis=redis.addr)
    control = ("--control", str(tmp_path / "hub.sock"))

    # The client's files go before it has connected once, the hub's before anybody has.
    client_files, hub_files = Vanishing(tmp_path / "client"), Vanishing(tmp_path / "hub")
    client = client_files.start(topology.host_1, "-C", write("client.yml", client_config(1, HUB_TO_HOST_1)))
    for index in range(1, 5):
        client.wait_line(f"service s{index}: .*(refused|in \\d)")
    client_files.vanish()
    hub = hub_files.start(topology.hub, *control, "-C", write("hub.yml", text))
    for name in ("asking", "reading", "requesting", "plain"):
        hub.wait_line(f"{name}.*listening on|listening on.*{name}")
    hub_files.vanish()

    # New clients over every transport; the routes are from both plugins, from Redis, a file, HTTP and inline.
    second = start(topology.host_2, "-C", write("second.yml", client_config(2, HUB_TO_HOST_2)))
    for index in range(1, 5):
        client.wait_line(f"service s{index}: connected to", timeout=30)
        second.wait_line(f"service s{index}: connected to", timeout=30)
    seen = hub.line_count()
    Path(rows).write_text("10.2.0.2 host-2\n")  # inotify tells
    hub.wait_line("router sources: ", after=seen)
    for index in range(1, 5):
        reach(topology.host_1, f"10.{index}.0.2")

    # Everything that can be asked.
    for words in (
        ("status",),
        ("drops",),
        ("routes",),
        ("explain", "--service", "plain", "--from", "host-1", "10.4.0.2"),
    ):
        status, said = run(*words, *control)
        assert status == 0, said
    hosts = [row["host"] for row in json.loads(run("status", "--json", *control)[1])["sessions"]]
    assert sorted(hosts) == ["host-1"] * 4 + ["host-2"] * 4
    # Commands that run for long lose their files too.
    watching = [
        (Vanishing(tmp_path / word), word, options, begins)
        for word, options, begins in (
            ("capture", ("-w", str(tmp_path / "a.pcapng"), "icmp"), "captur"),
            ("trace", ("icmp",), "tracing"),
            ("status", ("--watch",), "host-1"),
        )
    ]
    commands = {}
    for files, word, options, begins in watching:
        commands[word] = files.start(topology.hub, word, *control, *options)
        commands[word].wait_line(begins)
        files.vanish()
    seen = commands["status"].line_count()
    reach(topology.host_1, "10.4.0.2")
    commands["trace"].wait_line("10.4.0.2")
    commands["status"].wait_line("host-1", after=seen)
    assert commands["capture"].stop(signal.SIGINT) == 0
    for word in ("trace", "status"):
        commands[word].stop(signal.SIGINT)
    assert run("capture", *control, "--recorder", "-w", str(tmp_path / "r.pcapng"))[0] == 0
    assert "tunrouter_sessions" in get(topology.hub)[1]
    hub.send(signal.SIGUSR1)
    hub.wait_line("dropped")

    # Reloads: rows of Redis, then a service that is new.
    redis.do("HSET", "r", "10.9.0.0/16", "host-2")
    seen = hub.line_count()
    hub.send(signal.SIGHUP)
    hub.wait_line("reload: ", after=seen)
    hub.wait_line("router sources: .*4 routes", after=seen)
    seen = hub.line_count()
    write("hub.yml", text.replace("services:\n", "services:\n- " + MORE.splitlines()[0][11:-1] + "\n", 1)
          .replace("routers:\n", "routers:\n- " + MORE.splitlines()[1][10:-1] + "\n", 1))  # fmt: skip
    hub.send(signal.SIGHUP)
    hub.wait_line("service more: added", after=seen)

    # The end of a session and of both processes.
    seen = client.line_count()
    assert run("kick", *control, "--service", "reading", "host-1")[0] == 0
    client.wait_line("service s2: connected to", after=seen, timeout=20)
    assert run("drain", *control, "--service", "plain", "host-2")[0] == 0
    assert client.stop() == 0
    assert hub.stop() == 0
    for process in (client, hub, *commands.values()):
        assert "Traceback" not in process.text()
        assert "gone" not in process.text(), process.text()
        assert "must not happen" not in process.text()

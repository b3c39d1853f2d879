"""Sources: files, a real Redis, HTTP; what happens when they change, fail, and come back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import (
    NAMESPACE_1,
    OVERLAY_1,
    OVERLAY_2,
    host,
    pings,
    reach,
    start,
    start_client,
    start_hub,
)
from tests.support.redis_server import Redis, needs_redis

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]

HUB = """\
services:
  - name: service-0
    addr: :8443
    handler: {type: router%s, metadata: {router: router-0%s}}
    listener: {type: tcp}
"""
BOTH = f"{OVERLAY_1} host-1\n{OVERLAY_2} host-2\n"
PLAIN = HUB % ("", "")


def router(source: str) -> str:
    return f"{PLAIN}routers:\n  - name: router-0\n{source}"


def from_file(path: str) -> str:
    return f"    file: {{path: {path}}}\n"


def both(topology: Topology) -> None:
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))


def replace(path: str, text: str) -> None:
    """As editors do it: another file, moved into place."""
    Path(f"{path}~").write_text(text)
    os.replace(f"{path}~", path)


def rewrite(path: str, text: str) -> None:
    Path(path).write_text(text)


@pytest.mark.parametrize("edit", [rewrite, replace])
def test_an_edit_of_a_file_takes_effect_at_once(
    topology: Topology, write: Write, edit: Callable[[str, str], None]
) -> None:
    path = write("routes.txt", f"# nothing but\n{OVERLAY_1} host-1\n")
    hub = start_hub(topology.hub, "-C", write("hub.yml", router(from_file(path))))
    both(topology)
    assert pings(topology.host_1, OVERLAY_2) == 0
    edit(path, BOTH)
    hub.wait_line(r"router router-0: 2 routes \(\+1 ~0 -0\) with .*routes.txt", timeout=10)
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_a_bad_line_costs_one_warning_and_nothing_else(topology: Topology, write: Write) -> None:
    path = write("routes.txt", BOTH.replace("\n", "\nnonsense here\n", 1))
    hub = start_hub(topology.hub, "-C", write("hub.yml", router(from_file(path))))
    assert hub.text().count("routes.txt:2:1: not an address or CIDR: 'nonsense'; the line is left out") == 1
    both(topology)
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_a_file_that_goes_leaves_its_last_rows_and_one_that_comes_is_read(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    path = str(tmp_path / "later.txt")
    hub = start_hub(topology.hub, "-C", write("hub.yml", router(from_file(path))))
    hub.wait_line("later.txt: No such file or directory; it has no rows until it can be read")
    both(topology)
    rewrite(path, BOTH)
    hub.wait_line("later.txt is read again", timeout=20)
    reach(topology.host_1, OVERLAY_2)
    before = hub.line_count()
    os.unlink(path)
    hub.send(1)
    hub.wait_line("later.txt: No such file", after=before)
    assert pings(topology.host_1, OVERLAY_2) == 5


@needs_redis
@pytest.mark.parametrize("kind", ["hash", "set", "list"])
def test_redis_holds_routes(topology: Topology, write: Write, kind: str) -> None:
    redis = Redis(topology.hub)
    redis.start()
    for line in BOTH.splitlines():
        put = {"hash": ("HSET", "r", *line.split()), "set": ("SADD", "r", line), "list": ("RPUSH", "r", line)}
        redis.do(*put[kind])
    source = f"    redis: {{addr: '{redis.addr}', key: r, type: {kind}}}\n"
    start_hub(topology.hub, "-C", write("hub.yml", router(source)))
    both(topology)
    assert pings(topology.host_1, OVERLAY_2) == 5


@needs_redis
def test_a_restart_of_redis_is_survived(topology: Topology, write: Write) -> None:
    redis = Redis(topology.hub)
    redis.start()
    redis.do("HSET", "gost", OVERLAY_1, "host-1", OVERLAY_2, "host-2")
    source = f"    reload: 1s\n    redis: {{addr: '{redis.addr}'}}\n"
    hub = start_hub(topology.hub, "-C", write("hub.yml", router(source)))
    both(topology)
    redis.stop()
    hub.wait_line("router router-0: redis://.*its last good rows stay")
    assert pings(topology.host_1, OVERLAY_2) == 5
    redis.start()
    redis.do("HSET", "gost", OVERLAY_1, "host-1", OVERLAY_2, "host-2", "10.9.0.0/16", "host-2")
    hub.wait_line("router router-0: redis://.* is read again", timeout=15)
    hub.wait_line(r"router router-0: 3 routes", timeout=15)
    assert pings(topology.host_1, OVERLAY_2) == 5


def test_http_and_the_order_of_sources(topology: Topology, write: Write, tmp_path: Path) -> None:
    """The file's row for host-2 stands before the one that HTTP has."""
    (tmp_path / "web").mkdir()
    served = tmp_path / "web" / "routes"
    served.write_text(f"{OVERLAY_1} host-1\n{OVERLAY_2} host-9\n")
    server = topology.hub.popen(
        *(sys.executable, "-m", "http.server", "8088", "--bind", "127.0.0.1", "-d", str(served.parent))
    )
    server.wait_line("Serving HTTP")
    path = write("routes.txt", f"{OVERLAY_2} host-2\n")
    source = from_file(path) + "    reload: 1s\n    http: {url: 'http://127.0.0.1:8088/routes'}\n"
    hub = start_hub(topology.hub, "-C", write("hub.yml", router(source)))
    both(topology)
    assert pings(topology.host_1, OVERLAY_2) == 5
    rewrite(path, "")
    hub.wait_line(r"routes.txt: it has no rows any more .*its last good rows stay")
    assert pings(topology.host_1, OVERLAY_2) == 5
    before = hub.line_count()
    rewrite(path, "# tunrouter: empty\n")
    hub.wait_line(r"with .*routes.txt", after=before)
    assert pings(topology.host_1, OVERLAY_2) == 0
    rewrite(str(served), BOTH)
    hub.wait_line(r"\+0 ~1 -0\) with http://", timeout=20)
    assert pings(topology.host_1, OVERLAY_2) == 5
    rewrite(str(served), "")
    server.stop()
    hub.wait_line("http://127.0.0.1:8088/routes.*its last good rows stay", timeout=20)


def test_an_ingress_file_lets_in_and_puts_out(topology: Topology, write: Write) -> None:
    path = write("ingress.txt", f"host-1 {NAMESPACE_1}\n*.x {NAMESPACE_1} # wildcard\n")
    text = (
        HUB % ("", ", ingress: i")
        + f"routers:\n  - {{name: router-0}}\n  - name: {NAMESPACE_1}\n    routes:\n"
    )
    text += "".join(
        f"      - {{dst: {overlay}, gateway: host-{n}}}\n" for n, overlay in ((1, OVERLAY_1), (2, OVERLAY_2))
    )
    text += f"ingresses:\n  - name: i\n    file: {{path: {path}}}\n"
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    second = start(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
    second.wait_line("refused: host unreachable")
    rewrite(path, f"host-1 {NAMESPACE_1}\nhost-2 {NAMESPACE_1}\n")
    second.wait_line("connected to", timeout=20)
    assert pings(topology.host_1, OVERLAY_2) == 5
    rewrite(path, f"host-1 {NAMESPACE_1}\n")
    hub.wait_line(r"host-2 \(.*\) is no longer let in")
    assert "host-1 (" not in "".join(line for line in hub.text().splitlines() if "no longer" in line)


@needs_redis
def test_a_redis_that_comes_back_empty_keeps_everybody_and_a_key_that_goes_nobody(
    topology: Topology, write: Write
) -> None:
    """Routes stay in both cases. Logins go with their key, which is how the last one is taken away."""
    redis = Redis(topology.hub)
    redis.start()
    at = f"addr: '{redis.addr}'"
    text = HUB % (", auther: a", "") + "routers:\n  - name: router-0\n    reload: 1s\n"
    text += f"    redis: {{{at}, key: r, type: set}}\n"
    text += f"authers:\n  - {{name: a, reload: 1s, redis: {{{at}, key: a}}}}\n"

    def fill() -> None:
        redis.do("SADD", "r", *BOTH.splitlines())
        redis.do("HSET", "a", "user", "pass")

    fill()
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *login(1, HUB_TO_HOST_1, "user:pass"))
    start_client(topology.host_2, *login(2, HUB_TO_HOST_2, "user:pass"))
    redis.stop()
    redis.start()
    hub.wait_line(
        "auther a: redis://.*/a: it has no rows any more, and its server was started again", timeout=20
    )
    hub.wait_line("router router-0: redis://.*/r: it has no rows any more", timeout=20)
    assert pings(topology.host_1, OVERLAY_2) == 5
    fill()
    for table in ("auther a", "router router-0"):
        hub.wait_line(f"{table}: redis://.* is read again", timeout=20)
    after = hub.line_count()
    redis.do("DEL", "r")
    hub.wait_line("router router-0: redis://.*/r: it has no rows any more", timeout=20, after=after)
    assert pings(topology.host_1, OVERLAY_2) == 5
    redis.do("DEL", "a")
    hub.wait_line("auther a: 0 rows with redis://", timeout=20)
    hub.wait_line(r"host-2 \(.*\) is no longer let in", timeout=20)
    redis.do("SADD", "r", "# tunrouter: empty")
    hub.wait_line(r"router router-0: 0 routes \(\+0 ~0 -2\)", timeout=20)


LOGIN = "router://{login}@{hub}:8443"


def login(number: int, hub: str, name: str) -> tuple[str, ...]:
    return ("-L", f"tun:///host-{number}?net=192.168.123.{number}/24", "-F", f"router://{name}@{hub}:8443")


@needs_redis
@pytest.mark.parametrize("source", ["file", "redis", "inline", "auth"])
def test_authers(topology: Topology, write: Write, source: str) -> None:
    routes = f"routers:\n  - name: router-0\n    routes:\n      - {{dst: {OVERLAY_1}, gateway: host-1}}\n      - {{dst: {OVERLAY_2}, gateway: host-2}}\n"
    text = HUB % (", auther: a", "") + routes + "authers:\n  - name: a\n"
    if source == "file":
        text += f"    file: {{path: {write('auth.txt', 'user pass # word%n# a comment%nempty%n'.replace('%n', chr(10)))}}}\n"
    elif source == "redis":
        redis = Redis(topology.hub)
        redis.start()
        redis.do("HSET", "a", "user", "pass # word", "empty", "")
        text += f"    redis: {{addr: '{redis.addr}', key: a}}\n"
    elif source == "inline":
        text += "    auths:\n      - {username: user, password: 'pass # word'}\n      - {username: empty}\n"
    else:
        text = HUB % (", auth: {username: user, password: 'pass # word'}", "") + routes
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *login(1, HUB_TO_HOST_1, "user:pass%20%23%20word"))
    for wrong in ("user:pass", "empty:", "nobody:x"):
        refused = start(topology.host_2, *login(2, HUB_TO_HOST_2, wrong))
        refused.wait_line("refused: unauthorized")
        refused.stop()
    refused = start(topology.host_2, *host(2, HUB_TO_HOST_2))
    refused.wait_line("refused: unauthorized")
    refused.stop()
    hub.wait_line("host 'host-2' refused: no login was given")
    start_client(topology.host_2, *login(2, HUB_TO_HOST_2, "user:pass%20%23%20word"))
    assert pings(topology.host_1, OVERLAY_2) == 5


@needs_redis
def test_logins_and_their_bindings_in_redis(topology: Topology, write: Write) -> None:
    """One name may be host-1 only; when its binding goes, its session goes, and the other stays."""
    redis = Redis(topology.hub)
    redis.start()
    at = f"addr: '{redis.addr}'"
    text = HUB % (", auther: a", "") + "routers: [{name: router-0}]\nauthers:\n- name: a\n"
    text += f"  redis: {{{at}, key: logins}}\n"
    text += f"  bindings: {{reload: 1s, redis: {{{at}, key: bindings, type: set}}}}\n"
    redis.do("HSET", "logins", "one", "pass word", "two", "pass")
    redis.do("SADD", "bindings", "one host-1", f"two host-2 {NAMESPACE_1}", "two host-2 none")
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    hub.wait_line(
        r"bindings a: redis://.*/bindings:3:1: the namespace 'none' is no UUID; the line is left out"
    )
    start_client(topology.host_1, *login(1, HUB_TO_HOST_1, "one:pass%20word"))
    other = start(topology.host_2, *login(2, HUB_TO_HOST_2, "two:pass"))
    other.wait_line("refused: forbidden")
    redis.do("SADD", "bindings", "two host-2")
    other.wait_line("connected to", timeout=20)
    redis.do("SREM", "bindings", "one host-1")
    hub.wait_line(r"host-1 \(.*\) is no longer let in: no binding of the login 'one' is known", timeout=20)
    assert "host-2 (" not in "".join(line for line in hub.text().splitlines() if "no longer" in line)


def test_nobody_is_let_in_while_the_auther_has_not_been_read(topology: Topology, write: Write) -> None:
    """Its only source takes its time: until it has answered, nobody can say who may come in."""
    slow = topology.hub.popen(
        "python3",
        "-c",
        "import socket,time\ns=socket.create_server(('127.0.0.1',8089))\nprint('up',flush=True)\nc=s.accept()\ntime.sleep(60)",
    )
    slow.wait_line("up")
    text = (
        HUB % (", auther: a", "")
        + "routers:\n  - {name: router-0}\nauthers:\n  - name: a\n    http: {url: 'http://127.0.0.1:8089', timeout: 60s}\n"
    )
    start_hub(topology.hub, "-C", write("hub.yml", text))
    client = start(topology.host_1, *login(1, HUB_TO_HOST_1, "user:pass"))
    client.wait_line("refused: service unavailable")


@needs_redis
@pytest.mark.parametrize("kind", ["hash", "set"])
def test_an_ingress_in_redis(topology: Topology, write: Write, kind: str) -> None:
    redis = Redis(topology.hub)
    redis.start()
    if kind == "hash":
        redis.do("HSET", "doors", "host-1", NAMESPACE_1)
    else:
        redis.do("SADD", "doors", f"host-1 {NAMESPACE_1}")
    text = HUB % ("", ", ingress: i") + f"routers: [{{name: router-0}}, {{name: {NAMESPACE_1}}}]\n"
    text += f"ingresses: [{{name: i, redis: {{addr: '{redis.addr}', key: doors, type: {kind}}}}}]\n"
    start_hub(topology.hub, "-C", write("hub.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
    start(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1)).wait_line("refused: host unreachable")

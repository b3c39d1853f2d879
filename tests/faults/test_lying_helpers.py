"""Helpers that lie, asked by a real hub, while two hosts ping each other: no ping waits, and the truth counts again.

Every lie of tests/support/liars in turn; in the short form an endless one and an odd one of each protocol.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Note
from tests.faults.test_faults import SOURCED, Write, network, pinging
from tests.support import lying_names
from tests.support.liars import LIES
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, in_namespace
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    program_pid,
    reach,
    run,
    start_client,
    start_hub,
)

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.alone]

LONGEST_MS = 30.0
UNDISTURBED_MS = 10.0
ATTEMPTS = 3
SECONDS = 6.0
"""How long a source lies each time, at most."""
STAY = "its last good rows stay"
FAILED = f"router r: .*{STAY}"
MEMORY_MB = 400
"""A table's text may be 256 MB, and a source that lies may make us hold as much before we know."""
SHORT = {
    "http-source": ("interim answers for ever", "a redirect to nonsense"),
    "redis": ("lists in lists for ever", "a number"),
    "http-plugin": ("interim answers for ever", "a redirect to nonsense"),
    "grpc": ("ping acknowledgements for ever", "empty frames for ever"),
    "http-ok": ("interim answers for ever", "ok that is a text"),
    "grpc-ok": ("empty frames for ever", "no room for a request"),
}
SOURCES = {
    "http-source": "http: {url: 'http://127.0.0.1:8099/', timeout: 1s}",
    "redis": "redis: {addr: '127.0.0.1:8099'}",
}
PLUGINS = {
    "http-plugin": "plugin: {type: http, addr: 'http://127.0.0.1:8099', timeout: 1s}",
    "grpc": "plugin: {type: grpc, addr: '127.0.0.1:8099', timeout: 1s}",
}
TELLERS = {"http-ok": PLUGINS["http-plugin"], "grpc-ok": PLUGINS["grpc"]}
ASKED = """\
services:
- name: service-0
  addr: ":8443"
  admission: a
  observer: o
  metadata: {{enableStats: true, observer.period: 1s}}
  handler: {{type: router, observer: o, metadata: {{router: router-0, observer.period: 1s}}}}
  listener: {{type: tcp}}
admissions: [{{name: a, {plugin}}}]
observers: [{{name: o, {plugin}}}]
"""
WHOLE = {("http-source", "trailers for ever")}
"""Cut off there, it is a whole answer without rows (RFC 9112, 8), and a source is believed what it says."""
NAMES_SHORT = ("truncated, a byte now and then over TCP", "wrong numbers for ever")
NAMES = """\
services:
- {name: service-0, addr: ":8443", handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}
routers:
- {name: r, reload: 1s, http: {url: 'http://source.test:8099/', timeout: 1s}}
- {name: r-other, reload: 1s, http: {url: 'http://other.test:8099/', timeout: 1s}}
"""
CACHED = "metadata: {router: r, router.cache.expiration: 1h}"


@dataclass
class Stage:
    """A process that asks a liar, two hosts whose packets it passes on, and the liar's mood."""

    hub: Process
    mood: Path
    host_1: Namespace
    control: str

    def memory(self) -> int:
        """The most the hub has held, in MB."""
        status = Path(f"/proc/{program_pid(self.hub)}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) >> 10


def stage(topology: Topology, write: Write, protocol: str, text: str) -> Stage:
    mood = Path(write("mood", "good"))
    liar = topology.hub.popen(sys.executable, "-m", "tests.support.liars", protocol, "8099", str(mood))
    liar.wait_line("liar ready")
    control = write("control", "")
    Path(control).unlink()
    programs = network(topology, write, text, "--control", control)
    for program in programs:  # what others do on this machine meanwhile is not what is measured
        os.setpriority(os.PRIO_PROCESS, program_pid(program), -15)
    os.setpriority(os.PRIO_PROCESS, liar.pid, 19)
    return Stage(programs[0], mood, topology.host_1, control)


def chosen(protocol: str, short: bool) -> tuple[str, ...]:
    return SHORT[protocol] if short else tuple(lie for lie in LIES[protocol] if (protocol, lie) not in WHOLE)


Tell = Callable[[str], float]
"""Has the helper tell a lie and then the truth; returns how long the truth took to be believed, in seconds."""


def judge(on: Stage, lies: Sequence[str], tell: Tell, note: Note, who: tuple[str, str]) -> None:
    """Let every lie be told while two hosts ping each other; where pings are slow, again: is it the lie?"""
    back, sent, longest = 0.0, 0.0, 0.0
    unjudged: list[str] = []
    for lie in lies:
        slow: list[float] = []
        for _ in range(ATTEMPTS):
            with pinging(on.host_1, OVERLAY_2) as result:
                back = max(back, tell(lie))
            assert result[1] == 0, lie
            sent += result[0]
            if result[2] <= LONGEST_MS:
                longest = max(longest, result[2])
                break
            with pinging(on.host_1, OVERLAY_2) as quiet:
                time.sleep(3)
            slow += [result[2]] if quiet[2] <= UNDISTURBED_MS else []
        else:
            assert len(slow) < ATTEMPTS, f"{lie}: pings took {slow} ms, and none without it"
            unjudged.append(lie)
    if unjudged:
        pytest.skip(f"others keep this machine busy: pings wait without any lie, too; not judged: {unjudged}")
    memory = on.memory()
    assert memory < MEMORY_MB
    note(
        *who,
        f"believed again at most {back:.1f} s after a lie",
        f"0 of {sent:.0f} pings, the longest {longest:.0f} ms; the process held {memory} MB at most",
    )


def one_by_one(protocol: str, lies: Sequence[str]) -> tuple[str, str]:
    return f"{protocol} lies in {len(lies)} ways, one after the other", "its table, said once for each"


def source_tells(on: Stage, goes_on: bool = False) -> Tell:
    """A source that is read every second lies: its table says so once, and what it has stays.

    With `goes_on` the source may as well be read all the time as if nothing had been said.
    """

    def tell(lie: str) -> float:
        after = on.hub.line_count()
        on.mood.write_text(lie)
        try:
            on.hub.wait_line(FAILED, after=after, timeout=SECONDS / 2 if goes_on else SECONDS)
        except AssertionError:  # or a lie that has not ended: the source has minutes for it, if bytes come
            if goes_on and read_seconds(on) < SECONDS / 3:
                on.mood.write_text("good")
                return 0.0
        began = time.monotonic()
        on.mood.write_text("good")
        on.hub.wait_line(FAILED, after=after, timeout=20)
        on.hub.wait_line("is read again", after=after, timeout=20)
        said = [line for line in on.hub.text().splitlines()[after:] if re.search(FAILED, line)]
        assert len([line for line in said if not re.search(r"(once more|more times) in", line)]) == 1, lie
        return time.monotonic() - began

    return tell


def status(on: Stage) -> dict[str, Any]:
    code, text = run("status", "--json", "--control", on.control)
    assert code == 0
    reply: dict[str, Any] = json.loads(text)
    return reply


def read_seconds(on: Stage) -> float:
    """How long ago the source of the first table was read."""
    [table, *_] = status(on)["tables"]
    return float(table["sources"][0]["read_s"])


def good_rows(on: Stage) -> dict[str, tuple[int, str]]:
    """Rows and last error of each table; a lie must not have been an error of ours."""
    reply = status(on)
    assert [row["failures"] for row in reply["tasks"]] == [0] * len(reply["tasks"])
    return {table["name"]: (table["rows"], table["sources"][0]["error"]) for table in reply["tables"]}


@pytest.mark.parametrize("protocol", SOURCES)
def test_a_source_that_lies(topology: Topology, write: Write, note: Note, short: bool, protocol: str) -> None:
    on = stage(topology, write, protocol, SOURCED.format(source=SOURCES[protocol]))

    lies = chosen(protocol, short)
    judge(on, lies, source_tells(on), note, one_by_one(protocol, lies))
    assert good_rows(on) == {"r": (2, "")}


@pytest.mark.parametrize("protocol", PLUGINS)
def test_a_plugin_that_lies(topology: Topology, write: Write, note: Note, short: bool, protocol: str) -> None:
    text = SOURCED.replace("  reload: 1s\n", "").format(source=PLUGINS[protocol])
    assert "metadata: {router: r}" in text
    on = stage(topology, write, protocol, text.replace("metadata: {router: r}", CACHED))
    numbers = count(10)

    def tell(lie: str) -> float:
        number = next(numbers)  # an address that the hub has not asked about
        ask = ("ping", "-c2", "-i0.2", "-W1", f"192.168.123.{number}")
        after = on.hub.line_count()
        on.mood.write_text(lie)
        on.host_1.run(*ask, check=False)
        on.hub.wait_line(f"router plugin: 192.168.123.{number}: ", after=after, timeout=20)
        began = time.monotonic()
        on.mood.write_text("good")
        while "replies again" not in "".join(on.hub.text().splitlines()[after:]):
            assert time.monotonic() - began < 20, lie
            on.host_1.run(*ask, check=False)
        return time.monotonic() - began

    lies = chosen(protocol, short)
    judge(on, lies, tell, note, one_by_one(protocol, lies))


def is_let_in(on: Stage, seconds: float) -> bool:
    """Whether somebody new may stay who connects to the hub and says nothing for so long."""
    with in_namespace(on.host_1.name):
        sock = socket.socket()
    with sock:
        sock.settimeout(seconds)
        sock.connect((HUB_TO_HOST_1, 8443))
        try:
            return bool(sock.recv(1))
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False


def errors_of_plugins(on: Stage) -> dict[str, str]:
    """Kind of a table -> what its plugin has done wrong at last; a lie must not have been an error of ours."""
    reply = json.loads(run("status", "--json", "--control", on.control)[1])
    assert [row["failures"] for row in reply["tasks"]] == [0] * len(reply["tasks"])
    return {row["kind"]: row["plugin"]["error"] for row in reply["tables"] if row["plugin"]}


@pytest.mark.parametrize("protocol", TELLERS)
def test_an_admission_and_an_observer_that_lie(
    topology: Topology, write: Write, note: Note, short: bool, protocol: str
) -> None:
    """Nobody new is let in meanwhile, who is here stays, and the observer is told all of it afterwards."""
    routes = example("server.yml").partition("routers:")
    on = stage(topology, write, protocol, ASKED.format(plugin=TELLERS[protocol]) + routes[1] + routes[2])

    def tell(lie: str) -> float:
        after = on.hub.line_count()
        on.mood.write_text(lie)
        assert not is_let_in(on, 4.0), lie
        on.hub.wait_line("observer o: not taken: events, which are told again", after=after, timeout=20)
        began = time.monotonic()
        on.mood.write_text("good")
        while any(errors_of_plugins(on).values()):
            assert time.monotonic() - began < 20, lie
            is_let_in(on, 0.2)
        said = [line for line in on.hub.text().splitlines()[after:] if "observer o: not taken" in line]
        assert len([line for line in said if not re.search(r"(once more|more times) in", line)]) == 1, lie
        return time.monotonic() - began

    lies = chosen(protocol, short)
    over = "HTTP" if protocol == "http-ok" else "gRPC"
    what = f"an admission and an observer over {over} lie in {len(lies)} ways, one after the other"
    judge(on, lies, tell, note, (what, "both, said once for each; nobody new is let in meanwhile"))
    assert errors_of_plugins(on) == {"admission": "", "observer": ""}
    assert on.hub.text().count("is host host-1") == on.hub.text().count("is host host-2") == 1


@contextmanager
def name_server(topology: Topology, mood: Path) -> Iterator[None]:
    """The hub's only one. `ip netns exec` puts the files of /etc/netns/NAME over those of /etc."""
    place = Path("/etc/netns", topology.hub.name)
    files = {
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        "nsswitch.conf": "hosts: files dns\n",
    }
    place.mkdir(parents=True)
    for name, text in files.items():
        if Path("/etc", name).exists():
            (place / name).write_text(text)
    try:
        server = topology.hub.popen(sys.executable, "-m", "tests.support.lying_names", "53", str(mood))
        server.wait_line("liar ready")
        os.setpriority(os.PRIO_PROCESS, server.pid, 19)
        yield
    finally:
        shutil.rmtree(place)


def test_a_name_server_that_lies(topology: Topology, write: Write, note: Note, short: bool) -> None:
    """It lies about the name of one source, which has the addresses that it had before.

    The other source, whose name is told right, never fails.
    """
    mood = Path(write("name-mood", "good"))
    with name_server(topology, mood):
        on = stage(topology, write, "http-source", NAMES)
        assert on.mood != mood
        on.mood = mood
        lies = NAMES_SHORT if short else tuple(lying_names.LIES)
        judge(on, lies, source_tells(on, goes_on=True), note, one_by_one("the name server", lies))
        assert good_rows(on) == {"r": (2, ""), "r-other": (2, "")}
        assert not re.search(f"router r-other: .*{STAY}", on.hub.text())
        running = [Path(f"/proc/{pid}/comm") for pid in topology.hub.pids()]
        left = [path for path in running if path.exists() and path.read_text() == "getent\n"]
    assert len(left) <= 2, "what it held is ended"


# --- whom a client dials: proxies, hubs, certificates

SERVICE = """\
- name: {name}
  handler: {{type: tun, chain: {name}}}
  listener: {{type: tun, metadata: {{net: {net}}}}}
  forwarder: {{nodes: [{{name: t, addr: {host}}}]}}
"""
HOP = "{{name: {name}, nodes: [{{name: {name}, addr: '{addr}', {how}}}]}}"
PROXY = "connector: {type: %s, metadata: {connectTimeout: 2s}}, dialer: {type: tcp}"
ROUTER = "connector: {type: router, metadata: {connectTimeout: 2s}}, dialer: {type: %s}"
DIALLED = {
    "socks": [PROXY % "socks5", ROUTER % "tcp"],
    "connect": [PROXY % "http", ROUTER % "tcp"],
    "tls": [ROUTER % "tls"],
    "certificates": [ROUTER % "tls, tls: {caFile: CA, serverName: hub.test}"],
}
"""How a client reaches the liar, and what is behind it."""


def client_of_liars(protocol: str, count: int, ca: Path) -> str:
    """A client with one honest hub, and `count` liars on the hub's ports from 8100 on."""
    services = SERVICE.format(name="service-0", host="host-1", net=f"{OVERLAY_1}/24")
    honest = HOP.format(name="honest", addr=f"{HUB_TO_HOST_1}:8443", how=ROUTER % "tcp")
    chains = f"- {{name: service-0, hops: [{honest}]}}\n"
    for number in range(count):
        name = f"lie-{number}"
        services += SERVICE.format(name=name, host=name, net=f"10.9.{number}.1/24")
        ways = [how.replace("CA", str(ca)) for how in DIALLED[protocol]]
        addrs = [f"{HUB_TO_HOST_1}:{8100 + number}", "127.0.0.1:8443"]
        hops = [HOP.format(name=f"hop-{n}", addr=addrs[n], how=how) for n, how in enumerate(ways)]
        chains += f"- {{name: {name}, hops: [{', '.join(hops)}]}}\n"
    return f"services:\n{services}chains:\n{chains}"


@pytest.mark.parametrize("protocol", DIALLED)
def test_proxies_and_hubs_that_lie(
    topology: Topology, write: Write, note: Note, short: bool, protocol: str
) -> None:
    """A client with a service for each lie, all told at once, and an honest hub: its pings do not wait."""
    lies = tuple(LIES[protocol])[:: 6 if short else 1]
    moods = [Path(write(f"mood-{number}", "good")) for number in range(len(lies))]
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    liar = topology.hub.popen(sys.executable, "-m", "tests.support.liars", protocol, "8100", *map(str, moods))
    liar.wait_line("liar ready")
    os.setpriority(os.PRIO_PROCESS, liar.pid, 19)
    text = client_of_liars(protocol, len(lies), moods[0].parent / "ca.pem")
    client = start_client(topology.host_1, "-C", write("client.yml", text))
    os.setpriority(os.PRIO_PROCESS, program_pid(client), -15)
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)

    def wait_all(line: str, after: int) -> None:
        for number in range(len(lies)):
            client.wait_line(f"service lie-{number}: .*{line}", after=after, timeout=30)

    wait_all("connected to", 0)

    def tell(lie: str) -> float:
        after = client.line_count()
        for mood, text in zip(moods, lies, strict=True):
            mood.write_text(text)
        wait_all("trying again", after)
        time.sleep(SECONDS)
        after, began = client.line_count(), time.monotonic()
        for mood in moods:
            mood.write_text("good")
        wait_all("connected to", after)
        return time.monotonic() - began

    who = f"{protocol}: a client's {len(lies)} services are lied to at once", "each service, said once"
    judge(Stage(client, moods[0], topology.host_1, ""), [protocol], tell, note, who)

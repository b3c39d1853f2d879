"""Every lie of tests/support/liars against every way we talk to a helper: an error, in time, packets between.

What a turn may cost is measured in CPU time of this process, so that a busy machine is no failure.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest

from lib import client_dial, observe_events, source_read, source_redis
from lib.errors import PluginError, ProtocolError
from lib.observe_stats import Stats
from lib.plugin_client import AdmissionPlugin, ObserverPlugin, RouterPlugin
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_sources import HttpSource, PluginSettings, RedisSource
from lib.settings_transport import TlsSettings, TransportSettings
from lib.source_read import SourceError
from tests.support.devices import NoTunnel
from tests.support.liars import LIES, rows

PROJECT = Path(__file__).parents[2]
TIMEOUT = 0.5
TURN_SECONDS = 0.03
"""CPU time between two looks at the network; the aim is 0.001, and a first piece may be a dear one."""


@dataclass
class Helper:
    """A liar in a process of its own."""

    protocol: str
    port: int
    mood: Path


@pytest.fixture(scope="module")
def helpers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Helper]]:
    """A liar for each protocol, started when it is first wanted."""
    found: dict[str, Helper] = {}
    processes: list[subprocess.Popen[str]] = []
    place = tmp_path_factory.mktemp("moods")

    def get(protocol: str) -> Helper:
        if protocol not in found:
            mood = place / protocol
            mood.write_text("good")
            arguments = [sys.executable, "-m", "tests.support.liars", protocol, "0", str(mood)]
            process = subprocess.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
            processes.append(process)
            assert process.stdout is not None
            found[protocol] = Helper(protocol, int(process.stdout.readline().split()[-1]), mood)
        return found[protocol]

    yield get
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can wait for."""
    monkeypatch.setattr(source_read, "TOTAL", 2 * TIMEOUT)
    monkeypatch.setattr(source_redis, "REDIS_TIMEOUT", TIMEOUT)
    monkeypatch.setattr(source_read, "MAX_BYTES", 8 << 20)


def watched(ask: Callable[[], object]) -> tuple[object, float, float]:
    """What came of it, in how many seconds, and the most CPU time between two turns of the loop."""
    worst, before = 0.0, time.process_time()

    def tick() -> None:
        nonlocal worst, before
        while True:
            gevent.sleep(0.001)
            now = time.process_time()
            worst, before = max(worst, now - before), now

    gc.disable()  # a walk through pytest's heap is no helper's work; the program has frozen its own
    ticking = gevent.spawn(tick)
    gevent.sleep(0.002)
    worst, began = 0.0, time.monotonic()
    try:
        return ask(), time.monotonic() - began, worst
    except (OSError, ProtocolError) as error:
        took = time.monotonic() - began
        gevent.sleep(0.002)
        return error, took, worst
    finally:
        ticking.kill()
        gc.enable()


def cases(*protocols: str) -> list[Any]:
    return [
        pytest.param(protocol, lie, id=f"{protocol}: {lie}")
        for protocol in protocols
        for lie in LIES[protocol]
    ]


def asker(helper: Helper) -> Callable[[], object]:
    """Asks one question of a helper."""
    address = f"127.0.0.1:{helper.port}"
    if helper.protocol == "http-source":
        return lambda: source_read.read(HttpSource(f"http://{address}/", TIMEOUT)).text
    if helper.protocol == "redis":
        return lambda: source_read.read(RedisSource(address, key="gost", type="hash")).text
    url = f"http://{address}/" if helper.protocol.startswith("http") else f"grpc://{address}"
    settings = PluginSettings(url, timeout=TIMEOUT)
    if helper.protocol.endswith("-ok"):
        return yes_or_no(settings)
    plugin = RouterPlugin(settings)
    return lambda: plugin.route(bytes([192, 168, 123, 2]), bytes(16))


def soon(ask: Callable[[], object]) -> object:
    """What comes of it, once it is known here that the far end has closed the connection after its lie."""
    with gevent.Timeout(30):
        while True:
            try:
                found = ask()
                if not (isinstance(found, list) and any(isinstance(one, PluginError) for one in found)):
                    return found
            except PluginError:
                pass
            gevent.sleep(0.01)


def yes_or_no(settings: PluginSettings) -> Callable[[], object]:
    """Asks an admission's plugin and tells an observer's as much as it is told at once, both at the same time."""
    admission, observer = AdmissionPlugin(settings), ObserverPlugin(settings)
    client = "host-1@e87f56dd-fd57-4921-9ab8-a0847662daae"
    figures = Stats(1 << 40, 1 << 40, 1 << 40, 1 << 40, 1 << 40)
    events = [observe_events.stats("handler", "service-0", client, figures)] * observe_events.MOST
    calls: tuple[Callable[[], bool], ...] = (
        lambda: admission.admits("192.0.2.1:5", "service-0"),
        lambda: observer.observe(events),
    )

    def outcome(call: Callable[[], bool]) -> bool | PluginError:
        try:
            return call()
        except PluginError as error:
            return error

    def ask() -> object:
        found = [one.get() for one in [gevent.spawn(outcome, call) for call in calls]]
        if all(isinstance(one, PluginError) for one in found):
            raise found[0]
        return found

    return ask


@pytest.mark.parametrize(
    ("protocol", "lie"), cases("http-source", "http-plugin", "http-ok", "grpc", "grpc-ok", "redis")
)
def test_a_lie_is_a_failed_answer_in_time_and_the_next_truth_counts(
    helpers: Callable[[str], Helper], protocol: str, lie: str
) -> None:
    helper = helpers(protocol)
    ask = asker(helper)
    soon(asker(helper))  # what it imports the first time is no lie's fault
    helper.mood.write_text(lie)
    got, took, worst = watched(ask)
    helper.mood.write_text("good")
    assert isinstance(got, SourceError if protocol in ("http-source", "redis") else PluginError), got
    assert took < 2 * TIMEOUT + 1.5
    assert worst < TURN_SECONDS, got
    again = soon(ask)
    if protocol in ("http-source", "redis"):
        assert again == rows()
    elif protocol.endswith("-ok"):
        assert again == [True, True]
    else:
        assert str(again) == "192.168.123.2/32"


@pytest.mark.parametrize(("protocol", "lie"), cases("socks", "connect", "tls", "certificates"))
def test_a_proxy_or_a_hub_that_lies_is_an_error_in_time(
    helpers: Callable[[str], Helper], protocol: str, lie: str
) -> None:
    helper = helpers(protocol)
    helper.mood.write_text(lie)
    if protocol in ("tls", "certificates"):
        ca = str(helper.mood.parent / "ca.pem")
        tls = TlsSettings() if protocol == "tls" else TlsSettings(ca_file=ca, server_name="hub.test")
        node = NodeSettings(
            "hub",
            "127.0.0.1",
            helper.port,
            connect_timeout=TIMEOUT,
            transport=TransportSettings("tls", tls=tls),
        )
    else:
        proxy = ProxySettings({"socks": "socks5", "connect": "http"}[protocol], "127.0.0.1", helper.port)
        node = NodeSettings("hub", "hub.test", 8443, connect_timeout=TIMEOUT, proxies=(proxy,))

    settings = ClientSettings("service-0", "host-1", DeviceSettings(), (node,))

    def ask() -> object:
        return client_dial.let_in(settings, node, NoTunnel(settings))

    got, took, worst = watched(ask)
    assert isinstance(got, Exception), "nobody there is a proxy, or a hub"
    assert took < TIMEOUT + 1.5
    assert worst < TURN_SECONDS, got

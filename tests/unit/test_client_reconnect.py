"""A client without a session: what it waits for, what status says of it, and what ends the wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import (
    cli_show,
    client_backoff,
    client_dial,
    client_reconnect,
    client_session,
    client_tries,
    config_nodes,
    ctl_status,
    service_supervisor,
    wire_control,
)
from lib.capture_taps import Taps
from lib.client import Client
from lib.client_backoff import LASTING, LOST, TEMPORARY, Pace
from lib.client_dial import Refused
from lib.client_downlink import Downlink
from lib.client_host import HostNames
from lib.client_paths import Paths
from lib.counter_rates import Rates
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.framing import ReceiveBuffer
from lib.log_events import Entry
from lib.session_silence import NO_FLIGHT, Flight
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_dial import HopChoice
from lib.stream_proxy import ProxyFailed
from lib.wire_relay import Response, Status

NODE = NodeSettings("node-0", "hub.test", 8443)
SETTINGS = ClientSettings("service-0", "host-1", DeviceSettings(), (NODE,))
SECONDS = 5


class World:
    """A client whose dialling does what a test says, and the delays that it asked for."""

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.device_name = "none"
        self.traffic, self.rates, self.taps, self.buffer = Traffic(), Rates(0.0), Taps(), ReceiveBuffer()
        self.transit = SimpleNamespace(look=lambda *arguments: None)
        self.around: Any = None
        self.device_settings = self.settings.device
        self.push = SimpleNamespace(
            asks=lambda session: False,
            met=lambda session, hello: None,
            merged=lambda device: device,
            again=lambda: None,
        )
        self.instance, self.offloads, self.down = (
            bytes(16),
            0,
            Downlink(len, print, self.traffic, False, 1420),
        )
        self.dialled = Event()
        self.dial: Callable[[], Any] = lambda: None
        self.paces: list[Pace] = []
        self.said: list[dict[str, Any]] = []
        self._paths = Paths(self)  # type: ignore[arg-type]
        self.reconnector = self._paths.first

    def use_offloads(self, *arguments: object) -> None:
        """There is no device."""

    def tell_gateway(self, *arguments: object) -> None:
        """There is nothing behind this host."""

    def met(self, session: object) -> None:
        """Nobody asks what a hub says of itself."""

    def leave(self, session: client_session.ClientSession, hold: bool) -> None:
        self._paths.leave(session, hold)

    def ask_hops(self) -> None:
        """No hop has a plugin."""

    def let_in(self, *arguments: object) -> Any:
        self.dialled.set()
        return self.dial()

    def start(self, error: Exception) -> None:
        """Dial in vain until the first delay begins."""

        def fails() -> None:
            raise error

        self.dial = fails
        self.running = gevent.spawn(self.reconnector.keep_connected)
        assert self.dialled.wait(SECONDS)
        with gevent.Timeout(SECONDS):
            while not self.reconnector.away.next_at:
                gevent.sleep(0.001)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World()
    real = client_backoff.Backoff.next

    def noted(self: client_backoff.Backoff, pace: Pace, *more: Any) -> float:
        made.paces.append(pace)
        real(self, pace, *more)
        return 600.0

    monkeypatch.setattr(client_backoff.Backoff, "next", noted)
    monkeypatch.setattr(client_dial, "let_in", made.let_in)
    for module in (client_reconnect, client_tries):
        monkeypatch.setattr(module, "say", lambda *a, **fields: made.said.append(fields))
    yield made
    made.running.kill()
    for task in service_supervisor.tasks():
        task.kill()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors that are logged and counted as errors of this program."""
    errors: list[BaseException] = []
    monkeypatch.setattr(service_supervisor, "note", errors.append)
    return errors


@pytest.mark.parametrize(
    ("error", "pace"),
    [
        (ConnectionRefusedError(111, "Connection refused"), LOST),
        (ProtocolError("TLS: certificate verify failed", Refusal.TRANSPORT), LOST),
        (Refused(Status.SERVICE_UNAVAILABLE), TEMPORARY),
        (Refused(Status.TIMEOUT), TEMPORARY),
        (Refused(Status.INTERNAL_ERROR), TEMPORARY),
        (Refused(Status.UNAUTHORIZED), LASTING),
        (Refused(Status.FORBIDDEN), LASTING),
        (Refused(Status.HOST_UNREACHABLE), LASTING),
        (Refused(99), LASTING),
    ],
)
def test_how_patient_it_is_goes_by_what_happened(world: World, error: Exception, pace: Pace) -> None:
    world.start(error)
    assert world.paces == [pace]


def test_without_the_reply_of_a_hop_s_plugin_nobody_is_dialled(world: World) -> None:
    def fails() -> None:
        raise OSError(113, "hop h of s: its plugin: no reply")

    world.ask_hops = fails  # type: ignore[method-assign]
    world.running = gevent.spawn(world.reconnector.keep_connected)
    with gevent.Timeout(SECONDS):
        while not world.reconnector.away.next_at:
            gevent.sleep(0.001)
    assert (world.reconnector.away.reason, world.paces) == ("hop h of s: its plugin: no reply", [LOST])
    assert not world.dialled.is_set()
    assert not world.reconnector.failures, "no hub has failed"


@pytest.mark.parametrize(("hop", "kept"), [(0, False), (1, True)])
def test_the_hop_that_failed_is_passed_over(world: World, hop: int, kept: bool) -> None:
    proxies = [ProxySettings("socks5", f"p{number}", 1) for number in range(2)]
    hubs = [NodeSettings(f"h{number}", f"h{number}", 1) for number in range(2)]
    ways = config_nodes.combined([("p", proxies), ("h", hubs)])
    world.settings = ClientSettings(
        *("s", "host-1", DeviceSettings(), ways), before=(HopChoice("fifo"),), strategy="fifo"
    )
    world.start(ProxyFailed(111, "x", hop))
    next_one = ways[world.reconnector._ways.choose(time.monotonic(), float)]
    assert (next_one.proxies == (proxies[0],), next_one.host == "h0") == (kept, not kept)


def test_status_names_the_hub_the_last_reason_and_the_next_try(world: World) -> None:
    world.start(ConnectionRefusedError(111, "Connection refused"))
    away = ctl_status._away(world.reconnector.away, time.monotonic())
    assert (away["hub"], away["reason"]) == ("hub.test:8443", "Connection refused")
    assert 599 < float(str(away["next_try_s"])) <= 600
    row = {"host": "host-1", "away": away}
    assert cli_show._away([row]) == [
        "host-1 has no session with hub hub.test:8443: Connection refused; next try in 10 min"
    ]
    later = ctl_status._away(world.reconnector.away, time.monotonic() + 601)
    assert cli_show._away([{**row, "away": later}])[0].endswith("; it is being tried now")
    assert cli_show._away([{"host": "host-1", "away": None}]) == []


def test_a_reload_that_changes_the_hub_ends_the_wait(world: World) -> None:
    """A login that was wrong is corrected: nobody waits five minutes for the next try."""
    world.start(Refused(Status.UNAUTHORIZED))
    world.dialled.clear()
    world.settings = ClientSettings(
        "service-0", "host-1", DeviceSettings(), (NodeSettings("node-0", "other.test", 8443),)
    )
    world.reconnector.connect_anew("the configuration has changed")
    assert world.dialled.wait(SECONDS)
    assert world.reconnector.away.hub == "other.test:8443"


def test_a_try_that_took_long_is_no_session_that_lasted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline of 10 s is not a session of 10 s: the node has failed."""
    now = SimpleNamespace(at=1000.0)

    def late() -> None:
        now.at += 30.0
        raise TimeoutError(110, "no connection within 30 s")

    monkeypatch.setattr(client_reconnect, "time", SimpleNamespace(monotonic=lambda: now.at))
    world.dial = late
    world.running = gevent.spawn(world.reconnector.keep_connected)
    with gevent.Timeout(SECONDS):
        while not world.reconnector.away.next_at:
            gevent.sleep(0.001)
    assert world.reconnector.failures == {"node-0": 1}


# --- reloads that change the nodes

THREE = tuple(NodeSettings(f"node-{number}", f"hub-{number}.test", 8443) for number in range(3))
ADMITTED = Response(Status.OK, bytes(20))


class Nodes(World):
    """A client of three hubs, of which those in `admits` let it in. Dialling waits for `may_dial`."""

    _hops, _names = None, HostNames()
    _with_nodes = Client._with_nodes

    def __init__(self, strategy: str = "fifo") -> None:
        super().__init__()
        self.settings = replace(SETTINGS, nodes=THREE, strategy=strategy)
        self.admits: set[str] = set()
        self.may_dial = Event()
        self.may_dial.set()
        self.asked: list[str] = []
        self.streams: list[SilentStream] = []
        self._paths = Paths(self)  # type: ignore[arg-type]
        self.reconnector = self._paths.first
        self.upkeep = SimpleNamespace(apply=lambda device: [])
        self._device = SimpleNamespace(upkeep=self.upkeep, translate=lambda maps: None)
        self.push = SimpleNamespace(merged=lambda device: device, again=lambda: None)
        self._exits = SimpleNamespace(opened=lambda *arguments: None)

    def tell_maps(self) -> None:
        """There are none."""

    def let_in(self, *arguments: Any) -> Any:
        node: NodeSettings = arguments[1]
        self.asked.append(node.name)
        self.dialled.set()
        self.may_dial.wait()
        if node.name not in self.admits:
            raise ConnectionRefusedError(111, "Connection refused")
        self.streams.append(SilentStream(None))
        return self.streams[-1], ADMITTED, b""

    def connect(self, *admits: str) -> client_session.ClientSession:
        """Connect; the hubs of these names let it in."""
        self.admits = set(admits)
        self.running = gevent.spawn(self.reconnector.keep_connected)
        self.until(lambda: self.reconnector.session)
        assert self.reconnector.session is not None
        return self.reconnector.session

    def until(self, true: Callable[[], object]) -> None:
        with gevent.Timeout(SECONDS):
            while not true():
                gevent.sleep(0.001)

    def reload(self, *nodes: NodeSettings) -> list[str] | None:
        """What a reload does to a client whose device stays."""
        self.around = SimpleNamespace(prepare=lambda device: None)
        return Client.apply(self, replace(self.settings, nodes=nodes))  # type: ignore[arg-type]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    made = Nodes()
    monkeypatch.setattr(client_dial, "let_in", made.let_in)
    monkeypatch.setattr(client_backoff.Backoff, "next", lambda *arguments: 0.001)
    for module in (client_reconnect, client_tries):
        monkeypatch.setattr(module, "say", lambda *a, **fields: made.said.append(fields))
    yield made
    made.running.kill()
    made.reconnector.stop()


@pytest.mark.parametrize("kept", [THREE[2:], THREE[1:], (THREE[2], THREE[0])], ids=lambda kept: kept[0].name)
def test_a_hub_that_stays_keeps_its_session_through_reloads_that_remove_others(
    nodes: Nodes, kept: tuple[NodeSettings, ...]
) -> None:
    """The second reload looks where the node is in settings that it was not chosen from."""
    session = nodes.connect("node-2")
    assert nodes.reload(*kept) == []
    assert nodes.reload(*kept) == []
    assert nodes.reload(*kept[:1]) == ([] if kept[0] is THREE[2] else ["connects anew"])
    if kept[0] is THREE[2]:
        assert nodes.reconnector.session is session
        assert nodes.reconnector.node == THREE[2]


def test_a_removed_hub_is_left_also_by_the_second_of_two_reloads(nodes: Nodes) -> None:
    nodes.connect("node-1")
    nodes.admits = {"node-2"}
    assert nodes.reload(*THREE[1:]) == []
    assert nodes.reload(THREE[2]) == ["connects anew"], "it was taken for the node that has its old number"
    nodes.until(lambda: nodes.streams[0].closed and nodes.reconnector.session is not None)
    assert nodes.reconnector.node == THREE[2]


@pytest.mark.parametrize("left", [1, 2])
def test_a_drain_while_a_reload_removes_hubs_dials_none_of_those(nodes: Nodes, left: int) -> None:
    """The hub is about to end; the others are dialled one by one, and a reload leaves fewer of them."""
    session = nodes.connect("node-0")
    nodes.admits, nodes.asked = set(), []
    nodes.may_dial.clear()
    nodes.dialled.clear()
    leaving = gevent.spawn(nodes.reconnector._leave, session)
    nodes.reconnector._moving.append(session)
    assert nodes.dialled.wait(SECONDS)
    nodes.reload(*THREE[:left])
    nodes.may_dial.set()
    leaving.get(timeout=SECONDS)
    assert nodes.asked == ["node-1", "node-0"]
    assert nodes.reconnector.session is session


def test_a_drain_does_not_move_to_a_hub_that_a_reload_has_removed_meanwhile(nodes: Nodes) -> None:
    session = nodes.connect("node-0", "node-1")
    nodes.may_dial.clear()
    nodes.dialled.clear()
    nodes.reconnector.leave(session)
    assert nodes.dialled.wait(SECONDS)
    nodes.reload(THREE[0], THREE[2])
    nodes.admits = {"node-1", "node-2"}
    nodes.may_dial.set()
    nodes.until(lambda: nodes.reconnector.session not in (None, session))
    assert nodes.reconnector.node == THREE[2]
    assert nodes.streams[1].closed


def test_the_way_back_to_a_preferred_hub_survives_a_reload_with_fewer_hubs(nodes: Nodes) -> None:
    nodes.settings = replace(nodes.settings, fail_timeout=0.01)
    nodes.connect("node-2")
    nodes.reload(THREE[0], THREE[2])
    nodes.admits = {"node-0"}
    nodes.until(lambda: nodes.reconnector.node == THREE[0] and nodes.reconnector.session is not None)
    assert "node-1" not in nodes.asked[nodes.asked.index("node-2") + 1 :]


def test_a_hub_that_a_reload_removes_while_it_is_dialled_gets_no_session(nodes: Nodes) -> None:
    nodes.may_dial.clear()
    nodes.admits = {"node-0", "node-1"}
    nodes.running = gevent.spawn(nodes.reconnector.keep_connected)
    assert nodes.dialled.wait(SECONDS)
    assert nodes.reload(THREE[1]) == ["connects anew"]
    nodes.may_dial.set()
    nodes.until(lambda: nodes.reconnector.session is not None)
    assert nodes.reconnector.node == THREE[1]
    assert nodes.streams[0].closed


# --- a reload that changes what a session is made of is no failure of the hub


def events(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What is logged from now on."""
    logged: list[Entry] = []
    for module in (client_reconnect, client_tries):
        monkeypatch.setattr(module, "say", lambda event, *a, **fields: logged.append(event))
    return logged


def is_no_failure(nodes: Nodes, logged: list[Entry], delays: list[object]) -> None:
    assert logged == [Entry.CONNECTS_ANEW, Entry.CONNECTED]
    assert Entry.CONNECTS_ANEW.level == "info"
    assert not nodes.reconnector.failures
    assert not delays, "the next session is made at once"
    assert nodes.reconnector.node == THREE[0], "nor does the selector take the hub for one that has failed"


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    asked: list[object] = []

    def noted(*arguments: object) -> float:
        asked.append(arguments)
        return 0.001

    monkeypatch.setattr(client_backoff.Backoff, "next", noted)
    return asked


@pytest.mark.parametrize("seconds", [0.0, 10.0], ids=["a session that lasted", "one that has just begun"])
def test_a_reload_that_ends_a_session_is_no_failure(
    nodes: Nodes, delays: list[object], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(client_reconnect, "STEADY_SECONDS", seconds)
    session, logged = nodes.connect("node-0", "node-1"), events(monkeypatch)
    nodes.around = SimpleNamespace(prepare=lambda device: None)
    changed = Client.apply(nodes, replace(nodes.settings, host="host-2"))  # type: ignore[arg-type]
    assert changed == ["connects anew"]
    nodes.until(lambda: nodes.reconnector.session not in (None, session))
    assert nodes.streams[0].closed
    is_no_failure(nodes, logged, delays)


@pytest.mark.parametrize("admits", [{"node-0"}, set()], ids=["let in", "refused"])
def test_a_reload_in_the_middle_of_a_dial_is_no_failure(
    nodes: Nodes, delays: list[object], monkeypatch: pytest.MonkeyPatch, admits: set[str]
) -> None:
    """What the hub of the old settings replies no longer matters, whatever it is."""
    logged = events(monkeypatch)
    nodes.may_dial.clear()
    nodes.running = gevent.spawn(nodes.reconnector.keep_connected)
    assert nodes.dialled.wait(SECONDS)
    nodes.dialled.clear()
    nodes.around = SimpleNamespace(prepare=lambda device: None)
    Client.apply(nodes, replace(nodes.settings, host="host-2"))  # type: ignore[arg-type]
    nodes.admits = admits
    nodes.may_dial.set()
    nodes.may_dial.clear()
    assert nodes.dialled.wait(SECONDS)
    nodes.admits = {"node-0"}
    nodes.may_dial.set()
    nodes.until(lambda: nodes.reconnector.session)
    is_no_failure(nodes, logged, delays)


def congested(node: NodeSettings, congestion: str) -> NodeSettings:
    return replace(node, transport=replace(node.transport, congestion=congestion))


def test_another_congestion_control_reaches_the_session_that_lives(nodes: Nodes) -> None:
    session = nodes.connect("node-1")
    assert nodes.reload(*(congested(node, "cubic") for node in THREE)) == []
    assert nodes.reconnector.session is session
    assert nodes.streams[0].told == [("auto", "cubic")]
    assert session.node == nodes.reconnector.node == congested(THREE[1], "cubic")
    assert nodes.reload(*(congested(node, "cubic") for node in THREE)) == []
    assert len(nodes.streams[0].told) == 1
    assert nodes.reload(THREE[0]) == ["connects anew"]


def test_another_congestion_control_reaches_a_session_that_was_being_made(nodes: Nodes) -> None:
    nodes.may_dial.clear()
    nodes.admits = {"node-0"}
    nodes.running = gevent.spawn(nodes.reconnector.keep_connected)
    assert nodes.dialled.wait(SECONDS)
    assert nodes.reload(*(congested(node, "cubic") for node in THREE)) == []
    nodes.may_dial.set()
    nodes.until(lambda: nodes.reconnector.session is not None)
    assert nodes.streams[0].told == [("auto", "cubic")]


# --- what the log says of tries that fail


def test_a_client_that_gets_in_at_last_says_after_how_many_tries(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[object] = []
    monkeypatch.setattr(client_tries, "forget", lambda event, *more: forgotten.append(event))
    monkeypatch.setattr(client_reconnect, "STEADY_SECONDS", 0.0)
    nodes.settings = replace(nodes.settings, keepalive_timeout=0.1)
    nodes.running = gevent.spawn(nodes.reconnector.keep_connected)
    nodes.until(lambda: len(nodes.asked) == 9)
    nodes.admits = {node.name for node in THREE}
    nodes.until(lambda: nodes.reconnector.session)
    assert nodes.said[-1]["tries"] == len(nodes.asked) - 1 >= 8
    assert not forgotten
    nodes.until(lambda: forgotten)
    assert set(forgotten) == {Entry.RECONNECTING, Entry.CONNECTED}, "a session that lasts ends the counting"
    assert nodes.reconnector._tries._count == 0


# --- errors that must not happen

INJECTED = [
    ValueError("x"),
    TypeError("y"),
    UnicodeError("idna"),
    RecursionError(),
    MemoryError(),
    KeyError("z"),
]


@pytest.mark.parametrize("error", INJECTED, ids=lambda error: type(error).__name__)
def test_an_unforeseen_error_of_dialling_is_a_failed_try(
    world: World, noted: list[BaseException], error: Exception
) -> None:
    world.start(error)
    assert noted == [error], "one line"
    assert world.reconnector.away.reason == f"an error of this program: {type(error).__name__}"
    assert world.reconnector.failures == {"node-0": 1}
    assert world.paces == [LOST], "and it is tried again"
    assert not world.running.dead


@pytest.mark.parametrize("error", INJECTED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["receive_into", "begin", "spawn"])
def test_an_unforeseen_error_of_a_session_is_a_failed_try(
    world: World, noted: list[BaseException], monkeypatch: pytest.MonkeyPatch, error: Exception, step: str
) -> None:
    """The greenlet that reads dies, or the session cannot even begin: no session is left that nobody reads."""
    stream = SilentStream(error if step == "receive_into" else None)

    def fails(*arguments: object) -> None:
        raise error

    if step == "begin":
        monkeypatch.setattr(client_session.ClientSession, "begin", fails)
    if step == "spawn":
        spawn = SimpleNamespace(spawn=fails, Greenlet=gevent.Greenlet, sleep=gevent.sleep)
        monkeypatch.setattr(client_reconnect, "gevent", spawn)
    world.dial = lambda: (stream, Response(Status.OK, bytes(20)), b"")
    world.running = gevent.spawn(world.reconnector.keep_connected)
    with gevent.Timeout(SECONDS):
        while not world.reconnector.away.next_at:
            gevent.sleep(0.001)
    assert noted == [error], "one line"
    assert world.reconnector.away.reason == f"an error of this program: {type(error).__name__}"
    assert (world.reconnector.session, world.reconnector.sender) == (None, None)
    assert stream.closed
    assert world.reconnector.failures == {"node-0": 1}
    assert not world.running.dead


@pytest.mark.parametrize("error", [ValueError("x"), OSError(24, "Too many open files")], ids=str)
@pytest.mark.parametrize("step", ["dialling", "begin", "spawn", "keep"])
@pytest.mark.parametrize("cause", ["a drain", "the way home"])
def test_an_error_of_a_move_leaves_the_session_that_there_is(
    nodes: Nodes,
    noted: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
    step: str,
    error: Exception,
) -> None:
    """It is sent on, read and looked after as before, and the next move is not disturbed."""
    nodes.settings = replace(nodes.settings, nodes=THREE[:2])
    session, reconnector = nodes.connect("node-1"), nodes.reconnector
    reader = reconnector._reader
    nodes.admits = {"node-0"}
    reconnector._ways.succeeded(0)
    used: list[object] = []
    nodes.use_offloads = lambda *arguments: used.append(arguments)  # type: ignore[method-assign]
    session.takes = 7, 65535
    real = {
        "dialling": nodes.let_in,
        "begin": client_session.ClientSession.begin,
        "spawn": gevent.spawn,
        "keep": service_supervisor.keep,
    }
    broken = [True]

    def fails(*arguments: Any) -> Any:
        if broken:
            broken.clear()
            raise error
        return real[step](*arguments)

    with monkeypatch.context() as patched:
        if step == "dialling":
            patched.setattr(client_dial, "let_in", fails)
        elif step == "begin":
            patched.setattr(client_session.ClientSession, "begin", fails)
        elif step == "spawn":
            patched.setattr(client_reconnect, "gevent", SimpleNamespace(spawn=fails, sleep=gevent.sleep))
        else:
            patched.setattr(client_reconnect, "keep", fails)
        if cause == "a drain":
            reconnector._moving.append(session)
            gevent.Greenlet.spawn(reconnector._leave, session).get(timeout=SECONDS)
        else:
            assert not gevent.Greenlet.spawn(reconnector._move, session, [0]).get(timeout=SECONDS)
    assert noted == ([error] if isinstance(error, ValueError) else [])
    assert (reconnector.session, reconnector.sender) == (session, session.sender)
    assert (reconnector._reader, reconnector.node) == (reader, THREE[1])
    assert not reader.dead
    assert not nodes.streams[0].closed
    assert all(stream.closed for stream in nodes.streams[1:])
    assert [task.dead for task in reconnector._beside] == [False, False]
    if step != "dialling":
        assert used, "the device's offloads are set again"
    assert nodes._paths.takes == (7, 65535)
    assert reconnector._move(session, [0])
    assert reconnector.node == THREE[0]


def test_the_end_of_a_client_ends_a_move_that_a_drain_has_begun(nodes: Nodes) -> None:
    """Or it would dial a hub, and set host routes, for a client that is no longer there."""
    session = nodes.connect("node-1")
    nodes.dialled.clear()
    nodes.may_dial.clear()
    nodes.reconnector.leave(session)
    assert nodes.dialled.wait(SECONDS)
    nodes.running.kill()
    nodes.reconnector.stop()
    assert not nodes.reconnector._moving


def test_a_client_that_has_moved_sends_by_the_old_session_until_switch(nodes: Nodes) -> None:
    """Hosts that have not moved yet can only be reached by the hub that ends."""
    reconnector, session = nodes.reconnector, nodes.connect("node-0", "node-1")
    session.takes = 3, 4096
    reconnector.leave(session, hold=True)
    nodes.until(lambda: reconnector.session not in (None, session))
    new = reconnector.session
    assert new is not None
    assert reconnector.sender is session.sender
    session.hold.switch(session.control)
    nodes.until(lambda: reconnector.sender is new.sender)
    assert reconnector.held is None
    assert reconnector.session is new


@pytest.mark.parametrize("new_ends", [False, True])
def test_the_end_of_the_old_session_ends_the_hold(nodes: Nodes, new_ends: bool) -> None:
    """Where the new one has ended before, another one is had then."""
    reconnector, session = nodes.reconnector, nodes.connect("node-0", "node-1")
    reconnector.leave(session, hold=True)
    nodes.until(lambda: reconnector.session not in (None, session))
    new = reconnector.session
    assert new is not None
    if new_ends:
        new.sender.close("the new hub has gone too")
        assert reconnector.sender is session.sender
    session.sender.close("the old hub has ended")
    nodes.until(lambda: reconnector.held is None)
    if new_ends:
        nodes.until(lambda: reconnector.session is None)
        assert reconnector.sender is None
    else:
        assert reconnector.sender is new.sender


def test_a_hub_that_says_switch_too_early_is_sent_by_no_longer(nodes: Nodes) -> None:
    """It could not wait for us any more; the other hub was still being dialled."""
    reconnector, session = nodes.reconnector, nodes.connect("node-0", "node-1")
    session.hold.switch(session.control)
    reconnector.leave(session, hold=True)
    nodes.until(lambda: reconnector.session not in (None, session) and reconnector.held is None)
    assert reconnector.session is not None
    assert reconnector.sender is reconnector.session.sender


def test_a_client_that_could_not_move_waits_for_switch_when_it_is_asked_again(nodes: Nodes) -> None:
    """The first DRAIN and its SWITCH are over."""
    reconnector, session = nodes.reconnector, nodes.connect("node-0")
    drain = wire_control.encode_drain(hold=True)
    nodes.admits = set()
    session._control(drain, session.sender.lanes[0])
    nodes.until(lambda: not reconnector._moving)
    assert reconnector.session is session
    session._control(wire_control.encode_switch(), session.sender.lanes[0])
    nodes.admits = {"node-0"}
    session._control(drain, session.sender.lanes[0])
    nodes.until(lambda: reconnector.session not in (None, session))
    gevent.sleep(0.01)
    assert reconnector.sender is session.sender
    session._control(wire_control.encode_switch(), session.sender.lanes[0])
    nodes.until(lambda: reconnector.held is None)


class SilentStream:
    """A stream to a hub that says nothing, and perhaps breaks with an error of ours."""

    peer, far_address, pending, cost, pongs = "192.0.2.1:8443", "192.0.2.1", 0, None, 0
    congestion = "reno"

    def __init__(self, error: Exception | None) -> None:
        self.told: list[tuple[str, str]] = []
        self._error, self._over, self.closed = error, Event(), False

    def flight(self) -> Flight:
        return NO_FLIGHT

    def receive_into(self, view: memoryview) -> int:
        if self._error is not None:
            raise self._error
        self._over.wait()
        return 0

    def use_congestion(self, wanted: str, service: str, had: str) -> None:
        self.told.append((had, wanted))

    def is_stuck(self, now: float) -> bool:
        return False

    def hold_unsent(self, size: int) -> None:
        """It sends nothing."""

    def shutdown(self) -> None:
        self._over.set()

    def close(self) -> None:
        self.closed = True

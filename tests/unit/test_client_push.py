"""A client sets what its hub tells, from a verified hub alone, and looks again when things around it change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import gevent
import pytest

from lib import client_push, netlink_networks
from lib.addresses import packed_prefix
from lib.client_names import Names, Wanted
from lib.client_push import LOOKS_AWAY, Push
from lib.errors import HostError
from lib.push_accept import LocalNetwork
from lib.push_settings import Pushed
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.settings_push import AcceptSettings
from lib.settings_transport import TlsSettings, TransportSettings
from lib.wire_control import Feature, Hello

PINNED = TransportSettings("tls", TlsSettings(pin=bytes(32)))
NODE = NodeSettings("n", "203.0.113.1", 8443, transport=PINNED)
TOLD = Pushed((ip_address("10.20.0.7").packed,), (packed_prefix("10.20.0.0/16"),), mtu=1380, serial=1)


class Session:
    def __init__(self, node: NodeSettings = NODE) -> None:
        self.node, self.peer, self.control = node, "203.0.113.1:8443", self
        self.replies: list[bytes] = []
        self.greetings = 0

    def push(self, fields: bytes) -> bool:
        self.replies.append(fields)
        return True

    def greet(self) -> None:
        self.greetings += 1


class Around:
    addresses = frozenset({"203.0.113.1"})

    def __init__(self) -> None:
        self.prepared: list[DeviceSettings] = []
        self.inside: frozenset[str] = frozenset()

    def prepare(self, device: DeviceSettings) -> None:
        self.prepared.append(device)


class Client:
    """Everything that Push uses of a client, and the device in the state that Push has given it."""

    device_name, netns = "tun0", ""

    def __init__(self, accept: AcceptSettings | None = None, device: DeviceSettings | None = None) -> None:
        device = device or DeviceSettings()
        self.settings = ClientSettings("c", "host-1", device, (NODE,), accept=accept)
        self.device_settings, self.around = device, Around()
        self.session = Session()
        self.fails = ""
        self.mine: list[object] = []
        """What the hub routes to this host, at each look at its maps."""
        self.push = Push(self, self.follow)  # type: ignore[arg-type]

    def follow(self, device: DeviceSettings) -> list[str]:
        self.device_settings = device
        if self.fails:
            raise HostError(self.fails)
        return ["a line"]

    def tell_maps(self) -> None:
        self.mine.append(self.push.mine)

    def told(self, pushed: Pushed, session: Session | None = None) -> None:
        self.push.told(session or self.session, pushed)  # type: ignore[arg-type]
        gevent.sleep(0)
        gevent.sleep(0)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[LocalNetwork]:
    """The networks that the host is connected to."""
    found: list[LocalNetwork] = []
    monkeypatch.setattr(netlink_networks, "connected", lambda without: tuple(found))
    monkeypatch.setattr(client_push, "name_servers", lambda: ["198.51.100.53"])
    monkeypatch.setattr(client_push, "LOOK_SECONDS", 0.02)
    return found


@pytest.fixture
def client(networks: list[LocalNetwork]) -> Iterator[Client]:
    made = Client(AcceptSettings())
    running = gevent.spawn(made.push.run)
    gevent.sleep(0)
    yield made
    running.kill()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the log."""
    lines: list[str] = []

    def note(entry: Any, text: str, *arguments: object, **rest: object) -> None:
        lines.append(f"{entry.value}: {text % arguments}")

    monkeypatch.setattr(client_push, "say", note)
    return lines


def test_what_is_told_is_set_with_what_is_configured(client: Client, said: list[str]) -> None:
    client.told(TOLD)
    assert client.device_settings == DeviceSettings(
        addresses=(ip_interface("10.20.0.7/32"),), routes=((ip_network("10.20.0.0/16"), ""),), mtu=1380
    )
    assert client.around.prepared == [client.device_settings], "ways around come before the routes"
    assert client.session.replies == [bytes.fromhex("09000400000001")]
    assert client.session.greetings == 1, "the device has another MTU and an address now"
    assert said == ["settings-taken: service c: hub 203.0.113.1:8443: a line"]
    client.told(replace(TOLD, serial=2))
    assert len(client.around.prepared) == 1, "nothing is new"
    assert len(client.session.replies) == 2


def test_it_is_known_which_routes_of_the_hub_lead_here_where_it_has_told_all(client: Client) -> None:
    """By these the client judges its prefix maps."""
    routes = (packed_prefix("10.20.0.0/16"), packed_prefix("10.71.0.0/24"))
    client.told(replace(TOLD, routes=routes, own=frozenset({1})))
    assert client.mine[-1:] == [(packed_prefix("10.71.0.0/24"),)]
    client.told(replace(TOLD, routes=routes, own=frozenset({1}), left_out=1, serial=2))
    assert client.mine[-1:] == [None]
    client.told(replace(TOLD, routes=routes[:1], serial=3))
    assert client.mine[-1:] == [()]
    client.session = Session()
    assert client.push.mine is None, "another hub has told nothing yet"


def test_what_is_not_told_any_more_is_taken_away(client: Client) -> None:
    client.told(TOLD)
    client.told(Pushed(serial=2))
    assert client.device_settings == DeviceSettings()


def test_a_frame_that_was_overtaken_is_ignored_but_answered(client: Client) -> None:
    client.told(replace(TOLD, serial=5))
    client.told(Pushed(serial=4))
    assert client.device_settings.mtu == 1380
    assert len(client.session.replies) == 2
    client.told(Pushed(serial=1), Session())
    assert client.device_settings.mtu == 1420, "of another session a lower number is new"


@pytest.mark.parametrize(
    ("transport", "is_verified"),
    [
        (TransportSettings(), False),
        (TransportSettings("tls"), False),
        (TransportSettings("ws", TlsSettings(pin=bytes(32))), False),
        (TransportSettings("wss", TlsSettings(verify=True)), True),
        (TransportSettings("tls", TlsSettings(ca_file="ca.pem")), True),
        (PINNED, True),
    ],
)
def test_only_a_verified_hub_is_believed(
    client: Client, said: list[str], transport: TransportSettings, is_verified: bool
) -> None:
    session: Any = Session(replace(NODE, transport=transport))
    assert client.push.wants(session) == is_verified
    client.push.met(session, Hello(features=int(Feature.SETTINGS)))
    client.told(TOLD, session)
    assert (client.device_settings.mtu == 1380) == is_verified
    assert any("nobody has verified it" in line for line in said) != is_verified


def test_a_hub_that_tells_nothing_is_no_reason_for_a_line(client: Client, said: list[str]) -> None:
    session: Any = Session(replace(NODE, transport=TransportSettings()))
    client.push.met(session, Hello(features=int(Feature.KEEPALIVE)))
    assert not said


def test_a_client_of_its_own_settings_takes_nothing(networks: list[LocalNetwork], said: list[str]) -> None:
    client = Client(None, DeviceSettings(addresses=(ip_interface("10.9.9.9/32"),)))
    session: Any = client.session
    assert not client.push.wants(session)
    client.push.met(session, Hello(features=int(Feature.SETTINGS)))
    client.push.told(session, TOLD)
    assert not client.session.replies
    assert not said


def test_a_route_goes_while_the_host_is_in_its_network(
    client: Client, networks: list[LocalNetwork], said: list[str]
) -> None:
    client.told(TOLD)
    networks.append(LocalNetwork("wlan0", packed_prefix("10.20.5.0/24")))
    with gevent.Timeout(20):
        while client.device_settings.routes:
            gevent.sleep(0.01)
        assert said[-1] == (
            "settings-refused: service c: hub 203.0.113.1:8443: not set: 10.20.0.0/16: it lies over 10.20.5.0/24, "
            "a network of wlan0, which this host is connected to (acceptRoutes: force takes it)"
        )
        networks.clear()
        while not client.device_settings.routes:
            gevent.sleep(0.01)
    assert client.push.lines == []


def test_what_the_kernel_refuses_is_said_and_no_end(client: Client, said: list[str]) -> None:
    client.fails = "netlink: no"
    client.told(TOLD)
    assert said == ["settings-taken: service c: hub 203.0.113.1:8443: netlink: no"]
    client.fails = ""
    client.told(Pushed(serial=2))
    assert client.device_settings == DeviceSettings()


def test_a_configured_route_is_not_set_twice(networks: list[LocalNetwork]) -> None:
    device = DeviceSettings(routes=((ip_network("10.20.0.0/16"), "10.20.0.1"),))
    client = Client(AcceptSettings(), device)
    running = gevent.spawn(client.push.run)
    gevent.sleep(0)
    client.told(TOLD)
    running.kill()
    assert client.device_settings.routes == device.routes


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the way by which names are found is told."""
    calls: list[tuple[object, ...]] = []

    def follow(_: object, *words: object) -> tuple[str, str]:
        calls.append(words)
        return "done" if words[1] != Wanted() else "", ""

    monkeypatch.setattr(Names, "follow", follow)
    monkeypatch.setattr(Names, "close", lambda _, *words: calls.append(words))
    return calls


def test_names_of_the_hub_s_domain_are_asked_of_it(
    client: Client, said: list[str], names: list[tuple[object, ...]]
) -> None:
    server, other, far = (ip_address(text).packed for text in ("10.20.0.1", "fd20::1", "10.99.0.1"))
    named = replace(TOLD, dns=(server, other, far), domain="tun.example")
    client.told(named)
    prefixes = (packed_prefix("10.20.0.7/32"), packed_prefix("10.20.0.0/16"))
    wanted = Wanted(("10.20.0.1",), "tun.example", prefixes, client.push.is_reached)
    assert names == [("tun0", wanted, "auto")], "of IPv4, and within the tunnel"
    assert said[-1].endswith("done")
    client.told(replace(named, serial=2, mtu=1300))
    assert len(names) == 1
    client.told(replace(named, serial=3, domain="lan"))
    assert names[1:] == [("tun0", Wanted(), "auto")]
    assert "of one word" in said[-1]
    client.told(replace(named, serial=4))
    client.settings = replace(client.settings, names_by="stub")
    client.push.again()
    gevent.sleep(0.05)
    assert names[3:] == [("tun0", wanted, "stub")], "a reload may choose another way"
    client.push.close(True)
    assert names[4:] == [("tun0", True)]


def test_names_fail_at_once_after_some_looks_without_a_session(
    client: Client, monkeypatch: pytest.MonkeyPatch, names: list[tuple[object, ...]]
) -> None:
    """Not at once: a hub that only starts anew is back before that."""
    monkeypatch.setattr(client_push, "LOOK_SECONDS", 60.0)  # it looks when the test says so
    client.told(replace(TOLD, dns=(ip_address("10.20.0.1").packed,), domain="tun.example"))
    session = client.session
    monkeypatch.setattr(client, "session", None)
    for looks in range(LOOKS_AWAY):
        assert client.push.is_reached(), looks
        client.push.again()
        gevent.sleep(0.01)
    assert not client.push.is_reached()
    monkeypatch.setattr(client, "session", session)
    assert client.push.is_reached()
    client.push.again()
    gevent.sleep(0.01)
    monkeypatch.setattr(client, "session", None)
    assert client.push.is_reached(), "counted anew"


def test_name_servers_of_its_own_come_before_the_hub_s_domain(
    client: Client, said: list[str], names: list[tuple[object, ...]]
) -> None:
    """They are set before there is a hub, and whatever it says."""
    client.settings = replace(client.settings, dns=("10.20.0.53", "9.9.9.9"))
    client.push.again()
    gevent.sleep(0)
    gevent.sleep(0)
    assert names == [("tun0", Wanted(("10.20.0.53", "9.9.9.9")), "auto")]
    assert said == ["settings-taken: service c: its own settings: done"]
    client.told(replace(TOLD, dns=(ip_address("10.20.0.1").packed,), domain="tun.example"))
    gevent.sleep(0.05)
    assert len(names) == 1
    [refusal] = [line for line in said if line.startswith("settings-refused")]
    assert refusal.endswith("the domain tun.example: this client has name servers of its own (dns)")


def test_a_name_server_that_was_set_is_none_that_a_route_would_hide(
    client: Client, monkeypatch: pytest.MonkeyPatch, names: list[tuple[object, ...]]
) -> None:
    """systemd-resolved lists it with the others, so that it seems to be one of the network around."""
    named = replace(TOLD, dns=(ip_address("10.20.0.1").packed,), domain="tun.example")
    client.told(named)
    device = client.device_settings
    assert device.routes
    monkeypatch.setattr(client_push, "name_servers", lambda: ["198.51.100.53", "10.20.0.1"])
    client.push.again()
    gevent.sleep(0.05)
    assert client.device_settings == device
    assert client.push.lines == []
    assert client.around.inside == {"10.20.0.1"}

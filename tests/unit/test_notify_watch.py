"""What receivers are told about the hosts of hubs: joins, leaves, take-overs, and which receiver wants which."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from lib import notify_watch
from lib.ids import NO_NAMESPACE, format_uuid
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.notify_watch import NotifyWatch
from lib.route_table import RouteTable
from lib.settings_notify import NotifySettings
from tests.support.routes import entry
from tests.unit.test_config_resolve import CHAIN, CLIENT, HUB, TABLE, problems, resolve, warnings

ROUTES = [entry("192.168.7.0/24", "a"), entry("192.168.7.0/24", "b"), entry("10.0.0.0/8", "c")]


class Receiver:
    """A receiver that keeps what it is told."""

    def __init__(self, settings: NotifySettings) -> None:
        self.settings, self.runs = settings, False
        self.got: list[dict[str, Any]] = []

    def start(self) -> None:
        self.runs = True

    def stop(self) -> None:
        self.runs = False

    def put(self, message: dict[str, Any]) -> None:
        self.got.append(message)

    def told(self) -> list[str]:
        """The events since the last call, and in which words."""
        found = [f"{one['event']}: {one['text']}" for one in self.got]
        self.got.clear()
        return found


@pytest.fixture(autouse=True)
def receivers(monkeypatch: pytest.MonkeyPatch) -> list[Receiver]:
    """All that are made, in order."""
    found: list[Receiver] = []

    def make(settings: NotifySettings) -> Receiver:
        found.append(Receiver(settings))
        return found[-1]

    monkeypatch.setattr(notify_watch, "Receiver", make)
    return found


class Hub:
    """A domain, and a watch over it at times that the test chooses."""

    def __init__(self, *settings: NotifySettings) -> None:
        self.domain = Domain({}, RouteTable(ROUTES, hold_down=5.0))
        domains: Any = SimpleNamespace(all={("service", "hub"): self.domain})
        self.watch = NotifyWatch(domains, settings)
        self.here: dict[str, Attachment] = {}

    def at(self, now: float, *hosts: str) -> None:
        """Let these hosts be here from now on, and look."""
        for host in [host for host in self.here if host not in hosts]:
            self.domain.leave(self.here.pop(host))
        for host in hosts:
            if host not in self.here:
                self.here[host] = Attachment(self.domain.namespace(NO_NAMESPACE), host, "192.0.2.1:5")
                self.domain.enter(self.here[host], now)
        self.watch.look(now)


def test_a_host_is_told_of_with_its_facts(receivers: list[Receiver]) -> None:
    hub = Hub(NotifySettings("n", url="http://x/"))
    hub.at(10, "c")
    (message,) = receivers[0].got
    assert message == {
        **{key: message[key] for key in ("time", "hub", "hub_started", "id")},
        "event": "join",
        "host": "c",
        "namespace": format_uuid(NO_NAMESPACE),
        "namespace_title": "",
        "service": "hub",
        "seconds": 0.0,
        "peer": "192.0.2.1:5",
        "title": "tunrouter: join c",
        "body": "host c has joined",
        "text": "host c has joined",
        "type": "info",
    }
    started = message["hub_started"]
    assert datetime.fromisoformat(started).tzinfo is not None
    receivers[0].got.clear()
    hub.at(20)
    hub.at(320)
    assert [one["hub_started"] for one in receivers[0].got] == [started, started]
    assert receivers[0].told() == [
        "leave: host c has left after 10 s",
        "away: host c has been away for 5 min",
    ]


def test_a_gateway_that_takes_over_and_the_first_one_that_comes_back_after_its_hold_down(
    receivers: list[Receiver],
) -> None:
    hub = Hub(NotifySettings("n", url="http://x/", events=frozenset({"takeover"})))
    hub.at(0, "a", "b")
    assert receivers[0].told() == []
    hub.at(10, "b")
    message = receivers[0].got[0]
    assert (message["before"], message["after"], message["prefixes"]) == (["a"], ["b"], ["192.168.7.0/24"])
    assert receivers[0].told() == ["takeover: b carries 192.168.7.0/24 in place of a"]
    hub.at(20, "a", "b")
    hub.at(24, "a", "b")
    assert receivers[0].told() == [], "a is held down"
    hub.at(25.2, "a", "b")
    assert receivers[0].told() == ["takeover: a carries 192.168.7.0/24 in place of b"]
    hub.at(30)
    assert receivers[0].told() == []


def test_each_receiver_is_told_what_it_wants(receivers: list[Receiver]) -> None:
    hub = Hub(
        NotifySettings("all", url="http://x/"),
        NotifySettings("sites", url="http://x/", hosts=("*.site",)),
        NotifySettings("late", url="http://x/", events=frozenset({"away"}), grace=60.0),
    )
    hub.at(0, "a.site", "c")
    hub.at(10)
    hub.at(71)
    every, sites, late = receivers
    assert len(every.told()) == 4
    assert sites.told() == ["join: host a.site has joined", "leave: host a.site has left after 10 s"]
    assert sorted(late.told()) == [
        "away: host a.site has been away for 1 min",
        "away: host c has been away for 1 min",
    ]


def test_a_reload_keeps_receivers_that_stay_and_tells_a_new_one_no_old_news(
    receivers: list[Receiver],
) -> None:
    one, two = NotifySettings("one", url="http://x/"), NotifySettings("two", url="http://y/", grace=1.0)
    hub = Hub(one)
    hub.at(0, "a")
    assert hub.watch.apply((one,)) == []
    assert hub.watch.apply((one, two)) == ["notify: one, two"]
    hub.at(1, "a", "c")
    first, second = receivers
    assert first.told() == ["join: host a has joined", "join: host c has joined"]
    assert second.told() == ["join: host c has joined"]
    assert hub.watch.apply((two,)) == ["notify: two"]
    assert (first.runs, second.runs) == (False, True)
    hub.watch.stop()
    assert not second.runs


def test_a_session_that_is_made_anew_between_two_looks_is_a_leave_and_a_join(
    receivers: list[Receiver],
) -> None:
    hub = Hub(NotifySettings("n", url="http://x/"))
    hub.at(0, "c")
    hub.domain.leave(hub.here.pop("c"))
    hub.at(1, "c")
    assert [line.partition(":")[0] for line in receivers[0].told()] == ["join", "leave", "join"]


# --- the section


def notify(text: str) -> tuple[str, str, str]:
    return HUB % "{router: r}", TABLE, f"notify: [{{{text}}}]"


def test_what_a_section_means() -> None:
    found = resolve(
        *notify("command: \"tell 'a b'\", events: [away], hosts: [h], grace: 1m, retries: 0, queue: 2")
    )
    assert found.notify == (
        NotifySettings(
            "notify-0",
            ("tell", "a b"),
            events=frozenset({"away"}),
            hosts=("h",),
            grace=60.0,
            retries=0,
            queue=2,
        ),
    )
    found = resolve(*notify("url: 'https://u:p@h/x?k=1', headers: {X-A: b}, name: n, timeout: 3s"))
    assert found.notify == (
        NotifySettings("n", url="https://u:p@h/x?k=1", headers=(("X-A", "b"),), timeout=3.0),
    )
    assert "u:p" not in repr(found), "a URL may hold a secret"


WRONG = [
    ("name: n", "notify n wants a command or a url, and one of them only"),
    ("url: 'http://h/', command: a", "notify notify-0 wants a command or a url, and one of them only"),
    ("url: ftp://secret/", "'url' is no address that begins with http:// or https://"),
    ("url: 'http://h:99999/'", "'url': "),
    ('command: "a \'b"', "'command': no closing quotation"),
    ("command: a, headers: {A: b}", "'headers' are for a url, and there is none"),
    ("url: 'http://h/', headers: {'A B': b}", "'headers': no HTTP header: 'A B'"),
    ("url: 'http://h/', headers: {A: \"b\\nc\"}", "'headers': A wants one line of ASCII"),
    ("url: 'http://h/', events: [joins]", "'events': 'joins' is unknown; did you mean 'join'?"),
    ("url: 'http://h/', events: []", "'events' is empty"),
    ("url: 'http://h/', hosts: []", "'hosts' is empty"),
    ("url: 'http://h/', grace: 8760h", "'grace': 3.1536e+07 s is not within 0 s to 7 days"),
    ("url: 'http://h/', timeout: 0s", "'timeout': 0 s is not within 1 s to 5 min"),
    ("url: 'http://h/', retries: 101", "'retries': 101 is not within 0 to 100"),
    ("url: 'http://h/', queue: 0", "'queue': 0 is not within 1 to 100000"),
    ("url: 'http://h/', name: n}, {url: 'http://h/', name: n", "two of notify have the name 'n'"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_in_a_section(text: str, said: str) -> None:
    found = problems(*notify(text))
    assert said in found[0]
    assert found[0].startswith("f:")
    assert "secret" not in found[0]


def test_without_a_hub_it_is_odd() -> None:

    found = resolve(CLIENT % "{}", CHAIN, "notify: [{command: a}]")
    assert "there is no hub here" in warnings(found)[-1]


def test_who_was_here_before_anybody_was_told_is_no_news(receivers: list[Receiver]) -> None:
    hub = Hub()
    hub.here["c"] = Attachment(hub.domain.namespace(NO_NAMESPACE), "c", "192.0.2.1:5")
    hub.domain.enter(hub.here["c"], 0)
    hub.watch.apply((NotifySettings("n", url="http://x/"),))
    hub.at(1, "c")
    assert receivers[0].told() == []
    hub.at(2)
    assert [one["event"] for one in receivers[0].got] == ["leave"]

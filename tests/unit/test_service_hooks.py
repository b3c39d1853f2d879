"""Hooks of services: their order, their facts, what a failure means, and which run where something changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from lib import client_around, service_clients
from lib.addresses import interface, prefix
from lib.errors import HostError
from lib.service_hooks import place
from lib.service_parts import Parts
from lib.service_reload import _apply_services
from lib.settings import ClientSettings, DeviceSettings, HubSettings, NodeSettings, Settings
from lib.settings_hooks import PHASES, HookSettings

pytestmark = pytest.mark.usefixtures("own_children")

Note = Callable[..., HookSettings]


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], list[str]]:
    """What the hooks of `note` have noted until now."""
    return lambda: (tmp_path / "said").read_text().splitlines() if (tmp_path / "said").exists() else []


@pytest.fixture
def note(tmp_path: Path) -> Note:
    """Hooks that note their service and phase; those of `failing` phases fail then."""

    def made(*failing: str, sign: str = "") -> HookSettings:
        script = f'echo {sign}$TUNROUTER_SERVICE $TUNROUTER_HOOK >> {tmp_path / "said"}; exit "$0"'
        commands = [(phase, (("sh", "-c", script, str(int(phase in failing))),)) for phase in PHASES]
        return HookSettings(tuple(commands), 10.0)

    return made


def hub(name: str, hooks: HookSettings) -> HubSettings:
    return HubSettings(name, "127.0.0.1", 0, hooks=hooks)


def wait_for(true: Callable[[], bool]) -> None:
    with gevent.Timeout(10):
        while not true():
            gevent.sleep(0.01)


def reload(parts: Parts, *hubs: HubSettings) -> list[str]:
    lines: list[str] = []
    _apply_services(parts, Settings(hubs=hubs), lines, [], lambda: None)
    return lines


def test_the_life_of_services_and_of_those_that_a_reload_changes(
    note: Note, said: Callable[[], list[str]]
) -> None:
    a, b, c = (hub(name, note()) for name in "abc")
    parts = Parts(Settings(hubs=(a, b)), lambda name: None)
    assert said() == ["a preUp", "b preUp"], "the ports are open, nobody is let in yet"
    parts.start_services()
    wait_for(lambda: len(said()) == 4)
    assert set(said()[2:]) == {"a postUp", "b postUp"}
    other = replace(a, hooks=note(sign="new "))
    reload(parts, other, c)
    wait_for(lambda: len(said()) == 8)
    assert said()[4:7] == ["b preDown", "b postDown", "c preUp"], "a goes on, so nothing is run for it"
    assert said()[7] == "c postUp"
    parts.stop()
    down = said()[8:]
    assert sorted(down) == ["c postDown", "c preDown", "new a postDown", "new a preDown"]
    assert down.index("new a preDown") < down.index("new a postDown")
    parts.stop()
    assert len(said()) == 12, "each once"


def test_a_pre_up_that_fails_ends_the_start_and_is_cleaned_up_after(
    note: Note, said: Callable[[], list[str]]
) -> None:
    with pytest.raises(HostError, match="service b: preUp: sh: ended with status 1"):
        Parts(Settings(hubs=(hub("a", note()), hub("b", note("preUp")))), lambda name: None)
    assert said()[:2] == ["a preUp", "b preUp"]
    assert sorted(said()[2:]) == ["a postDown", "b postDown"], "neither had begun to serve"


def test_at_a_reload_it_keeps_that_service_from_starting_and_no_other(
    note: Note, said: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    a, bad = hub("a", note()), hub("bad", note("preUp"))
    parts = Parts(Settings(hubs=(a,)), lambda name: None)
    parts.start_services()
    wait_for(lambda: said() == ["a preUp", "a postUp"])
    reload(parts, a, bad)
    assert list(parts.hubs) == ["a"]
    assert said()[2:] == ["bad preUp", "bad postDown"]
    parts.stop()


def test_other_hooks_that_fail_stop_nothing(note: Note, said: Callable[[], list[str]]) -> None:
    parts = Parts(Settings(hubs=(hub("a", note("postUp", "preDown", "postDown")),)), lambda name: None)
    parts.start_services()
    wait_for(lambda: len(said()) == 2)
    assert parts.hubs["a"].listens
    parts.stop()
    assert said() == ["a preUp", "a postUp", "a preDown", "a postDown"]


def test_the_end_does_not_wait_for_a_post_up(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    slow = ("sh", "-c", f"touch {mark}; exec sleep 60")
    parts = Parts(Settings(hubs=(hub("a", HookSettings((("postUp", (slow,)),), 60.0)),)), lambda name: None)
    parts.start_services()
    wait_for(mark.exists)
    with gevent.Timeout(10):
        parts.stop()


class Fake:
    """A client without a device."""

    removable, device_name = 0, "tun7"

    def __init__(self, settings: ClientSettings, *_: object) -> None:
        self.settings = settings

    def start(self) -> None:
        pass

    def halt(self, wait: bool) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_client_that_is_made_anew_has_its_hooks_run_again(
    note: Note, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has removed its device, and with it perhaps what preUp has set on it."""
    monkeypatch.setattr(client_around, "look_ahead", lambda clients, killswitch: None)
    monkeypatch.setattr(service_clients, "Client", Fake)
    one = ClientSettings("c", "h", DeviceSettings(), (NodeSettings("n", "hub.test", 1),), hooks=note())
    parts = Parts(Settings(clients=(one,)), lambda name: None)
    parts.start_services()
    wait_for(lambda: len(said()) == 2)
    parts.make_anew("tun7")
    wait_for(lambda: len(said()) == 6)
    assert said()[2:] == ["c preDown", "c postDown", "c preUp", "c postUp"]
    parts.stop()


def test_the_facts() -> None:
    hooks = HookSettings((("preUp", (("true",),)),))
    device = DeviceSettings(
        "", (interface("10.0.0.1/24"), interface("fd00::1/64")), routes=((prefix("10.1.0.0/16"), ""),)
    )
    node = NodeSettings("n", "2001:db8::1", 8443, username="u", password="secret")
    client = ClientSettings("c", "host-1", device, (node,), hooks=hooks)
    assert place(client, "tun0").facts == {
        "TUNROUTER_SERVICE": "c",
        "TUNROUTER_ROLE": "client",
        "TUNROUTER_HOST": "host-1",
        "TUNROUTER_DEVICE": "tun0",
        "TUNROUTER_ADDRESSES": "10.0.0.1/24 fd00::1/64",
        "TUNROUTER_ROUTES": "10.1.0.0/16",
        "TUNROUTER_MTU": "1420",
        "TUNROUTER_HUB": "[2001:db8::1]:8443",
    }
    inside = replace(client, device=replace(device, netns="blue"))
    assert place(inside, "tun0").facts["TUNROUTER_NETNS"] == "/run/netns/blue"
    assert place(hub("h", hooks), "0.0.0.0:8443").facts == {
        "TUNROUTER_SERVICE": "h",
        "TUNROUTER_ROLE": "hub",
        "TUNROUTER_ADDRESS": "0.0.0.0:8443",
    }

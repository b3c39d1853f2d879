"""What other programs take away from a client's device: it is put back, and status shows what is not."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lib.netlink_messages import Message
from lib.netlink_watch import Watch, index_of, look
from tests.support.devices import device, settings
from tests.support.netns import Namespace, in_namespace
from tests.support.program import run, start, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

ROUTES = ("10.1.0.0/16", "0.0.0.0/1", "fd78::/64")
URL = "tun:///host-1?net=10.88.0.1/24,fd77::1/64&route=" + ",".join(ROUTES) + "&name=tr0"


def is_whole(namespace: Namespace, name: str = "tr0") -> bool:
    """Whether everything of URL is on the device."""
    (link,) = namespace.ip("addr", "show", "dev", name)
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]}
    routes = {r["dst"] for r in namespace.ip("route") + namespace.ip("-6", "route") if r["dev"] == name}
    return link["mtu"] == 1420 and addresses == {"10.88.0.1/24", "fd77::1/64"} and routes >= set(ROUTES)


def test_what_others_take_away_is_put_back(namespace: Namespace, tmp_path: Path) -> None:
    control = str(tmp_path / "control")
    client = start(namespace, "--control", control, "-L", URL, "-F", "router://127.0.0.1:8443")

    def differences() -> list[str]:
        status, said = run("status", "--json", "--control", control)
        assert status == 0, said
        found: list[str] = json.loads(said)["clients"][0]["differences"]
        return found

    client.wait_line("host host-1, device tr0")
    assert differences() == []

    namespace.run("ip", "link", "set", "tr0", "down")
    client.wait_line("differs from the configuration: the device was set down")
    assert (
        "tr0 of service-0 differs from the configuration: the device was set down"
        in (run("status", "--control", control)[1])
    )
    namespace.run("ip", "link", "set", "tr0", "up")
    wait_for(lambda: is_whole(namespace))
    client.wait_line("was missing: address fd77::1/64, route 10.1.0.0/16, .*; put back")

    for command in ("route del 10.1.0.0/16", "link set mtu 1000", "addr del 10.88.0.1/24"):
        namespace.run("ip", *command.split(), "dev", "tr0")
    wait_for(lambda: is_whole(namespace))

    namespace.run("ip", "route", "replace", "10.1.0.0/16", "dev", "lo")
    client.wait_line("no route 10.1.0.0/16: exists already on lo")
    assert any(line.startswith("no route 10.1.0.0/16: exists already on lo") for line in differences())
    namespace.run("ip", "route", "del", "10.1.0.0/16", "dev", "lo")
    wait_for(lambda: is_whole(namespace))

    namespace.run("ip", "link", "set", "tr0", "down")
    namespace.run("ip", "link", "set", "tr0", "name", "vpn0")
    client.wait_line("device tr0 is named vpn0 now")
    before = client.line_count()
    client.send(signal.SIGHUP)
    client.wait_line("the state up put back", after=before)
    client.wait_line("reload: done", after=before)
    assert is_whole(namespace, "vpn0")
    assert differences() == ["the device is named vpn0 now, not tr0"]
    assert client.text().count("put back") - client.text().count("reload:") <= 2, "one line, then a sum"
    assert client.stop() == 0


def test_ipv6_that_is_switched_off_and_on_comes_back(namespace: Namespace) -> None:
    """The kernel says nothing of addresses and routes then."""
    client = start(namespace, "-L", URL, "-F", "router://127.0.0.1:8443")
    client.wait_line("host host-1, device tr0")
    namespace.run("sysctl", "-qw", "net.ipv6.conf.tr0.disable_ipv6=1")
    client.wait_line("no address fd77::1/64: IPv6 is switched off")
    namespace.run("sysctl", "-qw", "net.ipv6.conf.tr0.disable_ipv6=0")
    wait_for(lambda: is_whole(namespace))
    assert client.stop() == 0


def test_lost_notifications_make_us_look(namespace: Namespace) -> None:
    """ENOBUFS: more has happened than the socket holds."""
    with device(namespace, settings("10.88.0.1/24"), name="tr0"), in_namespace(namespace.name):
        seen = look(index_of("tr0"))
        assert seen.link is not None
        assert (seen.link.name, seen.link.up) == ("tr0", True)
        watch = Watch()
        watch._socket.setsockopt(1, 8, 1)  # SOL_SOCKET, SO_RCVBUF: the least there is

        def concerns(message: Message) -> bool:
            return False

        for number in range(2, 60):
            namespace.run("ip", "addr", "add", f"10.89.0.{number}/24", "dev", "lo")
        assert watch.wait(concerns, 5)
        watch.drain()
        assert not watch.wait(concerns, 0.1)
        watch.close()

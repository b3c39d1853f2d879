"""Host routes around tunnels: lib.netlink_host_routes against this kernel."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lib.netlink_host_routes import HostRoutes, NoWayAround, Way
from tests.support.devices import device, settings
from tests.support.netns import HUB_TO_HOST_1, Namespace, Topology, connect, in_namespace
from tests.support.program import killed_after

FAR, FAR_6 = "203.0.113.10", "2001:db8:113::10"
FULL = {"0.0.0.0/1": "", "128.0.0.0/1": "", "::/1": "", "8000::/1": ""}


@contextmanager
def tunnel(host: Namespace, name: str = "tr0", routes: dict[str, str] | None = None) -> Iterator[HostRoutes]:
    """Host routes of one client, "one", whose device covers everything."""
    address = "10.88.0.1/24"
    with device(host, settings(address, "fd77::1/64", routes=FULL if routes is None else routes), name=name):
        made = HostRoutes()
        with in_namespace(host.name):
            made.join("one", name)
        yield made
        with in_namespace(host.name):
            made.leave("one")


def around(host: Namespace, routes: HostRoutes, address: str = FAR, client: str = "one") -> str | None:
    """The host route that is set, as the kernel shows it: without what it adds, in the order of its words."""
    with in_namespace(host.name):
        way = routes.way(address, client, covered=True)
    return way.route if way else None


def shown(host: Namespace, version: str = "-4") -> list[str]:
    said = host.run("ip", version, "route", "show", "proto", "116")
    return [" ".join(line.split()) for line in said.splitlines()]


@pytest.fixture
def host(topology: Topology) -> Namespace:
    """host-1 with two uplinks to the hub's namespace, and no default route yet."""
    connect(topology.hub, "to-wlan", "10.77.3.1/24", topology.host_1, "wlan0", "10.77.3.2/24")
    return topology.host_1


def default(host: Namespace, *words: str, version: str = "-4") -> None:
    host.run("ip", version, "route", "add", "default", *words)


def test_the_lowest_metric_wins_and_what_the_route_says_is_kept(host: Namespace) -> None:
    default(host, "via", "10.77.3.1", "metric", "600")
    default(host, "via", HUB_TO_HOST_1, "metric", "100", "mtu", "1400")
    with tunnel(host) as routes:
        assert around(host, routes) == f"{FAR} via {HUB_TO_HOST_1} dev uplink"
        assert shown(host) == [f"{FAR} via {HUB_TO_HOST_1} dev uplink metric 1 onlink mtu 1400"]
        host.run("ip", "route", "del", "default", "metric", "100")  # the default changes
        assert around(host, routes) == f"{FAR} via 10.77.3.1 dev wlan0"
        host.run("ip", "route", "add", "203.0.113.0/24", "via", HUB_TO_HOST_1)  # a longer prefix
        assert around(host, routes) == f"{FAR} via {HUB_TO_HOST_1} dev uplink"
        assert around(host, routes, "10.77.1.7") == "10.77.1.7 dev uplink"
        assert around(host, routes, "10.77.1.2") is None, "an address of this host needs no way"
    assert shown(host) == []


def test_next_hops_of_a_multipath_default_take_turns(host: Namespace) -> None:
    hops = ("nexthop", "via", HUB_TO_HOST_1, "nexthop", "via", "10.77.3.1", "nexthop", "via", "10.77.1.9")
    default(host, *hops)
    with tunnel(host) as routes:
        assert [around(host, routes) for _ in range(4)] == [
            f"{FAR} via {HUB_TO_HOST_1} dev uplink",
            f"{FAR} via 10.77.3.1 dev wlan0",
            f"{FAR} via 10.77.1.9 dev uplink",
            f"{FAR} via {HUB_TO_HOST_1} dev uplink",
        ]
        routes.tried("one", [FAR], True)
        routes.tried("another client", [FAR], False)  # its troubles must not break the session of "one"
        assert around(host, routes) == around(host, routes) == f"{FAR} via {HUB_TO_HOST_1} dev uplink"
        routes.tried("one", [FAR], False)
        assert around(host, routes) == f"{FAR} via 10.77.3.1 dev wlan0"
        with in_namespace(host.name):
            routes.keep("one", ())
        assert around(host, routes) == f"{FAR} via 10.77.1.9 dev uplink", "remembered, as for a name server"


def test_rules_decide_before_prefixes(host: Namespace) -> None:
    """As wg-quick sets them: main's default does not count, the other table's does."""
    default(host, "via", HUB_TO_HOST_1)
    default(host, "via", "10.77.3.1", "table", "51820")
    host.run("ip", "rule", "add", "pref", "100", "lookup", "main", "suppress_prefixlength", "0")
    host.run("ip", "rule", "add", "pref", "101", "not", "fwmark", "51820", "lookup", "51820")
    with tunnel(host) as routes:
        assert around(host, routes) == f"{FAR} via 10.77.3.1 dev wlan0"
    host.run("ip", "rule", "del", "pref", "100")
    host.run("ip", "rule", "del", "pref", "101")
    host.run("ip", "route", "del", "default")
    host.run("ip", "rule", "add", "pref", "32767", "lookup", "51820")  # asked after main
    with tunnel(host) as routes:
        assert around(host, routes) == f"{FAR} via 10.77.3.1 dev wlan0"


def test_next_hops_of_every_kind(host: Namespace) -> None:
    host.run("ip", "addr", "add", "2001:db8:9::2/64", "dev", "uplink", "nodad")
    default(host, "via", "2001:db8:9::1", version="-6")
    default(host, "via", "inet6", "2001:db8:9::1", "dev", "uplink")
    with tunnel(host) as routes:
        assert around(host, routes, FAR_6) == f"{FAR_6} via 2001:db8:9::1 dev uplink"
        assert around(host, routes) == f"{FAR} via 2001:db8:9::1 dev uplink"
        assert len(shown(host)) == len(shown(host, "-6")) == 1
    assert shown(host) == shown(host, "-6") == []
    host.run("ip", "route", "del", "default")
    default(host, "dev", "wlan0")
    with tunnel(host) as routes:
        assert around(host, routes) == f"{FAR} dev wlan0"


def test_no_way_around_is_said_in_one_line(host: Namespace) -> None:
    with tunnel(host) as routes:
        for address in (FAR, FAR_6):
            expected = f"the routes of tr0 cover {address}, and no other device leads there"
            with pytest.raises(NoWayAround, match=expected):
                around(host, routes, address)
        default(host, "via", HUB_TO_HOST_1)
        assert around(host, routes) == f"{FAR} via {HUB_TO_HOST_1} dev uplink"


def test_what_is_not_covered_is_left_to_the_kernel(host: Namespace) -> None:
    default(host, "via", HUB_TO_HOST_1)
    with tunnel(host, routes={"10.0.0.0/9": ""}) as routes, in_namespace(host.name):
        assert routes.way(FAR, "one", covered=False) is None
        assert routes.way("10.1.2.3", "one", covered=False) is not None, "the kernel's routes count"
    assert shown(host) == []


def test_two_tunnels_of_one_process_do_not_lead_through_each_other(host: Namespace) -> None:
    default(host, "via", HUB_TO_HOST_1)
    narrow = settings("10.89.0.1/24", routes={"203.0.113.0/24": ""})
    with tunnel(host) as routes, device(host, narrow, name="tr1"), in_namespace(host.name):
        routes.join("two", "tr1")
        expected = Way("uplink", f"{FAR} via {HUB_TO_HOST_1} dev uplink")
        assert routes.way(FAR, "two", covered=True) == expected
        assert routes.way(FAR, "one", covered=True) == expected
        routes.leave("two")
        assert len(shown(host)) == 1, "the other client still wants it"
        routes.keep("one", (FAR,))
        assert len(shown(host)) == 1
        routes.keep("one", ())
        assert shown(host) == []


def test_two_tunnels_of_two_processes_do_not_lead_through_each_other(host: Namespace) -> None:
    """As two instances of the service on one machine, one of them a full tunnel."""
    default(host, "via", HUB_TO_HOST_1)
    expected = f"{FAR} via {HUB_TO_HOST_1} dev uplink"
    narrow = settings("10.89.0.1/24", routes={"203.0.113.0/24": ""})
    with tunnel(host) as routes:
        assert around(host, routes) == expected
        other = HostRoutes()
        with device(host, narrow, name="tr1"), in_namespace(host.name):
            other.join("two", "tr1")
            assert [around(host, other, client="two") for _ in range(3)] == [expected] * 3
            assert [around(host, routes) for _ in range(2)] == [expected] * 2
            routes.leave("one")  # its device may be anybody's from now on
            assert around(host, other, client="two") == f"{FAR} dev tr0"
            other.leave("two")
    assert shown(host) == []


KILLED = """
import os, signal
from lib.netlink_host_routes import HostRoutes
routes = HostRoutes()
routes.join("one", "tr0")
print(routes.way("203.0.113.10", "one", covered=True).route, flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(host: Namespace) -> None:
    default(host, "via", HUB_TO_HOST_1)
    with tunnel(host) as routes:
        assert around(host, routes, "203.0.113.11")
        command = ("ip", "netns", "exec", host.name, sys.executable, "-c", KILLED)
        with killed_after(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ) as other:
            assert other.stdout is not None
            assert other.stdin is not None
            assert other.stdout.readline() == f"{FAR} via {HUB_TO_HOST_1} dev uplink\n"
            both = [
                f"{FAR} via {HUB_TO_HOST_1} dev uplink metric 2 onlink",
                f"203.0.113.11 via {HUB_TO_HOST_1} dev uplink metric 1 onlink",
            ]
            assert shown(host) == both
            with in_namespace(host.name):
                third = HostRoutes()
                third.join("one", "tr0")
            assert shown(host) == both, "both processes live"
            other.stdin.write("\n")
            other.stdin.close()
            other.wait(10)
        assert other.returncode == -signal.SIGKILL
        assert shown(host) == both
        with in_namespace(host.name):
            third.leave("one")
        assert shown(host) == both[1:]


def test_stale_host_route_of_another_process_is_not_copied(host: Namespace) -> None:
    """If each of two processes copied the other's, a gateway that is gone would stay for ever."""
    default(host, "via", HUB_TO_HOST_1)
    host.run("ip", "route", "add", FAR, "via", "10.77.1.9", "proto", "116", "metric", "7")
    with tunnel(host) as routes:
        host.run("ip", "route", "add", FAR, "via", "10.77.1.9", "proto", "116", "metric", "9")
        assert around(host, routes) == f"{FAR} via {HUB_TO_HOST_1} dev uplink"


AT_ONCE = """
from gevent import monkey; monkey.patch_all()
import gevent
from lib.netlink_host_routes import HostRoutes
routes = HostRoutes()
routes.join("one", "tr0")
jobs = [gevent.spawn(routes.way, f"203.0.113.{n}", "one", True) for n in range(1, 22)]
gevent.joinall(jobs, timeout=20, raise_error=True)
print(sorted({job.value.device for job in jobs}), all(job.successful() for job in jobs))
routes.leave("one")
"""


def test_many_greenlets_ask_at_once(host: Namespace) -> None:
    default(host, "via", HUB_TO_HOST_1)
    with tunnel(host):
        assert host.run(sys.executable, "-c", AT_ONCE) == "['uplink'] True\n"
    assert shown(host) == []

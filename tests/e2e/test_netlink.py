"""What is set on a TUN device, and the way out: lib.netlink against this kernel."""

from __future__ import annotations

import pytest

from lib.errors import HostError
from lib.netlink import GSO_MAX_SIZE, QUEUE_LENGTH
from lib.packet_offload import MAX_SEGMENTS
from lib.settings import DeviceSettings
from tests.support.devices import device, settings
from tests.support.netns import HUB_TO_HOST_1, Namespace, Topology

# --- what is set on the device ---------------------------------------------------------------------


def test_everything_configured_can_be_seen(namespace: Namespace) -> None:
    wanted = settings(
        "10.88.0.1/24",
        "10.99.0.1/16",
        "fd77::1/64",
        mtu=1380,
        routes={"10.1.0.0/16": "", "10.2.0.0/16": "10.88.0.7", "fd78::/64": "", "fd79::/64": "fd77::9"},
    )
    with device(namespace, wanted, name="tr0") as tun:
        assert tun.name == "tr0"
        (link,) = namespace.ip("addr", "show", "dev", "tr0")
        addresses = {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]}
        routes = namespace.ip("route") + namespace.ip("-6", "route")
        set_routes = {r["dst"]: (r.get("gateway"), r.get("scope")) for r in routes if r["protocol"] == "117"}
        (bare,) = namespace.ip("link", "show", "dev", "tr0")
    assert addresses == {"10.88.0.1/24", "10.99.0.1/16", "fd77::1/64"}  # no link-local address
    assert set_routes == {
        "10.1.0.0/16": (None, "link"),
        "10.2.0.0/16": ("10.88.0.7", "global"),
        "fd78::/64": (None, "global"),
        "fd79::/64": ("fd77::9", "global"),
    }
    assert (link["mtu"], link["txqlen"], link["gso_max_size"]) == (1380, QUEUE_LENGTH, GSO_MAX_SIZE)
    assert link["gso_max_segs"] == MAX_SEGMENTS, "a hub drops superpackets of more"
    assert {"UP", "LOWER_UP"} <= set(link["flags"])
    assert bare["inet6_addr_gen_mode"] == "none"
    assert [a["local"] for a in link["addr_info"] if a.get("nodad")] == ["fd77::1"]


def test_peer_belongs_to_the_first_ipv4_address(namespace: Namespace) -> None:
    wanted = settings("fd77::1/64", "10.88.0.1/24", "10.99.0.1/16", peer="10.88.0.9")
    with device(namespace, wanted, name="tr0"):
        (link,) = namespace.ip("addr", "show", "dev", "tr0")
    peers = {a["local"]: a.get("address") for a in link["addr_info"]}
    assert peers == {"10.88.0.1": "10.88.0.9", "10.99.0.1": None, "fd77::1": None}


def test_route_for_the_devices_own_network_is_no_conflict(namespace: Namespace) -> None:
    wanted = settings("10.88.0.1/24", "fd77::1/64", routes={"10.88.0.0/24": "10.88.0.7", "fd77::/64": ""})
    with device(namespace, wanted):
        (route,) = namespace.ip("route", "show", "10.88.0.0/24")
    assert route["gateway"] == "10.88.0.7"


def test_kernel_chooses_names_and_a_template_works(namespace: Namespace) -> None:
    with device(namespace) as first, device(namespace) as second, device(namespace, name="vpn%d") as third:
        assert (first.name, second.name, third.name) == ("tun0", "tun1", "vpn0")


# --- refusals name the culprit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param(
            settings("10.88.0.1/24", routes={"10.9.0.0/16": "1.2.3.4"}),
            r"^tr0: route 10\.9\.0\.0/16 via 1\.2\.3\.4: no address of the device is in one network with",
            id="gateway elsewhere",
        ),
        pytest.param(
            settings("fd77::1/64", routes={"fd79::/64": "fd99::1"}),
            "^tr0: route fd79::/64 via fd99::1: no address of the device is in one network with",
            id="IPv6 gateway elsewhere",
        ),
        pytest.param(
            settings("10.88.0.1/24", "10.88.0.1/24"),
            "^tr0: address 10.88.0.1/24: given twice",
            id="address twice",
        ),
        pytest.param(
            settings("fd77::1/64", mtu=1200), "IPv6 needs an MTU of 1280 or more", id="MTU for IPv6"
        ),
        pytest.param(settings(mtu=70000), "^tr0: cannot set MTU 70000: mtu greater", id="MTU too big"),
        pytest.param(
            settings(routes={"10.77.1.0/24": ""}),
            r"^tr0: route 10\.77\.1\.0/24: exists already on uplink, and taking it over could not be undone$",
            id="route taken",
        ),
        pytest.param(
            settings(routes={"10.66.0.0/16": ""}),
            r"exists already on no single device \(multipath, blackhole\)",
            id="blackhole",
        ),
    ],
)
def test_refusals_name_the_culprit(topology: Topology, wanted: DeviceSettings, message: str) -> None:
    host = topology.host_1
    host.run("ip", "route", "add", "default", "via", HUB_TO_HOST_1)
    host.run("ip", "route", "add", "blackhole", "10.66.0.0/16")
    before = host.run("ip", "route")
    with pytest.raises(HostError, match=message), device(host, wanted, name="tr0"):
        pass
    assert host.run("ip", "route") == before


def test_ipv6_switched_off_matters_only_with_ipv6_addresses(namespace: Namespace) -> None:
    namespace.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    with pytest.raises(HostError, match=r"^tr0: address fd77::1/64: IPv6 is switched off on this host"):
        with device(namespace, settings("10.88.0.1/24", "fd77::1/64"), name="tr0"):
            pass
    with device(namespace, settings("10.88.0.1/24"), name="tr0"):
        (link,) = namespace.ip("addr", "show", "dev", "tr0")
        assert [a["local"] for a in link["addr_info"]] == ["10.88.0.1"]


def test_small_mtu_is_fine_without_ipv6(namespace: Namespace) -> None:
    with device(namespace, settings("10.88.0.1/24", mtu=576), name="tr0"):
        (link,) = namespace.ip("link", "show", "dev", "tr0")
    assert link["mtu"] == 576

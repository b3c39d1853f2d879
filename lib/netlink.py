"""Addresses, routes, MTU and state of the TUN device, set over rtnetlink(7).

Knows: addresses, MTU, queue length, routes and link state of our own device. Refuses to know: the device's
packets (tun), routes around it (netlink_host_routes), other devices (they are only ever named in an error),
how the settings were written (config_read, config_from_urls).

The kernel removes addresses and routes together with their device, so nothing needs to be removed here. For
the same reason a route is added and never replaces another device's, which would not come back; GOST
replaces it.

Each public function opens an IPRoute for itself (netlink_request says why).
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Any

from lib.errors import HostError
from lib.netlink_left import PROTOCOL
from lib.netlink_messages import Link, TunState
from lib.netlink_plan import Kind, Operation, routes, with_peers
from lib.netlink_request import ask, family, link_index, link_name, opened, reason, refusal
from lib.packet_offload import MAX_SEGMENTS
from lib.service_scheduling import breathe
from lib.settings import DeviceSettings, Interface, Network

QUEUE_LENGTH = 2000
"""Packets that the device's queue holds until we read them. On a busy machine we may not run for some ms,
and the kernel's default of 500 packets is 3 ms of small packets at the rates we carry. TCP does not fill the
longer queue: its window limits it first."""

GSO_MAX_SIZE = 65520
"""A superpacket is shorter than this, so that with its header of 10 bytes it fits a 16-bit frame."""

IPV6_MIN_MTU = 1280

_ADDR_GEN_NONE = 1  # linux/if_link.h IN6_ADDR_GEN_MODE_NONE
_IFA_F_NODAD = 0x02
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
_IPV6_METRIC = 1024  # what the kernel gives a route that names none

_GONE = (errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENETUNREACH)
"""What is to be removed went with something else, a route with an address, say."""
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM})


def configure(settings: DeviceSettings, name: str, capabilities: int) -> None:
    """Set addresses, MTU and routes on a new TUN device and bring it up.

    `name` is the device's name, `capabilities` what it can offload (bits of lib.packet_offload; the size
    of superpackets is only limited where there are any). Takes a few ms.

    Raises HostError naming the address or route and the kernel's reason. The caller must close the device
    then, which also removes what was set until then.
    """
    check(settings, name)
    with opened() as ip:
        index = link_index(ip, name)
        _set_link(ip, index, name, settings.mtu, capabilities)
        for address, peer in with_peers(settings):
            _add_address(ip, index, name, address, peer)
        ask(f"{name}: cannot be brought up", ip.link, "set", index=index, state="up")
        for prefix, gateway in routes(settings):
            _add_route(ip, index, name, prefix, gateway)


def reconfigure(old: DeviceSettings, new: DeviceSettings, name: str) -> list[str]:
    """Change the addresses and routes of a device in use; those that are in both settings are not touched.

    Returns one line of text for each change. Raises HostError like configure(); what was changed until then
    stays changed.
    """
    lines = []
    had, wanted = routes(old), routes(new)
    with opened() as ip:
        index = link_index(ip, name)
        for prefix, gateway in had:
            if (prefix, gateway) not in wanted:
                ask(
                    f"{name}: route {prefix}", ip.route, "del", ignore=_GONE, **_route(index, prefix, gateway)
                )
                lines.append(f"route {prefix} removed")
        for address in old.addresses:
            if address not in new.addresses:
                _remove_address(ip, index, address)
                lines.append(f"address {address} removed")
        for address in new.addresses:
            if address not in old.addresses:
                _add_address(ip, index, name, address, "")
                lines.append(f"address {address} added")
        kept = set(had) if old.addresses == new.addresses else set()  # else some went with an address
        for prefix, gateway in wanted:
            if (prefix, gateway) not in kept:
                _add_route(ip, index, name, prefix, gateway)
            if (prefix, gateway) not in had:
                lines.append(f"route {prefix} added")
    return lines


def tune(index: int, name: str, capabilities: int) -> bool:
    """Keep a device silent and limit its superpackets, as configure() does; False where that is refused."""
    try:
        with opened() as ip:
            _silence(ip, index, name)
            ask(f"{name}: cannot set its queue", ip.link, "set", index=index, txqlen=QUEUE_LENGTH)
            _limit(ip, index, name, capabilities)
    except HostError:
        return False
    return True


def silence(index: int, name: str) -> None:
    """Let a device make no addresses of its own and send nothing by itself. Raises HostError."""
    with opened() as ip:
        _silence(ip, index, name)


def remove(operations: list[Operation], index: int) -> None:
    """Remove addresses and routes from a device; those that are not there any more are no error."""
    with opened() as ip:
        for one in operations:
            if one.prefix is not None:
                ask(f"{one}", ip.route, "del", ignore=_GONE, **_route(index, one.prefix, one.gateway))
            elif one.address is not None:
                _remove_address(ip, index, one.address)


def reset(index: int, name: str, link: Link, state: TunState) -> None:
    """Give a device the state, MTU and limits that it had before. Raises HostError."""
    with opened() as ip:
        if not link.up:
            ask(f"{name}: cannot be set down", ip.link, "set", index=index, state="down")
        if state.address_mode >= 0:
            _set_address_mode(ip, index, name, state.address_mode)
        what, size, segments = f"{name}: cannot be set back", state.gso_max_size, state.gso_max_segs
        ask(what, ip.link, "set", index=index, mtu=link.mtu, txqlen=state.queue_length)
        if size and segments:
            ask(what, ip.link, "set", index=index, gso_max_size=size, gso_max_segs=segments)


def put_back(
    operations: list[Operation], settings: DeviceSettings, index: int, name: str, protocol: int = PROTOCOL
) -> dict[Operation, str]:
    """Put back what other programs have taken away from a device in use (netlink_plan).

    `protocol` is the origin that addresses and routes get: ours, or the usual one for somebody else's.
    Returns the reason for each operation that the kernel refused. Raises HostError without netlink.
    """
    refused = {}
    with opened() as ip:
        for operation in operations:
            breathe()  # thousands of routes take seconds
            try:
                _put_back(ip, operation, settings, index, name, protocol)
            except HostError as error:
                refused[operation] = str(error).removeprefix(f"{name}: {operation}: ")
    return refused


def _put_back(
    ip: Any, operation: Operation, settings: DeviceSettings, index: int, name: str, protocol: int
) -> None:
    if operation.address is not None:
        _add_address(ip, index, name, operation.address, operation.peer, protocol)
    elif operation.prefix is not None:
        _add_route(ip, index, name, operation.prefix, operation.gateway, protocol)
    elif operation.kind is Kind.UP:
        ask(f"{name}: cannot be brought up", ip.link, "set", index=index, state="up")
    else:
        had_ipv6 = ip.get_links(index)[0].get_attr("IFLA_MTU") >= IPV6_MIN_MTU
        _set_link(ip, index, name, settings.mtu, 0)
        if not had_ipv6:  # it begins anew, so that there was nothing to silence before
            _silence(ip, index, name)
            ip.flush_addr(index=index, scope=_RT_SCOPE_LINK)


def check(settings: DeviceSettings, name: str) -> None:
    """Refuse settings of which the kernel would accept only a part. Raises HostError."""
    if settings.mtu < IPV6_MIN_MTU and any(a.version == 6 for a in settings.addresses):
        raise HostError(
            f"{name}: IPv6 needs an MTU of {IPV6_MIN_MTU} or more, not {settings.mtu}: "
            "raise the MTU or leave the IPv6 addresses out"
        )


def _set_link(ip: Any, index: int, name: str, mtu: int, capabilities: int) -> None:
    what = f"{name}: cannot set MTU {mtu}"
    _silence(ip, index, name)  # first, for a device whose MTU is below IPv6's least has no IPv6 settings
    ask(what, ip.link, "set", index=index, mtu=mtu, txqlen=QUEUE_LENGTH)
    _limit(ip, index, name, capabilities)


def _limit(ip: Any, index: int, name: str, capabilities: int) -> None:
    if capabilities:
        # Sets the IPv4 limit as well (one of its own since Linux 6.3). What gets past a limit, as a
        # forwarded packet merged by another device, the kernel segments before it hands it to us.
        what = f"{name}: cannot limit superpackets"
        size, segments = GSO_MAX_SIZE, MAX_SEGMENTS  # a hub drops those with more
        ask(what, ip.link, "set", index=index, gso_max_size=size, gso_max_segs=segments)


def _silence(ip: Any, index: int, name: str) -> None:
    """Else the kernel gives itself a link-local address, and chatters about it, the moment it is up."""
    _set_address_mode(ip, index, name, _ADDR_GEN_NONE)


def _set_address_mode(ip: Any, index: int, name: str, mode: int) -> None:
    family_mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", mode)]}
    no_ipv6 = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
    what, af_spec = f"{name}: cannot be kept silent", {"attrs": [("AF_INET6", family_mode)]}
    ask(what, ip.link, "set", index=index, IFLA_AF_SPEC=af_spec, ignore=no_ipv6)


def _add_address(
    ip: Any, index: int, name: str, address: Interface, peer: str, protocol: int = PROTOCOL
) -> None:
    arguments: dict[str, Any] = {"address": str(address.ip), "prefixlen": address.network.prefixlen}
    if protocol == PROTOCOL:
        arguments["proto"] = protocol
    if peer:
        arguments |= {"local": str(address.ip), "address": peer}
    if address.version == 6:
        arguments["flags"] = _IFA_F_NODAD  # nobody else is on the link: usable at once, and silent
    try:
        ip.addr("add", index=index, family=family(address), **arguments)
    except refusal() as refused:
        raise HostError(f"{name}: address {address}: {_address_reason(address, refused)}") from None


def _remove_address(ip: Any, index: int, address: Interface) -> None:
    fields = {"address": str(address.ip), "prefixlen": address.network.prefixlen}
    ask(f"address {address}", ip.addr, "del", index=index, family=family(address), ignore=_GONE, **fields)


def _address_reason(address: Interface, refused: Any) -> str:
    if address.version == 6 and refused.code in _NO_IPV6:
        return (
            "IPv6 is switched off on this host: leave the IPv6 addresses out, or "
            "sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0"
        )
    return "given twice" if refused.code == errno.EEXIST else reason(refused)


def _add_route(
    ip: Any, index: int, name: str, prefix: Network, gateway: str, protocol: int = PROTOCOL
) -> None:
    route = {**_route(index, prefix, gateway), "proto": protocol}
    what = f"{name}: route {prefix}" + (f" via {gateway}" if gateway else "")
    try:
        ip.route("add", **route)
    except refusal() as refused:
        if refused.code != errno.EEXIST:
            raise HostError(f"{what}: {_route_reason(gateway, refused)}") from None
        holder = _route_holder(ip, prefix)
        if holder != name:
            taken = f"exists already on {holder}, and taking it over could not be undone"
            raise HostError(f"{what}: {taken}") from None
        # The network of one of our addresses, or a route written twice: what is configured wins.
        ask(what, ip.route, "replace", **route)


def _route(index: int, prefix: Network, gateway: str) -> dict[str, Any]:
    """A route as pyroute2's arguments, the same to add, replace and delete it."""
    route: dict[str, Any] = {"dst": str(prefix), "family": family(prefix), "oif": index}
    if gateway:
        route["gateway"] = gateway
    elif prefix.version == 4:
        route["scope"] = _RT_SCOPE_LINK
    return route


def _route_reason(gateway: str, refused: Any) -> str:
    if gateway and refused.code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL):
        return f"no address of the device is in one network with the gateway ({reason(refused)})"
    return reason(refused)


def _route_holder(ip: Any, prefix: Network) -> str:
    """The device of the main table's route to exactly this prefix, with the metric that ours would get."""
    metric = 0 if prefix.version == 4 else _IPV6_METRIC
    for route in ip.get_routes(family=family(prefix), table=_RT_TABLE_MAIN):
        destination = route.get_attr("RTA_DST") or ("0.0.0.0" if prefix.version == 4 else "::")
        same = route["dst_len"] == prefix.prefixlen and ip_address(destination) == prefix.network_address
        if same and (route.get_attr("RTA_PRIORITY") or 0) == metric:
            index = route.get_attr("RTA_OIF")
            return link_name(ip, index) if index else "no single device (multipath, blackhole)"
    return "another device"

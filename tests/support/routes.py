"""Routes, groups and tables for tests, made from texts as in a configuration."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from ipaddress import ip_address, ip_network
from typing import TypeVar

from lib.acl import Acl
from lib.route_table import Group, HubAddress, Route, RouteTable, group
from lib.settings import Hop, RouteEntry


def entry(prefix: str, gateway: str, metric: int | None = None, fall_through: bool = False) -> RouteEntry:
    """One route: entry("10.0.0.0/8", "host-1")."""
    network = ip_network(prefix)
    return RouteEntry(network.network_address.packed, network.prefixlen, Hop(gateway, metric, fall_through))


def line(text: str) -> RouteEntry:
    """One route: line("10.0.0.0/8 host-1")."""
    prefix, gateway = text.split()
    return entry(prefix, gateway)


def table(*routes: tuple[str, str]) -> RouteTable:
    """A table of ("10.0.0.0/8", "host-1")."""
    return RouteTable(entry(*route) for route in routes)


def to(*gateways: str) -> Group:
    """A group of gateways in the order written."""
    return group(map(Hop, gateways))


def gateways(found: Group | None) -> tuple[str, ...] | None:
    """All gateways of a group by preference."""
    return tuple(name for tier in found.tiers for name in tier) if found else None


def packed(address: str) -> bytes:
    """The bytes of an address."""
    return ip_address(address).packed


class Nobody:
    """A router plugin that is never asked."""

    acl: Acl | None = None
    own: tuple[HubAddress, ...] = ()

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        """Fail."""
        raise AssertionError("asked")


T = TypeVar("T")


def drain(steps: Generator[None, None, T]) -> T:
    """Run a generator of steps to its end; returns its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


def prefixes(routes: Iterable[tuple[str, str]]) -> list[RouteEntry]:
    """Entries of ("10.0.0.0/8", "host-1")."""
    return [entry(*route) for route in routes]

"""Host names of a client in a configuration: the targets of its forwarder.

Knows: what a host name may be, that a client has one of several at a time, and how that one is chosen.
Refuses to know: when it is chosen (client_host), the rest of a client (config_client).
"""

from __future__ import annotations

from lib import config_metadata
from lib.addresses import is_address
from lib.config_chain import check_selector, choice_of, strategy_of
from lib.config_findings import Findings
from lib.config_gost_keys import TARGET_KEYS
from lib.config_schema import Forwarder, ForwardNode, Selector, Service
from lib.ids import is_host_name
from lib.settings import HostChoice

MAX_NAMES = 1000
"""Host names of one client; with more it is refused."""


def host_names(service: Service, found: Findings) -> tuple[HostChoice, ...]:
    """The host names of a client, at least one; what is wrong with them is a problem in `found`."""
    forwarder = service.forwarder or Forwarder(at=service.at)
    nodes = forwarder.nodes
    if not nodes:
        hint = "write its host name as -L tun:///host-1 or as addr of a forwarder node"
        found.error(service.where("forwarder"), f"service {service.name} has no host name", hint)
        return (HostChoice(""),)
    if len(nodes) > MAX_NAMES:
        text = f"service {service.name} has {len(nodes):,} host names, more than {MAX_NAMES:,}"
        found.error(nodes[MAX_NAMES].where("addr"), text)
        return (HostChoice(nodes[0].addr),)
    if forwarder.selector:
        _check_selector(forwarder.selector, forwarder, found)
    return tuple(_name(node, forwarder, found) for node in found.each(nodes))


def host_strategy(service: Service) -> str:
    """How one of several host names is chosen."""
    return strategy_of(service.forwarder.selector if service.forwarder else None)


def _check_selector(selector: Selector, forwarder: Forwarder, found: Findings) -> None:
    check_selector(selector, found)
    if len(forwarder.nodes) == 1:
        where = selector.where() if selector.where().line else forwarder.where()
        found.warn(where, "'selector' of a forwarder chooses among host names, and this client has one")
        return
    for field, key in (("max_fails", "maxFails"), ("fail_timeout", "failTimeout")):
        if field in selector.at:
            text = f"{key!r} of a forwarder has no effect: a host name never fails, in GOST neither"
            found.warn(selector.where(field), text)


def _name(node: ForwardNode, forwarder: Forwarder, found: Findings) -> HostChoice:
    if wrong := _wrong_host(node.addr):
        found.error(node.where("addr"), wrong[0], wrong[1])
    config_metadata.check({"target": node}, TARGET_KEYS, "a target of a forwarder", found)
    choice = choice_of(node, forwarder.selector, "the selector of the forwarder", found)
    if len(forwarder.nodes) == 1:
        for key in ("weight", "backup"):
            if tree := config_metadata.find(node, key):
                found.warn(tree.where, f"{key!r} is for one of several host names, and this client has one")
    return HostChoice(node.addr, choice)


def _wrong_host(host: str) -> tuple[str, str] | None:
    """(message, hint) about a wrong host name; None for a right one."""
    if not host:
        return "an empty host name", "a hub finds its hosts by name: write addr: host-1"
    if ":" in host and not is_address(host):
        message = f"{host[:64]!r} has a port: that means a UDP peer in GOST, not a host on a router"
        return message, "write the host name alone"
    if not is_host_name(host):
        return f"a control character in the host name {host[:64]!r}", ""
    if len(host.encode()) > 255:
        return "a host name of more than 255 bytes", ""
    return None

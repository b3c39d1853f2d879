"""`dnsDomain` and `names` of a router, checked: which names the hub answers for.

Knows: what a domain of one's own may be called, what a name may look like (RFC 1035, 2.3.1).
Refuses to know: which hosts have names too (dns_zone), other keys of a router (config_tables).
"""

from __future__ import annotations

from collections.abc import Iterator

from lib.addresses import address
from lib.config_findings import Findings
from lib.config_schema import Router
from lib.config_yaml import Scalar, Sequence, Tree
from lib.dns_zone import is_name
from lib.settings_names import NamesSettings

MAX_DOMAIN = 180
"""Letters: a name has 253, and what is below the domain has to fit too."""
MAX_NAMES = 4096
_NOT_OURS = {
    "local": "that domain belongs to mDNS, which asks the local network",
    "localhost": "that is every host itself",
    "arpa": "that domain is for names of addresses",
    "onion": "that domain belongs to Tor",
    "invalid": "nobody looks up names of that domain",
}
"""Top-level domains that resolvers do not ask a server for (RFC 6761, 6762, 7686)."""


def names_settings(router: Router, found: Findings) -> NamesSettings | None:
    """The names of a router; None where it has no domain. Each wrong value is a problem."""
    if not router.dns_domain:
        if router.names:
            hint = "write dnsDomain: and the domain"
            found.error(router.where("names"), f"router {router.name}: 'names' without a domain", hint)
        return None
    domain = router.dns_domain.strip().strip(".").lower()
    where = router.where("dns_domain")
    why = _unusable(domain)
    if why:
        hint = "write a domain of yours with a part for these hosts, such as vpn.example.com or lan.internal"
        found.error(where, f"'dnsDomain': {router.dns_domain[:64]!r}: {why}", hint)
    if not router.address:
        text = f"router {router.name}: a domain, but no address at which the hub could be asked"
        found.warn(where, text, "write address: and the hub's address in the network of this router")
    return NamesSettings(domain, tuple(_devices(router, found)))


def _unusable(domain: str) -> str:
    """Why a domain cannot be that of a router; empty where it can be."""
    labels = domain.split(".")
    if not is_name(domain) or len(domain) > MAX_DOMAIN:
        return "that is no domain (letters, digits and hyphens, with dots between)"
    if len(labels) < 2:
        return "a domain of one word could hide all names below it that others have"
    return _NOT_OURS.get(labels[-1], "")


def _devices(router: Router, found: Findings) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    if len(router.names) > MAX_NAMES:
        found.error(router.where("names"), f"'names': more than {MAX_NAMES:,}")
        return
    for name, tree in found.each(router.names.items()):
        lower = name.strip().strip(".").lower()
        if not is_name(lower):
            found.error(
                tree.where, f"'names': {name[:64]!r} is no name (letters, digits and hyphens, with dots)"
            )
        addresses = []
        for item in _scalars(tree, found):
            try:
                addresses.append(address(item.text).packed)
            except ValueError as wrong:
                found.error(item.where, f"'names': {wrong}")
        yield lower, tuple(dict.fromkeys(addresses))


def _scalars(tree: Tree, found: Findings) -> Iterator[Scalar]:
    for item in tree.items if isinstance(tree, Sequence) else [tree]:
        if not isinstance(item, Scalar):
            found.error(item.where, "'names' wants an address, or a list of them, for each name")
            continue
        words = (word.strip() for word in item.text.split(","))
        yield from (Scalar(word, item.where) for word in words if word)

"""Ingress rules: which host name may join which namespace.

Knows: how GOST matches a host name with rules, wildcards included.
Refuses to know: where the rules come from (rule_live), how a refusal is sent (hub: status 6).

A rule binds a host name, or everything under a domain, to the UUID of a namespace:

    rule        matches                               for the host x.a.b rules are looked up in
    a.b         a.b, letter for letter                this order, and the first one found decides:
    .a.b        a.b, x.a.b, y.x.a.b, …                x.a.b  .x.a.b  .a.b  .b
    *.a.b       the same as .a.b

A host without a rule belongs to the zero UUID, the namespace of clients that name none. So does a host whose
rule's endpoint is not a UUID. A rule with an empty host name or endpoint is ignored. Of two rules for one
host name the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from lib.ids import NO_NAMESPACE, parse_uuid


class Ingress:
    """The rules of one ingress. A look-up takes one dict access for each label of the host name."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Iterable[tuple[str, str]]) -> None:
        """`rules` are pairs (host name, endpoint), texts as configured, in the order of their sources."""
        self._rules = {
            hostname.removeprefix("*"): endpoint_namespace(endpoint)
            for hostname, endpoint in rules
            if hostname and endpoint
        }

    def endpoint(self, host: str) -> bytes:
        """The namespace (16 bytes) that a host belongs to; the zero UUID where no rule names another."""
        rules = self._rules
        namespace = rules.get(host)
        if namespace is None:
            namespace = rules.get("." + host)
        dot = host.find(".")
        while namespace is None and dot >= 0:
            namespace = rules.get(host[dot:])
            dot = host.find(".", dot + 1)
        return NO_NAMESPACE if namespace is None else namespace

    def admits(self, host: str, namespace: bytes) -> bool:
        """Whether a host may join a namespace (16 bytes).

        An empty host never may: GOST skips the check for it, and so lets everybody into every namespace.
        """
        return host != "" and self.endpoint(host) == namespace

    def __len__(self) -> int:
        return len(self._rules)


def endpoint_namespace(endpoint: str) -> bytes:
    """The namespace that an endpoint names; that of those who name none where it is no UUID, as in GOST."""
    try:
        return parse_uuid(endpoint)
    except ValueError:
        return NO_NAMESPACE

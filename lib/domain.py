"""A domain: the namespaces of a service, or of several services that share them.

Knows: which tables a namespace has, when it comes to be and when it goes.
Refuses to know: who may enter (admission) and what happens inside (namespace, forward).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.answers import Answers
from lib.namespace import Namespace, Port
from lib.routes import RouteTable
from lib.stats import Traffic

_NO_ROUTES = RouteTable(())


@dataclass(slots=True, eq=False)
class Domain:
    """Namespaces by id, made when their first client comes."""

    tables: Mapping[bytes, RouteTable]
    """Tables named by a namespace's UUID."""
    default: RouteTable = _NO_ROUTES
    """The handler's `router:`, asked where a namespace's own table has no route."""
    answers_seconds: float | None = None
    """How long a plugin's answer counts, where the default is a plugin instead."""
    source_check: bool = True
    namespaces: dict[bytes, Namespace] = field(default_factory=dict)
    gone: Traffic = field(default_factory=Traffic)
    """The counts of namespaces that have gone."""

    def enter(self, port: Port) -> None:
        """A session goes live."""
        port.namespace = self.namespaces.setdefault(port.namespace.id, port.namespace)
        port.namespace.join(port)

    def leave(self, port: Port) -> None:
        """A session ends; a namespace that only its clients named goes with its last one."""
        namespace = port.namespace
        namespace.leave(port)
        if not namespace.gateways and namespace.id not in self.tables:
            del self.namespaces[namespace.id]
            self.gone.add(namespace.gone)

    def namespace(self, key: bytes) -> Namespace:
        """The namespace of that id; it stays only once somebody enters."""
        namespace = self.namespaces.get(key)
        if namespace is None:
            seconds = self.answers_seconds
            default = self.default if seconds is None else Answers[Port](seconds)
            namespace = Namespace(key, self.tables.get(key, _NO_ROUTES), default, self.source_check)
        return namespace

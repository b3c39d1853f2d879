"""Memory that namespaces share which anybody can make up: who holds most of it loses its own oldest entry.

Knows: how many bytes the tables of each namespace hold, which stranger's namespaces hold most.
Refuses to know: what is in a table (acl_connections, route_plugin_cache, route_gateways, cluster_directory),
which of its tables a namespace has in here (namespace), who is a stranger (namespace_domain).

    Commons            a bound in bytes for all namespaces of a domain
      group            what one stranger has made up: the namespaces whose first session came from one address
        Member         one namespace
          SharedTable  one of its tables: BoundedDict with a price for each entry, or ShareTable (acl_shares)

A table counts what it holds when it grows. What leaves it for another reason is seen when it grows the next
time, or when there is too little room; until then too much is counted, never too little.

Requests to plugins cannot be taken back, so there the last part stays free: a group may have as many under
way as are free for others (dynamic thresholds, Choudhury and Hahne 1998).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from lib.bounded_dict import BoundedDict
from lib.session_budget import BySize
from lib.settings_memory import MAX_ASKING

_LEAST_BITS = 9  # who holds less than 512 bytes is as good as any other

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedTable(Protocol):
    """A table as a member counts it."""

    price: int
    """Bytes that one entry holds."""
    counted: int
    """Entries that its member knows of."""
    member: Member | None
    """Whose it is; None where it has a bound of its own alone."""

    def __len__(self) -> int:
        """Entries that it holds."""

    def drop_oldest(self) -> None:
        """Remove an entry, where there is one."""


class PricedDict(BoundedDict[K, V]):
    """A BoundedDict whose entries are counted by a member."""

    __slots__ = ("counted", "member", "price")

    def __init__(self, most: int, price: int) -> None:
        """`price` is how many bytes an entry holds."""
        super().__init__(most)
        self.price, self.counted = price, 0
        self.member: Member | None = None

    def remember(self, key: K, value: V) -> None:
        """Set a value; a key that is there already keeps its age."""
        super().remember(key, value)
        if self.member is not None:
            self.member.grew(self)

    def renew(self, key: K, value: V) -> None:
        """Set a value, and make its key the youngest."""
        super().remember(key, value)
        self.move_to_end(key)
        if self.member is not None:
            self.member.grew(self)

    def drop_oldest(self) -> None:
        """Remove the oldest entry, where there is one."""
        if self:
            self.popitem(last=False)


@dataclass(slots=True, eq=False)
class _Group:
    """What the namespaces hold that one stranger has made up."""

    name: str
    held: int = 0
    rank: int = -1
    high: int = 0
    asking: int = 0
    members: BySize[Member] = field(default_factory=lambda: BySize(_LEAST_BITS))
    count: int = 0


@dataclass(slots=True, eq=False)
class Member:
    """What one namespace holds."""

    commons: Commons
    group: _Group
    tables: list[SharedTable] = field(default_factory=list)
    held: int = 0
    rank: int = -1
    high: int = 0
    ended: bool = False

    def keep(self, tables: Sequence[SharedTable]) -> None:
        """Count these tables from now on, and no others."""
        for table in self.tables:
            if not any(table is other for other in tables):
                self.commons.hold(self, -table.counted * table.price)
                table.member, table.counted = None, 0
        for table in tables:
            if table.member is not self:
                table.member, table.counted = self, 0
        self.tables = list(tables)
        for table in tables:
            self.grew(table)

    def grew(self, table: SharedTable) -> None:
        """A table has grown: make room where all together are too big now."""
        if not self.ended:  # what comes late goes with whoever has asked for it
            self.count(table)
            self.commons.relieve()

    def count(self, table: SharedTable) -> None:
        """Count what a table holds now."""
        now = len(table)
        if now != table.counted:
            more, table.counted = now - table.counted, now
            self.commons.hold(self, more * table.price)

    def may_ask(self) -> bool:
        """Whether one more request may be under way; then it is counted, until it was answered()."""
        if self.group.asking >= MAX_ASKING - self.commons.asking:
            return False
        self.group.asking += 1
        self.commons.asking += 1
        return True

    def answered(self) -> None:
        """A request is not under way any more."""
        self.group.asking -= 1
        self.commons.asking -= 1

    def drop_oldest(self) -> None:
        """Remove an entry of its largest table."""
        for table in self.tables:
            self.count(table)
        largest = max(self.tables, key=lambda table: table.counted * table.price, default=None)
        if largest is not None:
            largest.drop_oldest()
            self.count(largest)

    def end(self) -> None:
        """The namespace is gone."""
        if not self.ended:
            self.keep(())
            self.ended = True
            self.commons.left(self)


@dataclass(slots=True, eq=False)
class Commons:
    """The memory that the namespaces of one domain share. Every operation takes the same time."""

    limit: int
    """Bytes that all of them may hold."""
    used: int = 0
    asking: int = 0
    """Requests under way."""
    _groups: dict[str, _Group] = field(default_factory=dict)
    _by_size: BySize[_Group] = field(default_factory=lambda: BySize(_LEAST_BITS))

    def join(self, stranger: str) -> Member:
        """A new namespace, made up by this stranger."""
        group = self._groups.get(stranger)
        if group is None:
            group = self._groups[stranger] = _Group(stranger)
        group.count += 1
        return Member(self, group)

    def left(self, member: Member) -> None:
        """Forget a member that holds nothing any more, and its group with the last one."""
        member.group.count -= 1
        if not member.group.count:
            del self._groups[member.group.name]

    def hold(self, member: Member, size: int) -> None:
        """Count `size` bytes more (less where it is negative) that a member holds."""
        group = member.group
        self.used += size
        member.held += size
        group.held += size
        if member.held >= member.high:
            group.members.grown(member)
        if group.held >= group.high:
            self._by_size.grown(group)
        if not member.held:
            group.members.remove(member)
        if not group.held:
            self._by_size.remove(group)

    def relieve(self) -> None:
        """Get within the limit: the member with most of the group with most drops its oldest entries."""
        while self.used > self.limit:
            group = self._by_size.largest()
            member = group.members.largest() if group is not None else None
            if member is None:
                return
            member.drop_oldest()

    def __len__(self) -> int:
        """Strangers that have a namespace in here."""
        return len(self._groups)

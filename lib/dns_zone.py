"""Names that a hub answers for in one namespace: its hosts, devices behind them, and itself.

Knows: that an address with a route of its own to one host is that host's, which names can be asked for.
Refuses to know: how they are asked for (dns_answers), tables that are asked of a plugin.

A zone is made anew when a table has changed, at the next question. Of tables with more than FEW routes only
the names that are written in the configuration are known: to read them takes too long beside packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from lib.bounded_dict import BoundedDict
from lib.limits import Bucket
from lib.settings_names import NamesSettings

FEW = 4096
"""Routes of the biggest table whose hosts have names: it takes some ms, once after each change."""
REMEMBERED = 1024
"""Answers that a zone keeps."""
MAX_ADDRESSES = 16
"""Addresses of a name that are kept."""
PER_SECOND, BURST = 10_000.0, 1000.0
"""Questions of one session that have an answer, a second and at once: they take a sixth of a processor. What
is asked at 5,000 a second comes in bursts, where other processes have the processor meanwhile."""
NEW_PER_SECOND, NEW_BURST = 500.0, 50.0
"""Of these, such that nobody has asked before: an answer that has to be made takes 0.2 ms."""

_HEADER_SIZE, _LONGEST, _LABEL = 12, 512, 63
"""Bytes of a message's header, of the longest question that is remembered, and of a label."""
_OPT = b"\0\0\x29"
_OPT_SIZE = 11
"""How a record of EDNS begins, and its bytes without options (RFC 6891, 6.1.2)."""

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
                   r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")  # fmt: skip

Pair = tuple[str, bytes]
"""(host name, packed address)."""


def is_name(text: str) -> bool:
    """Whether a text in lower case is a name that can be asked for (RFC 1035, 2.3.1, with digits and _)."""
    return bool(_NAME.fullmatch(text))


class Zone:
    """The names of one namespace below one domain (dns_answers.Zone)."""

    def __init__(self, settings: NamesSettings, own: Iterable[bytes], hosts: Iterable[Pair]) -> None:
        """`own` are the hub's own addresses. A name of the settings comes before the same name of a host."""
        self.domain = settings.domain
        self._known: BoundedDict[bytes, bytes] = BoundedDict(REMEMBERED)
        self.pages: list[list[bytes]] | None = None
        self._addresses: dict[str, list[bytes]] = {"": list(own)}
        self._names: dict[bytes, str] = {}
        written = {name for name, _ in settings.devices}
        for name, addresses in settings.devices:
            self._add(name, addresses)
        for host, address in hosts:
            name = host.lower()
            if name not in written and is_name(name):
                self._add(name, (address,))
        for address in self._addresses[""]:
            self._names.setdefault(address, self.domain)

    def _add(self, name: str, addresses: Iterable[bytes]) -> None:
        known = self._addresses.setdefault(name, [])
        known += [one for one in addresses if one not in known][: MAX_ADDRESSES - len(known)]
        for one in addresses:
            self._names.setdefault(one, f"{name}.{self.domain}")
        while "." in name:  # a name that has others below it exists too (RFC 8020)
            name = name.partition(".")[2]
            self._addresses.setdefault(name, [])

    def addresses(self, name: str) -> Sequence[bytes] | None:
        """The packed addresses of a name below the domain ("": of itself); None for no such name."""
        return self._addresses.get(name)

    def recall(self, question: bytes) -> bytes | None:
        """The answer to a question that was remembered, with the number and the name as they are asked now.

        Resolvers write the letters of a name in any case, and send a cookie, against forgers: to make each
        such answer anew would take 0.2 ms.
        """
        key, end = _key(question)
        found = self._known.get(key)
        if found is None:
            return None
        return question[:2] + found[:10] + question[_HEADER_SIZE:end] + found[end - 2 :]

    def remember(self, question: bytes, answer: bytes) -> None:
        """Remember the answer to a question, where that repeats the question's name.

        That a question is malformed is said without its name: so nobody can have that said to others.
        """
        key, end = _key(question)
        name = slice(_HEADER_SIZE, end)
        if key and answer[name].lower() == question[name].lower():
            self._known.renew(key, answer[2:])

    @property
    def remembered(self) -> int:
        """How many answers are remembered."""
        return len(self._known)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """(address, whole name) of every name here, sorted by name."""
        for name in sorted(self._addresses):
            whole = f"{name}.{self.domain}" if name else self.domain
            yield from ((str(ip_address(one)), whole) for one in self._addresses[name])

    def name_of(self, address: bytes) -> str | None:
        """The whole name of a packed address; None where nobody here has it."""
        return self._names.get(address)


def _key(question: bytes) -> tuple[bytes, int]:
    """(what an answer depends on, where the question's name ends); (b"", 0) for what is not remembered.

    That is all of the message but its number, the case of the name's letters, and the options of EDNS.
    """
    if not _HEADER_SIZE < len(question) <= _LONGEST:
        return b"", 0
    end = _HEADER_SIZE
    while size := question[end]:
        end += size + 1
        if size > _LABEL or end >= len(question):
            return b"", 0
    rest = question[end:]
    more = rest[5:]  # behind the name's end, the type and the class
    if more[:3] == _OPT and int.from_bytes(more[9:11], "big") == len(more) - _OPT_SIZE:
        rest = rest[: 5 + 9]
    return question[2:_HEADER_SIZE] + question[_HEADER_SIZE:end].lower() + rest, end


def hosts_of(routes: Iterable[tuple[bytes, int, frozenset[str]]]) -> Iterator[Pair]:
    """The hosts with an address of their own, from (prefix, length, gateways) of each route."""
    for prefix, length, gateways in routes:
        if length == 8 * len(prefix) and len(gateways) == 1:
            (host,) = gateways
            yield host, prefix


@dataclass(slots=True, eq=False, weakref_slot=True)
class ZoneMemory:
    """The zone of all namespaces with the same tables, and what it was made of."""

    zone: Zone | None = None
    of: tuple[object, ...] = ()
    """The tables and the hub's own addresses that it is for."""
    changes: tuple[int, ...] = ()
    """How often each of the tables had changed."""
    made_at: float = 0.0


@dataclass(slots=True)
class Questions:
    """How many questions of one session are answered."""

    all: Bucket = field(default_factory=lambda: Bucket(PER_SECOND, BURST))
    new: Bucket = field(default_factory=lambda: Bucket(NEW_PER_SECOND, NEW_BURST))

    def may_ask(self, is_new: bool, now: float) -> bool:
        """Whether one more question may be answered; `now` is in seconds of a steady clock."""
        return self.all.spend(now) and (not is_new or self.new.spend(now))

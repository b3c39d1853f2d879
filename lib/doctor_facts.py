"""Facts of `tunrouter doctor`: what was seen of this host, of the ways to the hubs and of the tunnels.

Knows: the shape of each fact. Refuses to know: how it is found (doctor_look_host, doctor_look_way,
doctor_look_tunnel), what is wrong with it (doctor_checks).

Each field of Facts is found by itself, within a deadline of its own. Where that fails it is Unknown, with the
reason; where there is nothing to look at, as a TUN device on a hub, it is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lib.doctor_firewall import Firewall
from lib.prefixes import Prefix


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why a fact could not be found out."""

    why: str


@dataclass(frozen=True, slots=True)
class Tun:
    """Whether this user can make a TUN device, and what the kernel does with it."""

    error: str = ""
    """Why there is none, with what to do about it (tun.open_tun); empty where one was made."""
    refusal: str = ""
    """Why the kernel hands out single packets only; empty where it hands out superpackets."""


class Gateway(NamedTuple):
    """A prefix that the hub routes to this host."""

    service: str
    prefix: str
    stuck: bool
    """Whether the kernel drops what comes for it, because it does not forward."""


class Filtered(NamedTuple):
    """Packets that the reverse path filter drops: they come in from `device` with a source in `sources`."""

    what: str
    device: str
    sources: str
    setting: str
    """The sysctl that does it."""


class Neighbour(NamedTuple):
    """A machine of a network behind this host, pinged from two addresses of this host."""

    address: str
    device: str
    own: str
    """This host's address in that network."""
    tunnel: str
    """This host's address in the tunnel, as address/length."""
    answers_own: bool
    answers_tunnel: bool


class Far(NamedTuple):
    """An address behind the tunnel, pinged from each address of this host."""

    address: str
    device: str
    """The device that leads there; empty where no route does."""
    is_tunnel: bool
    answers: tuple[tuple[str, bool], ...]
    """(address of this host, whether a reply came to it); the tunnel's own is the first."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate: when it is valid, in seconds since 1970, and the SHA-256 of it in hexadecimal."""

    begins: float
    ends: float
    fingerprint: str


class Way(NamedTuple):
    """The way from a client to a node of its chain, tried up to the relay handshake and not further."""

    service: str
    node: str
    target: str
    """host:port."""
    error: str
    """Why there is no connection; empty where there is one."""
    stage: str
    """Where that happened: "name", "connection", "TLS", "WebSocket"."""
    code: int
    """The errno; 0 where there is none."""
    encrypted: bool
    verified: bool
    """Whether the client checks the certificate at all."""
    certificate: Certificate | None
    date: float | None
    """The far end's clock when it was asked (the Date header of HTTP), in seconds since 1970."""
    asked: float
    """Our clock then."""


class PathMtu(NamedTuple):
    """A path, measured with echo requests that no router may fragment."""

    what: str
    target: str
    device: str
    answered: bool
    """Whether the smallest one was answered; else nothing is known."""
    largest: int
    """Bytes of the largest packet that was answered."""
    believed: int
    """Bytes of the largest packet that the kernel sends there."""


class NameServer(NamedTuple):
    """A name server of resolv.conf, asked directly."""

    address: str
    answers: bool
    device: str
    """The device that the kernel's route to it leads through."""
    is_tunnel: bool
    answers_outside: bool
    """Whether it answers over the device that leads there without the tunnel; only where is_tunnel."""


class Looked(NamedTuple):
    """A name of a hub, looked up as programs do."""

    name: str
    error: str
    seconds: float


class HubDomain(NamedTuple):
    """A domain that a hub answers for, as it has told a client here."""

    service: str
    device: str
    domain: str
    server: str
    """The hub's address, at which it answers."""
    answers: bool
    """Whether it answers there."""
    resolves: bool
    """Whether programs here find the domain, and so ask the hub for it."""
    by: str = ""
    """How they are to ask it (settings_names); empty while nothing is set."""


@dataclass(frozen=True, slots=True)
class Names:
    """Name resolution."""

    looked: tuple[Looked, ...]
    servers: tuple[NameServer, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """This host's clock, and what it can be held against, in seconds since 1970."""

    now: float
    newest: tuple[str, float]
    """The newest of our own files, and when it was written."""
    certificates: tuple[tuple[str, Certificate], ...]
    """(file, certificate) of hubs here."""


class Refused(NamedTuple):
    """A congestion control that a service would use and does not get."""

    service: str
    wanted: str
    why: str
    """Why, and what to do about it (stream_options.missing)."""


class Local(NamedTuple):
    """A network that this host is connected to by another device than a tunnel's."""

    device: str
    prefix: Prefix


class Claim(NamedTuple):
    """A network that a tunnel of this host has: of its addresses, or of a route."""

    service: str
    device: str
    prefix: Prefix
    is_route: bool


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks of this host."""

    local: tuple[Local, ...]
    claims: tuple[Claim, ...]


class Other(NamedTuple):
    """Another process here that does the same work."""

    pid: int
    name: str
    what: str
    """What it has that ours has too, in words; empty where nothing is known of that."""


class Session(NamedTuple):
    """What the running process says of one of its clients."""

    service: str
    host: str
    hub: str
    """The peer's address; empty while there is no session."""
    reason: str
    """Why there is none."""
    troubles: tuple[str, ...]
    """Warnings of status: advice of the hub, differences from what was set."""
    refused: tuple[str, ...] = ()
    """What the hub tells and the client does not set, with the reason."""


class Ailing(NamedTuple):
    """Something of which the running process says that it does not work."""

    kind: str
    """What kind of thing (doctor_process)."""
    what: str
    """Which one, since when and why, in words."""


class Datagrams(NamedTuple):
    """The datagram channel of a client's session, as the running process sees it."""

    service: str
    peer: str
    """The hub's address and port for datagrams; empty while none is known."""
    state: str
    """good, rest, bad or tried (datagram_peer)."""
    reason: str
    """Why it is bad."""


class Listening(NamedTuple):
    """The address of a hub service here."""

    service: str
    address: str
    error: str
    """Why nobody can connect to it here; empty where a connection was made."""
    remedy: str


class Locked(NamedTuple):
    """A killswitch in this network namespace that no process has."""

    what: str
    """What it lets out, in words."""


class Said(NamedTuple):
    """A line about the configuration, from `check` or `lint`."""

    text: str
    hint: str
    of_gost: bool
    """Whether it says what GOST would do otherwise."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was looked at."""

    tun: Tun | Unknown | None = None
    gateways: tuple[Gateway, ...] | Unknown | None = None
    filtered: tuple[Filtered, ...] | Unknown | None = None
    neighbours: tuple[Neighbour, ...] | Unknown | None = None
    far: tuple[Far, ...] | Unknown | None = None
    ways: tuple[Way, ...] | Unknown | None = None
    paths: tuple[PathMtu, ...] | Unknown | None = None
    names: Names | Unknown | None = None
    domains: tuple[HubDomain, ...] | Unknown | None = None
    clock: Clock | Unknown | None = None
    firewall: Firewall | Unknown | None = None
    congestion: tuple[Refused, ...] | Unknown | None = None
    networks: Networks | Unknown | None = None
    others: tuple[Other, ...] | Unknown | None = None
    sessions: tuple[Session, ...] | Unknown | None = None
    ailing: tuple[Ailing, ...] | Unknown | None = None
    datagrams: tuple[Datagrams, ...] | Unknown | None = None
    listening: tuple[Listening, ...] | Unknown | None = None
    locked: Locked | Unknown | None = None
    said: tuple[Said, ...] | Unknown | None = None

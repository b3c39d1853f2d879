"""What an access list lets through, beside nftables: the kernel with the same rules, and random packets.

A namespace with three TUN devices forwards between them, with `ct state established,related accept` and the
rules of the list. What hypothesis makes up is written into one of them, and put through lib.forward as well. Both
must let through the same, or the difference stands in DIFFERENCES with its reason.

NFTABLES_EXAMPLES=5000 makes up so many other examples than those that every run tries.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import packet as ip
from lib.forward_drop_reasons import Reason
from lib.settings_acl import AclRule
from lib.tun import TunDevice
from tests.support import packets as p
from tests.support.devices import device
from tests.support.listed import Listed
from tests.support.netns import Namespace, in_namespace

EXAMPLES = int(os.environ.get("NFTABLES_EXAMPLES", "0"))
HOSTS = ("one", "two", "three")
ROUTES = {f"{net}": host for n, host in enumerate(HOSTS, 1) for net in (f"10.{n}.0.0/16", f"fd00:{n}::/32")}
MARKER = 253
ESP, OTHER, HIP, SHIM6 = 50, 99, 139, 140


def address(host: str, version: int, number: int) -> str:
    """An address of a host that no other example has: so no connection of another one counts."""
    n = HOSTS.index(host) + 1
    return f"10.{n}.{number >> 8}.{number & 255}" if version == 4 else f"fd00:{n}::{number:x}"


# --- what is sent -------------------------------------------------------------------------------------


class Datagram(NamedTuple):
    """A packet, whole or in fragments."""

    source: str
    """The host that sends it."""
    destination: str
    version: int = 4
    protocol: str = "udp"
    """tcp, udp, echo, reply, esp, other."""
    ports: tuple[int, int] = (40000, 53)
    """Of ICMP the first is the identifier."""
    extensions: tuple[int, ...] = ()
    cut: bool = False
    """Its transport header is not all there."""
    fragments: str = ""
    """A way of WAYS in which it comes as fragments; empty for a whole packet."""

    def answer(self) -> Datagram:
        """What comes back."""
        protocol = {"echo": "reply", "reply": "echo"}.get(self.protocol, self.protocol)
        ports = self.ports if protocol in ("echo", "reply") else self.ports[::-1]
        return self._replace(source=self.destination, destination=self.source, protocol=protocol, ports=ports)

    def packet(self, number: int, tag: bytes = b"tag") -> bytes:
        """The packet in one piece, in an example of this number."""
        source, destination = (
            address(host, self.version, number) for host in (self.source, self.destination)
        )
        payload = bytes(97) + tag
        if self.protocol in ("tcp", "udp"):
            make = p.tcp if self.protocol == "tcp" else p.udp
            made = make(source, destination, payload, ports=self.ports)
        elif self.protocol in ("echo", "reply"):
            kinds = {"echo": (8, 128), "reply": (0, 129)}[self.protocol]
            made = p.icmp(source, destination, kinds[self.version == 6], payload, identifier=self.ports[0])
        else:
            made = p.ip(source, destination, {"esp": ESP, "other": OTHER}[self.protocol], payload)
        if self.cut:
            at = 20 if self.version == 4 else 40
            made = p.with_payload(made, made[at : at + 6])
        return p.extended(
            made, *((number, 24 if number == p.AUTHENTICATION else 8) for number in self.extensions)
        )

    def packets(self, number: int, tag: bytes) -> list[bytes]:
        """What is sent, in order."""
        whole = self.packet(number, tag)
        fragments = "" if self.cut else self.fragments
        return WAYS[fragments](whole, number * 16 + tag[-1] % 16) if fragments else [whole]


class IcmpError(NamedTuple):
    """An ICMP error about a datagram, which may never have been sent."""

    about: Datagram
    source: str
    destination: str
    router: bool = False
    """From another address of the host than the datagram was sent to."""
    kind: int = 0
    """Of KINDS."""
    size: int = 0
    """0: short; else the length of the packet."""
    fragments: str = ""

    @property
    def version(self) -> int:
        return self.about.version

    def packet(self, number: int, tag: bytes = b"tag") -> bytes:
        """As it is sent in an example of this number."""
        source = address(self.source, self.version, number + (0x8000 if self.router else 0))
        destination = address(self.destination, self.version, number)
        at = 20 if self.version == 4 else 40
        quoted = self.about.packet(number)
        room = max(0, self.size - at - 8 - len(quoted) - len(tag))
        return p.icmp(source, destination, KINDS[self.version][self.kind], quoted + bytes(room) + tag)

    def packets(self, number: int, tag: bytes) -> list[bytes]:
        """What is sent, in order."""
        whole = self.packet(number, tag)
        return WAYS[self.fragments](whole, number * 16 + tag[-1] % 16) if self.fragments else [whole]


Event = Datagram | IcmpError
KINDS = {4: (3, 4, 5, 11, 12), 6: (1, 2, 3, 4, 100)}
LONGEST = {4: 576, 6: 1280}


def _reversed(whole: bytes, identity: int) -> list[bytes]:
    return p.pieces(whole, 48, 96, identity=identity)[::-1]


def _last_two_swapped(whole: bytes, identity: int) -> list[bytes]:
    first, second, third = p.pieces(whole, 48, 96, identity=identity)
    return [first, third, second]


def _first_twice(whole: bytes, identity: int) -> list[bytes]:
    first, *others = p.pieces(whole, 48, 96, identity=identity)
    return [first, first, *others]


def _overlapping(whole: bytes, identity: int) -> list[bytes]:
    first, _, third = p.pieces(whole, 48, 96, identity=identity)
    return [first, p.piece(whole, 40, 96, identity), third]


WAYS: dict[str, Callable[[bytes, int], list[bytes]]] = {
    "in order": lambda whole, identity: p.pieces(whole, 48, 96, identity=identity),
    "reversed": _reversed,
    "last two swapped": _last_two_swapped,
    "first twice": _first_twice,
    "tiny": lambda whole, identity: p.pieces(whole, 8, identity=identity),
    "overlapping": _overlapping,
    "without the first": lambda whole, identity: p.pieces(whole, 48, 96, identity=identity)[1:],
    "without the last": lambda whole, identity: p.pieces(whole, 48, 96, identity=identity)[:-1],
}

ports = st.sampled_from([22, 53, 80, 40000])
chains = st.lists(
    st.sampled_from(
        [p.HOP_BY_HOP, p.DESTINATION, p.ROUTING, p.FRAGMENT, p.AUTHENTICATION, p.MOBILITY, HIP, SHIM6]
    ),
    max_size=3,
).map(tuple)


@st.composite
def datagrams(draw: st.DrawFn) -> Datagram:
    source, destination = draw(st.permutations(HOSTS))[:2]
    version = draw(st.sampled_from([4, 6]))
    return Datagram(
        source,
        destination,
        version,
        draw(st.sampled_from(["tcp", "tcp", "udp", "udp", "echo", "echo", "reply", "esp", "other"])),
        (draw(ports), draw(ports)),
        draw(st.just(()) | chains) if version == 6 else (),
        draw(st.integers(0, 9)) == 9,
        draw(st.just("") | st.sampled_from(sorted(WAYS))),
    )


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """Datagrams, answers to them, and errors about them."""
    made: list[Event] = []
    known = [draw(datagrams())]
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["datagram", "again", "answer", "answer", "error", "error"]))
        one = draw(st.sampled_from(known))
        if kind == "datagram":
            known.append(draw(datagrams()))
            made.append(known[-1])
        elif kind == "again":
            made.append(one)
        elif kind == "answer":
            ways = draw(st.just("") | st.sampled_from(sorted(WAYS)))
            made.append(one.answer()._replace(fragments=ways, cut=False))
        else:
            made.append(draw(errors(draw(st.sampled_from([one, one.answer()])))))
    return [known[0], *made]


@st.composite
def errors(draw: st.DrawFn, about: Datagram) -> IcmpError:
    source = draw(st.just(about.destination) | st.sampled_from(HOSTS))
    destination = draw(st.sampled_from([about.source, about.source, *HOSTS]))
    if destination == source:
        destination = next(host for host in HOSTS if host != source)
    size = draw(st.sampled_from([0, 0, LONGEST[about.version], LONGEST[about.version] + 1, 1400]))
    ways = draw(st.sampled_from(["", "", "", "in order"]))
    return IcmpError(about, source, destination, draw(st.booleans()), draw(st.integers(0, 4)), size, ways)


@st.composite
def rule(draw: st.DrawFn) -> AclRule:
    ends = st.none() | st.sampled_from([*HOSTS, "net"])
    found = [draw(ends), draw(ends)]
    nets = [(p.packed("10.1.0.0"), 16), (p.packed("fd00:2::"), 32)]
    source, destination = (draw(st.sampled_from(nets)) if end == "net" else end for end in found)
    protocol = draw(
        st.sampled_from([None, ip.TCP, ip.TCP, ip.UDP, ip.UDP, ip.ICMP, ip.ICMPV6, OTHER, p.DESTINATION])
    )
    ranges = ((22, 22),), ((53, 80),), ((22, 22), (53, 53))
    wanted = draw(st.just(()) | st.sampled_from(ranges)) if protocol in (ip.TCP, ip.UDP) else ()
    return AclRule(draw(st.booleans()), source, destination, protocol, wanted)


@st.composite
def lists(draw: st.DrawFn) -> list[AclRule]:
    """A few rules, and perhaps one at the end that lets everything else through."""
    return draw(st.lists(rule(), min_size=1, max_size=4)) + draw(st.sampled_from([[], [AclRule(True)]]))


# --- the kernel ---------------------------------------------------------------------------------------


class Kernel:
    """A namespace that forwards between three TUN devices, as nftables says."""

    def __init__(self, namespace: Namespace, devices: dict[str, TunDevice]) -> None:
        self.namespace = namespace
        self.devices = devices
        self._markers = 0

    def load(self, rules: Sequence[AclRule]) -> None:
        """Take these rules."""
        lines = "\n".join(nft(rule) for rule in rules)
        text = f"""
        flush ruleset
        table inet filter {{
          chain forward {{
            type filter hook forward priority 0; policy drop;
            meta l4proto {MARKER} accept
            ct state established,related accept
            {lines}
          }}
        }}
        """
        with in_namespace(self.namespace.name):
            done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + text

    def send(self, packets: Sequence[bytes], source: str, destination: str) -> list[bytes]:
        """What comes out toward a host of what another has sent."""
        for packet in packets:
            os.write(self.devices[source].fd, p.NO_OFFLOAD + packet)
        self._markers += 1
        marker = struct.pack("!Q", self._markers)
        end = p.ip(address(source, 4, 0xFFFE), address(destination, 4, 0xFFFE), MARKER, marker)
        os.write(self.devices[source].fd, p.NO_OFFLOAD + end)
        found: list[bytes] = []
        while True:
            packet = self._receive(destination)
            if packet[0] >> 4 == 4 and packet[9] == MARKER:
                if packet.endswith(marker):
                    return found
                continue  # of an example that failed
            found.append(packet)

    def _receive(self, host: str) -> bytes:
        ready, _, _ = select.select([self.devices[host].fd], [], [], 10)
        assert ready, "the packet that ends all others has not come"
        return os.read(self.devices[host].fd, 70000)[len(p.NO_OFFLOAD) :]


def nft(rule: AclRule) -> str:
    """A rule as nftables has it; empty for one that fits nothing."""
    if len({len(end[0]) for end in (rule.source, rule.destination) if isinstance(end, tuple)}) == 2:
        return ""
    words = []
    for end, (host, side) in ((rule.source, ("iifname", "saddr")), (rule.destination, ("oifname", "daddr"))):
        if isinstance(end, str):
            words.append(f'{host} "{end}"')
        elif end is not None:
            words.append(f"{'ip' if len(end[0]) == 4 else 'ip6'} {side} {ip.format_address(end[0])}/{end[1]}")
    if rule.protocol is not None:
        words.append(f"meta l4proto {rule.protocol}")
    if rule.ports:
        ranges = ", ".join(f"{low}-{high}" if low != high else str(low) for low, high in rule.ports)
        words.append(f"th dport {{ {ranges} }}")
    return " ".join([*words, "accept" if rule.allow else "drop"])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace("nft", tmp_path_factory.mktemp("nft")))
        devices = {host: stack.enter_context(device(namespace, name=host)) for host in HOSTS}
        for switch in (
            *("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv4.conf.all.send_redirects=0"),
            *("netfilter.nf_conntrack_tcp_be_liberal=1", "netfilter.nf_conntrack_checksum=0"),
        ):
            namespace.run("sysctl", "-qw", f"net.{switch}")
        for host in HOSTS:
            namespace.run("sysctl", "-qw", f"net.ipv4.conf.{host}.rp_filter=0")
            namespace.run("ip", "link", "set", host, "addrgenmode", "none")
            namespace.run("ip", "link", "set", host, "up", "mtu", "1500")
        for prefix, host in ROUTES.items():
            namespace.run("ip", "route", "add", prefix, "dev", host)
        yield Kernel(namespace, devices)


# --- both ---------------------------------------------------------------------------------------------


def arrives(whole: bytes, pieces: Sequence[bytes]) -> bool:
    """Whether a receiver of these packets has all of what was sent, whole or of fragments."""
    at = 20 if whole[0] >> 4 == 4 else 40
    if any(_same(whole, packet) for packet in pieces):
        return True
    data = bytearray(len(whole) - at)
    there: set[int] = set()
    for packet in pieces:
        if p.ends_of(packet) != p.ends_of(whole):
            continue
        for begin, body in _parts(packet):
            data[begin : begin + len(body)] = body
            there.update(range(begin, begin + len(body)))
    return len(there) == len(data) and bytes(data) == whole[at:]


def _parts(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """What a fragment holds of the bytes behind the IP header of its datagram, each part with its place."""
    if packet[0] >> 4 == 4:
        yield (struct.unpack_from("!H", packet, 6)[0] & 0x1FFF) * 8, packet[20:]
        return
    link, at = 6, 40
    while packet[link] in (p.HOP_BY_HOP, p.ROUTING, p.DESTINATION):
        link, at = at, at + packet[at + 1] * 8 + 8
    if packet[link] == p.FRAGMENT:
        before = bytearray(packet[:at])
        before[link] = packet[at]
        yield 0, bytes(before[40:])
        yield at - 40 + (struct.unpack_from("!H", packet, at + 2)[0] & 0xFFF8), packet[at + 8 :]


def forms(event: Event, number: int, tag: bytes) -> list[bytes]:
    """An event's packet as it may come out of the kernel, which takes atomic fragment headers away."""
    if not isinstance(event, Datagram) or p.FRAGMENT not in event.extensions:
        return [event.packet(number, tag)]
    kept: set[tuple[int, ...]] = {()}
    for extension in event.extensions:
        longer = {(*chain, extension) for chain in kept}
        kept = kept | longer if extension == p.FRAGMENT else longer
    return [event._replace(extensions=chain).packet(number, tag) for chain in kept]


def _same(whole: bytes, packet: bytes) -> bool:
    """Whether a packet is another but for what a router changes: hop limit, checksum, identification, DF."""
    if whole[0] >> 4 == 6:
        return packet[40:] == whole[40:] and packet[6] == whole[6]
    return packet[20:] == whole[20:] and p.ends_of(packet) == p.ends_of(whole)


@dataclass
class Difference:
    """What was let through by one of the two only."""

    rules: Sequence[AclRule]
    event: Event
    ours: str | Reason
    """The host it goes to, or why not."""
    kernel: bool
    error_allowed: bool = False
    """Of an ICMP error: whether a rule lets it through by itself."""
    earlier: Sequence[Event] = ()
    """What was sent before."""


def _is_fragmented(event: Event, *ways: str) -> bool:
    return event.fragments in ways


def _extensions(event: Event) -> tuple[int, ...]:
    return event.extensions if isinstance(event, Datagram) else ()


def _stray(found: Difference) -> IcmpError | None:
    """The ICMP error that the kernel lets through, and we do not."""
    wrong = found.kernel and found.ours is Reason.STRAY_ERROR and isinstance(found.event, IcmpError)
    return found.event if wrong and isinstance(found.event, IcmpError) else None


def _is_long(found: Difference) -> bool:
    error = _stray(found)
    return error is not None and error.size > LONGEST[error.version]


def _is_from_elsewhere(found: Difference) -> bool:
    error = _stray(found)
    return error is not None and error.source != error.about.destination


def _is_allowed_by_a_rule(found: Difference) -> bool:
    return _stray(found) is not None and found.error_allowed


def _is_in_fragments(found: Difference) -> bool:
    error = _stray(found)
    return error is not None and bool(error.fragments)


def _is_begun_by_a_fragment(found: Difference) -> bool:
    """Whether the first fragment of a datagram that never became whole has opened a connection."""
    about = found.event.about if isinstance(found.event, IcmpError) else found.event
    both = _connection(about), _connection(about.answer())
    begun = (
        event for event in found.earlier if isinstance(event, Datagram) and event.fragments in INCOMPLETE
    )
    return not isinstance(found.ours, Reason) and any(_connection(event) in both for event in begun)


def _connection(datagram: Datagram) -> Datagram:
    plain = datagram._replace(extensions=(), cut=False, fragments="")
    return plain if plain.protocol in ("tcp", "udp", "echo", "reply") else plain._replace(ports=(0, 0))


INCOMPLETE = ("overlapping", "without the last")
"""The WAYS whose first fragment passes, and that no receiver makes a datagram of."""
KERNEL_STOPS = (p.AUTHENTICATION, p.MOBILITY, HIP, SHIM6)

DIFFERENCES: dict[str, Callable[[Difference], bool]] = {
    # Rules cannot be asked about ports that are not there; the kernel takes the next rule that asks for none.
    "a transport header that is cut off": lambda found: (
        isinstance(found.event, Datagram)
        and found.event.cut
        and found.ours is Reason.UNREADABLE
        and found.kernel
    ),
    # The kernel puts datagrams together before it looks (nf_defrag), so their order does not matter to it. We
    # keep no packet back: what comes before the first fragment is dropped.
    "fragments before their first one": lambda found: (
        _is_fragmented(found.event, "reversed") and found.ours is Reason.STRAY_FRAGMENT and found.kernel
    ),
    # And a connection begins for it when all fragments are there; for us with the first.
    "a connection that a first fragment has opened": _is_begun_by_a_fragment,
    # RFC 1858 says to drop them; the kernel puts them together.
    "a first fragment without all of a transport header": lambda found: (
        _is_fragmented(found.event, "tiny")
        and found.ours in (Reason.UNREADABLE, Reason.STRAY_FRAGMENT)
        and found.kernel
    ),
    # nftables takes AH (51) for a transport, and knows neither mobility (135) nor HIP (139) nor shim6 (140).
    "extension headers at which the kernel stops": lambda found: any(
        number in KERNEL_STOPS for number in _extensions(found.event)
    ),
    # A rule that denies a protocol denies a packet that has such an extension header; the kernel knows only the last.
    "a rule that denies an extension header": lambda found: (
        found.kernel
        and found.ours is Reason.DENIED
        and any(not rule.allow and rule.protocol in _extensions(found.event) for rule in found.rules)
    ),
    # The kernel lets errors of any length pass, from anywhere: 1,200 bytes to a third host.
    "an ICMP error that is too long": _is_long,
    "an ICMP error from elsewhere": _is_from_elsewhere,
    "an ICMP error in fragments": _is_in_fragments,
    # To the kernel an error about nothing it knows is a packet like others; to us it is never one.
    "an ICMP error about nothing that a rule lets through": _is_allowed_by_a_rule,
}
"""What the two may judge otherwise, and why."""


def explanation(found: Difference) -> str | None:
    """The known difference that one is, None for a new one."""
    return next((name for name, fits in DIFFERENCES.items() if fits(found)), None)


_numbers = iter(range(1, 0x7FF0))


def compare(kernel: Kernel, rules: Sequence[AclRule], events: Sequence[Event]) -> str | None:
    """Send events through both, which have loaded the rules, up to the first difference; returns its name, or fails where it has none."""
    number = next(_numbers)
    hub = Listed(rules, ROUTES)
    for count, event in enumerate(events):
        tag = b"tag" + bytes((number >> 8, number & 255, count))
        packets = event.packets(number, tag)
        fates = [hub.fate(packet) for packet in packets]
        passed = [packet for packet, fate in zip(packets, fates, strict=True) if not isinstance(fate, Reason)]
        whole = event.packet(number, tag)
        ours = arrives(whole, passed)
        out = kernel.send(packets, event.source, event.destination)
        theirs = any(arrives(form, out) for form in forms(event, number, tag))
        if ours == theirs:
            continue
        fate = next((fate for fate in fates if isinstance(fate, Reason)), fates[0])
        parsed = ip.parse(whole, 0, len(whole))
        assert isinstance(parsed, ip.Packet)
        by_rule = hub.acl.allows(hub.acl.match(event.source, parsed, event.destination))
        found = Difference(rules, event, fate, theirs, by_rule, events[:count])
        name = explanation(found)
        assert name is not None, f"{found}\nof {events}"
        return name  # what is remembered is no longer the same
    return None


@pytest.mark.needs_root
@given(lists(), st.lists(lives(), min_size=3, max_size=3))
@settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_the_kernel_lets_the_same_through(
    kernel: Kernel, rules: list[AclRule], several: list[list[Event]]
) -> None:
    kernel.load(rules)
    for events in several:
        compare(kernel, rules, events)


ALLOW, DENY = AclRule(True), AclRule(False)
ONE_TO_TWO = Datagram("one", "two")
TCP6 = Datagram("one", "two", 6, "tcp", (40000, 80))
NO_SSH = [AclRule(False, protocol=ip.TCP, ports=((22, 22),)), ALLOW]

SHOWN: dict[str, tuple[list[AclRule], list[Event]]] = {
    "a transport header that is cut off": (NO_SSH, [ONE_TO_TWO._replace(protocol="tcp", cut=True)]),
    "fragments before their first one": ([ALLOW], [ONE_TO_TWO._replace(fragments="reversed")]),
    "a connection that a first fragment has opened": (
        [AclRule(True, "one", "two")],
        [ONE_TO_TWO._replace(fragments="without the last"), ONE_TO_TWO.answer()],
    ),
    "a first fragment without all of a transport header": (
        NO_SSH,
        [ONE_TO_TWO._replace(protocol="tcp", fragments="tiny")],
    ),
    "extension headers at which the kernel stops": (
        NO_SSH,
        [TCP6._replace(ports=(40000, 22), extensions=(p.AUTHENTICATION,))],
    ),
    "a rule that denies an extension header": (
        [AclRule(False, protocol=p.DESTINATION), ALLOW],
        [TCP6._replace(extensions=(p.DESTINATION,))],
    ),
    "an ICMP error that is too long": ([ALLOW], [ONE_TO_TWO, IcmpError(ONE_TO_TWO, "two", "one", size=1200)]),
    "an ICMP error from elsewhere": ([ALLOW], [ONE_TO_TWO, IcmpError(ONE_TO_TWO, "three", "one")]),
    "an ICMP error in fragments": (
        [ALLOW],
        [ONE_TO_TWO, IcmpError(ONE_TO_TWO, "two", "one", size=400, fragments="in order")],
    ),
    "an ICMP error about nothing that a rule lets through": ([ALLOW], [IcmpError(ONE_TO_TWO, "two", "one")]),
}
"""For each difference something that shows it."""


def test_every_difference_is_shown() -> None:
    assert set(SHOWN) == set(DIFFERENCES)


@pytest.mark.needs_root
@pytest.mark.parametrize("name", SHOWN)
def test_a_known_difference_is_still_there(kernel: Kernel, name: str) -> None:
    rules, events = SHOWN[name]
    kernel.load(rules)
    assert compare(kernel, rules, events) == name


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "event", [ONE_TO_TWO, TCP6, IcmpError(ONE_TO_TWO, "two", "one")], ids=["UDP", "TCP", "ICMP"]
)
@pytest.mark.parametrize("ours", [[ALLOW], [DENY]], ids=["lets more through", "lets less through"])
def test_a_new_difference_fails(kernel: Kernel, ours: list[AclRule], event: Event) -> None:
    """Other rules in the kernel stand for a mistake of ours."""
    kernel.load([DENY] if ours == [ALLOW] else [ALLOW])
    about = event.about if isinstance(event, IcmpError) else event
    with pytest.raises(AssertionError, match="Difference"):
        compare(kernel, ours, [about, event])


LIVES: list[list[Event]] = [
    [ONE_TO_TWO, ONE_TO_TWO.answer(), IcmpError(ONE_TO_TWO, "two", "one")],
    [ONE_TO_TWO, IcmpError(ONE_TO_TWO, "two", "one", router=True)],
    [ONE_TO_TWO._replace(fragments="in order"), ONE_TO_TWO.answer()._replace(fragments="in order")],
    [TCP6._replace(ports=(40000, 22), extensions=(p.FRAGMENT, p.DESTINATION)), TCP6],
    [
        Datagram("one", "two", 4, "echo"),
        Datagram("one", "two", 4, "reply"),
        Datagram("two", "one", 4, "reply"),
    ],
]


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "rules", [NO_SSH, [AclRule(True, "one", "two")], [DENY]], ids=["no ssh", "one way", "nothing"]
)
def test_lives_on_which_both_agree(kernel: Kernel, rules: list[AclRule]) -> None:
    kernel.load(rules)
    assert [compare(kernel, rules, events) for events in LIVES] == [None] * len(LIVES)

"""Filters: what fits, what is told of a text that is none, and that there is nothing in between."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet as ip
from lib.capture_fate import ANSWERED, DROPPED, FORWARDED, Fate
from lib.capture_filter import MAX_LENGTH, FilterError, parse
from lib.forward_drop_reasons import Reason
from lib.packet import Packet
from tests.support import packets as p
from tests.support import texts

WENT = Fate(FORWARDED, "00" * 16, "host-1", "host-2", "session 10.77.2.2:1")
LOST = Fate(DROPPED, "00" * 16, "host-1", reason="no-route")
TOLD = LOST._replace(what=ANSWERED)
TCP = p.tcp("10.1.0.1", "10.2.0.2", ports=(1234, 22))
UDP6 = p.udp("fd00::1", "fd00:1::2", ports=(53, 999))
PING = p.icmp("10.1.0.1", "10.2.0.2")


def parsed(data: bytes) -> Packet:
    packet = ip.parse(data, 0, len(data))
    assert isinstance(packet, Packet)
    return packet


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("", "tup"),
        ("tcp", "t"),
        ("tcp or udp", "tu"),
        ("not tcp", "up"),
        ("! ( tcp || udp )", "p"),
        ("!(tcp||udp)", "p"),
        ("icmp", "p"),
        ("icmp6", ""),
        ("ip", "tp"),
        ("ip6", "u"),
        ("proto 17", "u"),
        ("proto icmp", "p"),
        ("host 10.1.0.1", "tp"),
        ("src host 10.1.0.1", "tp"),
        ("dst host 10.1.0.1", ""),
        ("src 10.1.0.1", "tp"),
        ("dst fd00:1::/64", "u"),
        ("net 10.2.0.0/16", "tp"),
        ("net 0.0.0.0/0", "tp"),
        ("port 22", "t"),
        ("src port 22", ""),
        ("dst port 999", "u"),
        ("tcp port 22", "t"),
        ("tcp and port 53 or udp port 53", "u"),
        ("TCP Port 22", "t"),
        ("forwarded", "tup"),
        ("dropped", ""),
        ("from host-1 to host-2", "tup"),
        ("to host-1", ""),
        ('from "host-1"', "tup"),
    ],
)
def test_what_fits(text: str, fitting: str) -> None:
    test = parse(text)
    packets = {"t": TCP, "u": UDP6, "p": PING}
    found = [name for name, data in packets.items() if test is None or test(WENT, parsed(data))]
    assert "".join(found) == fitting


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("forwarded", [WENT]),
        ("dropped", [LOST, TOLD]),
        ("answered", [TOLD]),
        ("reason no-route", [LOST, TOLD]),
        ("reason queue-full", []),
        ("to host-2", [WENT]),
    ],
)
def test_what_became_of_it(text: str, fitting: list[Fate]) -> None:
    test = parse(text)
    assert test is not None
    assert [fate for fate in (WENT, LOST, TOLD) if test(fate, parsed(TCP))] == fitting


def test_what_is_no_packet_fits_only_by_its_fate() -> None:
    for text, fits in (
        ("tcp", False),
        ("port 22", False),
        ("host ::", False),
        ("dropped", True),
        ("not ip", True),
    ):
        test = parse(text)
        assert test is not None
        assert test(LOST, None) is fits


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tcp prot 22", "unknown word 'prot' at 5, did you mean 'proto'?"),
        ("port 80 or 443", "unknown word '443' at 12, write 'port 443'"),
        ("10.0.0.1", "unknown word '10.0.0.1' at 1, write 'host 10.0.0.1'"),
        ("net 10.0.0.1/8", "no network: '10.0.0.1/8' at 5, write 10.0.0.0/8"),
        ("host 10.0.0.0/8", "no address: '10.0.0.0/8' at 6, write 'net 10.0.0.0/8'"),
        (
            "host host-2",
            "no address: 'host-2' at 6, for the host of that name write 'from host-2' or 'to host-2'",
        ),
        ("host fe80::1%eth0", "no address: 'fe80::1%eth0' at 6"),
        ("port ssh", "no port: 'ssh' at 6, write a number up to 65535"),
        ("port 65536", "no port: '65536' at 6, write a number up to 65535"),
        ("proto 256", "no protocol: '256' at 7, write a number up to 255"),
        ("reason no-rout", "no reason: 'no-rout' at 8, did you mean 'no-route'?"),
        ("(tcp", "the filter ends, ')' is missing at 5, for the '(' at 1"),
        ("tcp)", "unexpected ')' at 4"),
        ("()", "unexpected ')' at 2, a word is missing before it"),
        ("tcp and or udp", "unexpected 'or' at 9, a word is missing before it"),
        ("tcp &", "unexpected '&' at 5, a word is missing before it"),
        ("tcp and", "the filter ends, a word is missing at 8"),
        ("src", "the filter ends, host, net or port is missing at 4"),
        ("not " * 60 + "tcp", "too many parentheses within each other at 205"),
        ("x" * (MAX_LENGTH + 1), f"a filter of more than {MAX_LENGTH} letters at {MAX_LENGTH + 1}"),
    ],
)
def test_what_is_no_filter(text: str, error: str) -> None:
    with pytest.raises(FilterError) as raised:
        parse(text)
    assert str(raised.value) == error


@given(
    texts.from_bytes()  # typed at a shell
    | st.lists(
        st.sampled_from(
            ["tcp", "(", ")", "not", "and", "or", "port", "22", "host", "10.0.0.1", "net", "src", "from", "&"]
        )
    ).map(" ".join)
)
def test_any_text_is_a_filter_or_an_error_at_a_place(text: str) -> None:
    try:
        test = parse(text)
    except FilterError as error:
        assert 1 <= error.at <= len(text) + 1
    else:
        assert test is None or test(WENT, parsed(TCP)) in (True, False)


# --- the same by a second reading: trees, written out and worked out without a parser ---------------

ADDRESSES = ("10.1.0.1", "10.2.0.2", "10.1.9.9", "fd00::1")
Tree = tuple[Any, ...]
leaves: st.SearchStrategy[Tree] = (
    st.sampled_from(
        [("tcp",), ("udp",), ("icmp",), ("ip",), ("ip6",), ("forwarded",), ("dropped",), ("answered",)]
    )
    | st.tuples(st.just("proto"), st.sampled_from([1, 6, 17, 99]))
    | st.tuples(st.sampled_from(["host", "src host", "dst host"]), st.sampled_from(ADDRESSES))
    | st.tuples(
        st.sampled_from(["net", "src net", "dst net"]),
        st.sampled_from(["10.1.0.0/16", "10.0.0.0/8", "fd00::/16"]),
    )
    | st.tuples(st.sampled_from(["port", "src port", "dst port"]), st.sampled_from([22, 53]))
    | st.tuples(st.just("reason"), st.sampled_from([reason.value for reason in Reason]))
    | st.tuples(st.sampled_from(["from", "to"]), st.sampled_from(["host-1", "host-2"]))
)
trees = st.recursive(
    leaves,
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or", " "]), inner, inner),
    max_leaves=8,
)  # fmt: skip


def written(tree: Tree) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or", " "):
        return f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"
    return " ".join(map(str, tree))


def holds(tree: Tree, fate: Fate, data: bytes) -> bool:
    word, *values = tree
    if word == "not":
        return not holds(values[0], fate, data)
    if word in ("and", " "):
        return holds(values[0], fate, data) and holds(values[1], fate, data)
    if word == "or":
        return holds(values[0], fate, data) or holds(values[1], fate, data)
    source, destination = p.ends_of(data)
    number = p.protocol_of(data)
    at = p.transport_at(data)
    ports = (
        [int.from_bytes(data[at + n : at + n + 2], "big") for n in (0, 2)] if number in (6, 17) else [-1, -1]
    )
    side, _, kind = word.rpartition(" ")
    mine = {"": (0, 1), "src": (0,), "dst": (1,)}[side]
    if kind in ("host", "net"):
        ends = [ip_address(end) for end in (source, destination)]
        return any(ends[n] in ip_network(values[0]) for n in mine)
    if kind == "port":
        return any(ports[n] == values[0] for n in mine)
    simple = {
        "tcp": number == 6, "udp": number == 17, "icmp": number == 1,
        "ip": data[0] >> 4 == 4, "ip6": data[0] >> 4 == 6,
        "forwarded": fate.what == FORWARDED, "answered": fate.what == ANSWERED, "dropped": fate.what != FORWARDED,
    }  # fmt: skip
    if word in simple:
        return simple[word]
    return bool(values[0] == {"proto": number, "reason": fate.reason, "from": fate.host, "to": fate.to}[word])


@given(
    trees,
    st.sampled_from([WENT, LOST, TOLD]),
    st.sampled_from([TCP, UDP6, PING, p.udp("10.1.9.9", "10.2.0.2", ports=(53, 22))]),
)
def test_it_means_what_a_naive_reading_says(tree: Tree, fate: Fate, data: bytes) -> None:
    test = parse(written(tree))
    assert test is not None
    assert test(fate, parsed(data)) == holds(tree, fate, data)

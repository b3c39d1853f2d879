"""The client's address in a trusted proxy's header: from right to left, and nothing else is believed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import config_read, config_resolve, service_collector, settings_diff, settings_summary
from lib.errors import ConfigError
from lib.hub_proxies import MAX_PROXIES, client_of, is_trusted
from lib.limits import stranger
from lib.prefixes import PrefixSet, packed

TRUSTED = PrefixSet(packed(ip_network(one)) for one in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8:f::/48"))
LIST, STANDARD = "X-Forwarded-For", "Forwarded"


@pytest.mark.parametrize(
    ("header", "values", "peer"),
    [
        pytest.param(LIST, ["198.51.100.7"], "198.51.100.7:0", id="one"),
        pytest.param(LIST, ["203.0.113.9, 198.51.100.7"], "198.51.100.7:0", id="forged on the left"),
        pytest.param(LIST, ["junk, 198.51.100.7"], "198.51.100.7:0", id="junk on the left"),
        pytest.param(LIST, ["10.9.9.9, 198.51.100.7"], "198.51.100.7:0", id="a trusted one is forged on the left"),
        pytest.param(LIST, ["198.51.100.7, 10.0.0.2, 192.0.2.7"], "198.51.100.7:0", id="through three proxies"),
        pytest.param(LIST, ["198.51.100.7", "10.0.0.2"], "198.51.100.7:0", id="in two lines"),
        pytest.param(LIST, ["203.0.113.9", "198.51.100.7"], "198.51.100.7:0", id="forged in a line of its own"),
        pytest.param(LIST, ["10.1.0.1,10.0.0.2"], "10.1.0.1:0", id="all are trusted"),
        pytest.param(LIST, [" \t198.51.100.7 "], "198.51.100.7:0", id="blanks"),
        pytest.param(LIST, ["198.51.100.7:4711"], "198.51.100.7:4711", id="with a port"),
        pytest.param(LIST, ["2001:db8::1"], "[2001:db8::1]:0", id="IPv6"),
        pytest.param(LIST, ["[2001:db8::1]:4711"], "[2001:db8::1]:4711", id="IPv6 with a port"),
        pytest.param(LIST, ["[2001:db8::1]"], "[2001:db8::1]:0", id="IPv6 in brackets"),
        pytest.param(LIST, ["198.51.100.7, 2001:DB8:F::1"], "198.51.100.7:0", id="through an IPv6 proxy"),
        pytest.param(LIST, ["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7:0", id="through a mapped proxy"),
        pytest.param(LIST, ["::ffff:c633:6407"], "198.51.100.7:0", id="mapped"),
        pytest.param("X-Real-IP", ["198.51.100.7"], "198.51.100.7:0", id="another header"),
        pytest.param(STANDARD, ["for=198.51.100.7"], "198.51.100.7:0", id="RFC 7239"),
        pytest.param(
            STANDARD, ['for=192.0.2.43, For="[2001:db8:cafe::17]:4711";proto=https'], "[2001:db8:cafe::17]:4711",
            id="RFC 7239, IPv6",
        ),
        pytest.param(
            STANDARD, ["proto=http; FOR=198.51.100.7;by=203.0.113.43", "for=10.0.0.2"], "198.51.100.7:0",
            id="RFC 7239, two lines",
        ),
        pytest.param(STANDARD, ['for="x, for=198.51.100.7'], "198.51.100.7:0", id="RFC 7239, an open quote"),
    ],
)  # fmt: skip
def test_the_client_s_address(header: str, values: list[str], peer: str) -> None:
    assert client_of(values, header, TRUSTED) == (peer, "")


@pytest.mark.parametrize(
    ("header", "values", "wrong"),
    [
        (LIST, [], "the header is missing"),
        (LIST, [""], "'' is no address"),
        (LIST, ["198.51.100.7,"], "'' is no address"),
        (LIST, ["unknown"], "'unknown' is no address"),
        (LIST, ["198.51.100.7, _hidden"], "'_hidden' is no address"),
        (LIST, ["198.51.100.7, unknown, 10.0.0.2"], "'unknown' is no address"),
        (LIST, ["198.51.100.007"], "is no address"),
        (LIST, ["198.51.100.7:65536"], "is no address"),
        (LIST, ["198.51.100.7:"], "is no address"),
        (LIST, ["[2001:db8::1"], "is no address"),
        (LIST, ["fe80::1%eth0"], "is no address"),
        (LIST, ["0.0.0.0"], "is no address"),
        (LIST, ["ff02::1"], "is no address"),
        (LIST, ["198.51.100.7/32"], "is no address"),
        (LIST, ["for=198.51.100.7"], "is no address"),
        (STANDARD, ["proto=https"], "'proto=https' is no address"),
        (STANDARD, ["for=unknown"], "'unknown' is no address"),
        (LIST, [", ".join(["10.0.0.2"] * (MAX_PROXIES + 1))], f"more than {MAX_PROXIES} proxies"),
    ],
)
def test_what_cannot_be_read_names_nobody(header: str, values: list[str], wrong: str) -> None:
    found = client_of(values, header, TRUSTED)
    assert not found.peer
    assert wrong in found.wrong


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.1.2.3", True), ("192.0.2.7", True), ("192.0.2.8", False), ("2001:db8:f::9", True), ("::1", False),
     ("fe80::1%eth0", False), ("", False), ("/run/socket", False)],
)  # fmt: skip
def test_who_is_trusted(address: str, trusted: bool) -> None:
    assert is_trusted(address, TRUSTED) is trusted
    assert not is_trusted(address, PrefixSet())


TEXT = st.text('0123456789abcdef.:,;="[]% \t_for\u00ff', max_size=60)


@given(st.lists(TEXT, max_size=3), st.sampled_from([LIST, STANDARD]))
def test_whatever_stands_there_gives_an_address_or_a_reason(values: list[str], header: str) -> None:
    found = client_of(values, header, TRUSTED)
    assert bool(found.peer) != bool(found.wrong)
    assert not found.peer or stranger(found.peer)


@pytest.mark.parametrize("piece", ["10.0.0.2,", '"', ";for=", ",;", "[", "::1,"])
def test_no_header_takes_long(piece: str) -> None:
    before = time.thread_time()
    for header in (LIST, STANDARD):
        client_of([piece * (16384 // len(piece))], header, TRUSTED)
    assert time.thread_time() - before < 0.1


HUB = (
    "services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r, %s}}, listener: {type: %s}}]\n"
    "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        ("[192.0.2.7, '2001:db8::/32']", ("192.0.2.7/32", "2001:db8::/32")),
        ("'10.0.0.1, 10.0.0.2'", ("10.0.0.1/32", "10.0.0.2/32")),
        ("'::ffff:10.0.0.0/104'", ("10.0.0.0/8",)),
    ],
)
def test_prefixes_as_they_are_written(written: str, read: tuple[str, ...]) -> None:
    settings = config_resolve.resolve(config_read.read([("f", HUB % (f"trustedProxies: {written}", "ws"))]))
    assert tuple(settings.hubs[0].trusted_proxies.texts()) == read
    assert not settings.warnings
    summary = "\n".join(settings_summary.words(settings))
    assert json.loads(settings_summary.as_json(settings))["services"][0]["trustedProxies"] == list(read)
    assert f"trusted proxies, without limits by address: {', '.join(read)}; their X-Forwarded-For" in summary


@pytest.mark.parametrize(
    ("metadata", "kind", "said"),
    [
        ("trustedProxies: proxy.test", "ws", "'trustedProxies': not an address or CIDR: 'proxy.test'"),
        ("trustedProxies: 10.0.0.0/33", "ws", "'trustedProxies': "),
        ("trustedProxies: '::/0'", "ws", "'trustedProxies': ::/0 trusts everybody"),
        ("trustedProxies: 10.0.0.1, trustedProxies.header: 'X Real'", "ws", "no HTTP header: 'X Real'"),
        ("trustedProxies.header: X-Real-IP", "ws", "no effect without trustedProxies"),
        ("trustedProxies: 10.0.0.1, trustedProxies.header: X-Real-IP", "tcp", "a listener of type tcp gets no headers"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_has_no_effect_is_said(metadata: str, kind: str, said: str) -> None:
    try:
        problems = config_resolve.resolve(config_read.read([("f", HUB % (metadata, kind))])).warnings
    except ConfigError as error:
        problems = error.problems
    assert [said in str(problem) for problem in problems] == [True]


# --- a list of all the addresses of a large content delivery network


MANY = 50_000


def test_who_is_trusted_is_found_in_a_time_that_does_not_grow_with_the_list() -> None:
    """It is asked four times for each connection of anybody, and packets wait meanwhile."""
    trusted = PrefixSet(packed(ip_network((0x0A000000 + 2 * n, 32))) for n in range(MANY))
    began = time.process_time()
    for _ in range(1000):
        assert is_trusted("10.1.0.2", trusted)
        assert not is_trusted("10.1.0.3", trusted)
    assert time.process_time() - began < 1, "half a millisecond each; it was 10"


@pytest.mark.parametrize("written", ["[%s]", "'%s'"], ids=["a list", "a text"])
def test_a_reload_with_a_long_list_gives_way_to_packets_all_the_time(written: str) -> None:
    addresses = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(MANY))
    text = [("f", HUB % (f"trustedProxies: {written % addresses}", "ws"))]
    longest = []
    for _ in range(3):  # the best of them says what the program takes, and not the machine
        gaps, last = [0.0], [time.thread_time()]

        def step(gaps: list[float] = gaps, last: list[float] = last) -> None:
            now = time.thread_time()
            gaps.append(now - last[0])
            last[0] = now

        last[0] = time.thread_time()
        with service_collector.paused():  # as a reload does
            config = config_read.read(text, step)
            made = config_resolve.resolve(config, step=step).hubs[0]
        assert len(gaps) > MANY
        other = replace(made, trusted_proxies=PrefixSet(packed(ip_network("10.0.0.0/8")) for _ in range(9)))
        last[0] = time.thread_time()
        assert settings_diff.differences(made, other) == ["trusted proxies 50000 prefixes -> 9 prefixes"]
        step()
        longest.append(max(gaps))
    assert min(longest) < 0.02

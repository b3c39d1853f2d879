"""What a configuration costs that grows: each part costs the same, however many there are of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from lib import config_read, config_resolve, settings_summary
from lib.errors import ConfigError
from lib.route_table import RouteTable
from lib.settings import RouteEntry
from tests.support.opcodes import counted, longest_step


def lines(count: int, line: str) -> str:
    """So many lines, with their number in place of %."""
    return "".join(line.replace("%", str(number)) + "\n" for number in range(count))


def uuid(number: str = "%") -> str:
    return f"e87f56dd-fd57-4921-9ab8-1{number:0>11}"


ROUTER = "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
HUB = "- {name: s%, addr: '1.1.1.1:1%', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}"
TENANT = "- {name: s%, addr: '1.1.1.1:1%', handler: {type: router, metadata: {ingress: i}}}"
CLIENT = (
    "- {name: s%, handler: {type: tun, chain: c%}, listener: {type: tun}, forwarder: {nodes: [{addr: h%}]}}"
)
SHARED = "- {name: s%, handler: {type: tun}, listener: {type: tun}, forwarder: {nodes: [{addr: h%}]}}"
NODE = "{name: n%, addr: 'hub:8443', connector: {type: router}, dialer: {type: tcp}}"

GROWING: dict[str, Callable[[int], str]] = {
    "routes": lambda n: "services: []\nrouters:\n- name: r\n  routes:\n" + lines(n, "  - {dst: 10.0.%.0/24, gateway: g}"),
    "nested routes": lambda n: (
        "services: []\nrouters:\n- name: r\n  routes:\n" + lines(n, "  - {dst: 10.0.0.0/1%, gateway: g%}")
    ),
    "routes of one prefix": lambda n: (
        "services: []\nrouters:\n- name: r\n  routes:\n" + lines(n, "  - {dst: 10.0.0.0/8, gateway: g%}")
    ),
    "aliased routes": lambda n: (
        "services: []\nrouters:\n- name: r\n  routes:\n  - &a {dst: 10.0.0.0/8, gateway: g}\n" + lines(n, "  - *a")
    ),
    "merged routes": lambda n: (
        "services: []\nrouters:\n- name: r\n  routes:\n  - &a {dst: 10.0.0.0/8, gateway: g}\n"
        + lines(n, "  - {<<: *a, dst: 10.1.%.0/24}")
    ),
    "access rules": lambda n: (
        "services: []\nrouters:\n- name: r\n  acl:\n" + lines(n, "  - {action: allow, from: h%, to: 10.0.%.0/24}")
    ),
    "rules of an ingress": lambda n: (
        "services: []\ningresses:\n- name: i\n  rules:\n" + lines(n, f"  - {{hostname: h%, endpoint: {uuid('1')}}}")
    ),
    "logins": lambda n: (
        "services: []\nauthers:\n- name: a\n  auths:\n" + lines(n, "  - {username: u%, password: p%, hosts: [h%]}")
    ),
    "addresses of names": lambda n: (
        "services: []\nhosts:\n- name: h\n  mappings:\n" + lines(n, "  - {ip: 10.0.0.%, hostname: h%}")
    ),
    "addresses of one name": lambda n: (
        "services: []\nhosts:\n- name: h\n  mappings:\n" + lines(n, "  - {ip: 10.0.0.%, hostname: h}")
    ),
    "services": lambda n: "services:\n" + lines(n, HUB + "}") + ROUTER,
    "services on the ports of others": lambda n: (
        "services:\n" + lines(n, HUB.replace("1.1.1.1:1%", ":1") + "}") + ROUTER
    ),
    "services with a router each": lambda n: (
        "services:\n"
        + lines(n, HUB.replace("router: r}", "router: r%}") + "}")
        + "routers:\n"
        + lines(n, "- {name: r%, routes: [{dst: 10.0.0.0/8, gateway: g}]}")
    ),
    "services with a router that is not there": lambda n: (
        "services:\n"
        + lines(n, HUB.replace("router: r}", "router: q%}") + "}")
        + "routers:\n"
        + lines(n, "- {name: r%, routes: [{dst: 10.0.0.0/8, gateway: g}]}")
    ),
    "services with one long limiter": lambda n: (
        "services:\n"
        + lines(n, HUB + ", limiter: l, climiter: c, rlimiter: d}")
        + ROUTER
        + "limiters:\n- name: l\n  limits:\n"
        + lines(n, "  - 10.0.0.% 100KB")
        + "climiters:\n- name: c\n  limits:\n"
        + lines(n, "  - 10.0.0.% 10")
        + "rlimiters:\n- name: d\n  limits:\n"
        + lines(n, "  - 10.0.0.% 10")
    ),
    "services with a limiter each": lambda n: (
        "services:\n" + lines(n, HUB + ", limiter: l%}") + ROUTER + "limiters:\n" + lines(n, "- {name: l%, limits: [$ 1MB]}")
    ),
    "tenants behind one ingress": lambda n: (
        "services:\n"
        + lines(n, TENANT)
        + "ingresses: [{name: i, rules: [{hostname: h, endpoint: ''}]}]\nrouters:\n"
        + lines(n, f"- {{name: '{uuid()}', routes: [{{dst: 10.0.0.0/8, gateway: g}}]}}")
    ),
    "clients with a chain each": lambda n: (
        "services:\n" + lines(n, CLIENT) + "chains:\n" + lines(n, f"- {{name: c%, hops: [{{name: h, nodes: [{NODE}]}}]}}")
    ),
    "clients with one long chain": lambda n: (
        "services:\n" + lines(n, SHARED) + "chains:\n- name: c\n  hops:\n  - name: h\n    nodes:\n" + lines(n, f"    - {NODE}")
    ),
}  # fmt: skip


def cost(text: str) -> int:
    """Instructions that it takes to read a text and to find out what it means, or what is wrong with it."""
    config = config_read.read([("f", text)])

    def work() -> None:
        config_read.read([("f", text)])
        try:
            config_resolve.resolve(config)
        except ConfigError:
            pass

    return counted(work)


@pytest.mark.parametrize("kind", GROWING)
def test_twice_as_much_of_it_is_checked_in_twice_the_time(kind: str) -> None:
    # the first one fills caches that each class of sections has
    _, few, some, many = (cost(GROWING[kind](count)) for count in (25, 25, 50, 100))
    assert many - some <= 2.12 * (some - few)


def test_a_route_takes_few_instructions() -> None:
    """It took 40,000 of them once: every section looked up again which keys it may have."""
    text = GROWING["routes"]
    cost(text(10))
    assert (cost(text(60)) - cost(text(10))) / 50 < 4000


@pytest.mark.parametrize("kind", [kind for kind in GROWING if "not there" not in kind])
def test_packets_have_their_turn_however_much_of_it_a_reload_reads(kind: str) -> None:
    """Guesses what a name may be are left out: they look through a thousand names at most."""

    def longest(count: int) -> int:
        def work(step: Callable[[], None]) -> None:
            config = config_read.read([("f", GROWING[kind](count))], step)
            try:
                config_resolve.resolve(config, step=step)
            except ConfigError:
                pass
            config_read.release(config, step)

        return longest_step(work)

    longest(5)  # fills caches
    few, many = longest(20), longest(60)
    assert many < 20_000
    assert many - few <= 10 * 40


def test_of_very_many_mistakes_the_first_thousand_are_told() -> None:
    """A template's mistake is in every row: the log of a reload need not have it fifty thousand times."""
    text = "services: []\nrouters:\n- name: r\n  routes:\n" + lines(1500, "  - {dst: 10.0.0.0/8, gatway: g}")
    with pytest.raises(ConfigError) as caught:
        config_resolve.resolve(config_read.read([("f", text)]))
    *told, last = map(str, caught.value.problems)
    assert len(told) == 1000
    assert told[0].startswith("f:5:")
    assert last == "f: and more problems, of which the first 1000 are told"


@pytest.mark.parametrize("kind", ["services", "tenants behind one ingress", "services with a router each"])
def test_twice_as_many_services_are_summed_up_in_twice_the_time(kind: str) -> None:
    """Each hub of the second kind has every namespace, and its rules are those of the others."""

    def summed_up(count: int) -> int:
        settings = config_resolve.resolve(config_read.read([("f", GROWING[kind](count))]))
        return counted(lambda: settings_summary.words(settings))

    few, some, many = (summed_up(count) for count in (50, 100, 200))
    assert many - some <= 2.12 * (some - few)


def test_a_table_is_made_once_for_all_services_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def counting(entries: Iterable[RouteEntry]) -> RouteTable:
        made.append(entries)
        return RouteTable(entries)

    monkeypatch.setattr(settings_summary, "RouteTable", counting)
    settings = config_resolve.resolve(config_read.read([("f", GROWING["services"](30))]))
    settings_summary.as_json(settings)
    assert len(made) == 1

"""What a file for GOST gets silently wrong: each thing found, at its place, and nothing in what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.config_lint import findings

NS1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"
HUB = "services:\n- {name: s, addr: ':1', handler: {type: router%s}, listener: {type: tcp}}\n"
TUN = "services:\n- {name: s, handler: {type: tun%s}, listener: {type: tun, metadata: {%s}}}\nchains: [{name: c}]\n"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (HUB % ", auther: team", "f:2:", "there is no auther 'team': GOST lets everybody in"),
        (HUB % ", authers: [team]", "f:2:", "there is no auther 'team'"),
        (HUB % ", metadata: {ingress: i}", "f:2:", "there is no ingress 'i': GOST refuses every client"),
        (HUB % ", metadata: {ingress: i}", "f:2:", "GOST skips the ingress for a client with an empty host"),
        (HUB % ", metadata: {router: r}", "f:2:", "there is no router 'r': GOST drops"),
        (HUB % ", metadata: {router.cache: true}", "f:2:", "GOST's cache forgets the namespace"),
        (HUB % ", routr: x", "f:2:", "unknown key 'routr' in a handler section; GOST ignores it"),
        (TUN % (", chain: d", "net: 10.0.0.1/24"), "f:2:", "there is no chain 'd': GOST goes directly"),
        (TUN % ("", "net: 10.0.0.1/24"), "f:2:", "names no chain: GOST fails with `unsupported network ip`"),
        (TUN % (", chain: c", "route: [10.0.0.0/8]"), "f:2:", "'route' is a list: GOST reads it as empty"),
        (f"routers: [{{name: {NS1.upper()}}}]", "f:1:18", "GOST compares names letter for letter"),
        (f"routers: [{{name: {NS1.replace('-', '')}}}]", "f:1:18", "GOST compares names letter for letter"),
        (
            "routers: [{name: r, reload: 10}]",
            "f:1:29",
            "'reload': GOST reads a bare number here as 10 nanosec",
        ),
        (
            "routers: [{name: r, routes: [{dst: 1.1.1.1, gateway: 10.0.0.1}]}]",
            "f:1:",
            "GOST also sets a kernel route",
        ),
        (
            "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: a}, {dst: 10.1.0.0/16, gateway: b}]}]",
            "f:1:89",
            "10.1.0.0/16 to b is never used: GOST takes the first match, 10.0.0.0/8 to a",
        ),
        (
            "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: a}, {dst: 10.0.0.0/8, gateway: b}]}]",
            "f:1:88",
            "b never stands in for a on 10.0.0.0/8",
        ),
        ("routers: [{name: r, plugin: {addr: 'http://x'}}]", "f:1:36", "is asked over gRPC"),
        ("routers: [{name: r, plugin: {type: http, addr: x, tls: {}}}]", "f:1:", "accepts any certificate"),
        ("ingresses: [{name: i, rules: [{hostname: h, endpoint: x}]}]", "f:1:55", "'x' is no UUID"),
        ("authers: [{name: a, auths: [{username: u}]}]", "f:1:40", "'u' has no password: GOST lets any"),
        ("limiters: [{name: l, limits: ['$ 100K 1MB']}]", "f:1:", "'100K': GOST reads it as no limit"),
        ("limiters: [{name: l, limits: ['$ 100 1MB']}]", "f:1:", "'100': GOST reads it as no limit"),
    ],
)
def test_found(text: str, where: str, what: str) -> None:
    found = list(map(str, findings([("f", text)])))
    assert any(line.startswith(where) and what in line for line in found), found


@pytest.mark.parametrize(
    "text",
    [
        HUB % ", auther: a" + "authers: [{name: a, auths: [{username: u, password: p}]}]",
        HUB % ", metadata: {router: r}"
        + "routers: [{name: r, reload: 10s, routes: [{dst: 1.1.1.1, gateway: a}]}]",
        TUN % (", chain: c", "net: '10.0.0.1/24,fd00::1/64'"),
        f"routers: [{{name: {NS1}, plugin: {{type: http, addr: 'http://x'}}}}]",
        "limiters: [{name: l, limits: ['$ 100KB 1MiB', '$$ 1GB']}]",
        (Path(__file__).parents[2] / "packaging" / "examples" / "server.yml").read_text(),
    ],
)
def test_nothing_to_find(text: str) -> None:
    assert findings([("f", text)]) == []


def test_in_order_of_appearance_and_once() -> None:
    text = "authers: [{name: a, auths: [{username: u}]}]\n" + (HUB % ", auther: b, auther: b")
    lines = [problem.where.line for problem in findings([("f", text)])]
    assert lines == sorted(lines)
    assert len(lines) == 3

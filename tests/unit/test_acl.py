"""Access lists: how rules are written, and which of them decides."""

from __future__ import annotations

import pytest

from lib import config_read, config_resolve
from lib import packet as ip
from lib.acl import Acl
from lib.errors import ConfigError
from lib.forward_decide import decide
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Packet
from lib.route_table import RouteTable
from lib.settings_acl import AclRule
from tests.support import packets as p
from tests.support.routes import entry

KEY = b"k" * 16
HUB = "services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]\n"
ROUTES = (
    "routes: [{dst: 10.0.0.1, gateway: one}, {dst: 10.0.0.2, gateway: two}, {dst: 'fd00::/64', gateway: two}]"
)


def rules(text: str) -> tuple[AclRule, ...]:
    whole = f"{HUB}routers: [{{name: r, {ROUTES}, acl: [{text}]}}]"
    found = config_resolve.resolve(config_read.read([("f", whole)])).tables[0].acl
    assert found is not None
    return found


def packet(data: bytes) -> Packet:
    parsed = ip.parse(data, 0, len(data))
    assert isinstance(parsed, Packet)
    return parsed


ONE, TWO = "10.0.0.1", "10.0.0.2"
SSH = p.tcp(ONE, TWO, ports=(40000, 22))


@pytest.mark.parametrize(
    ("text", "data", "allowed"),
    [
        ("{action: allow}", SSH, True),
        ("{action: allow, protocol: tcp, port: 22}", SSH, True),
        ("{action: allow, protocol: tcp, port: '80, 20-22'}", SSH, True),
        ("{action: allow, protocol: tcp, port: 23-65535}", SSH, False),
        ("{action: allow, protocol: udp, port: 22}", SSH, False),
        ("{action: allow, protocol: 6}", SSH, True),
        ("{action: allow, protocol: icmp}", p.icmp(ONE, TWO), True),
        ("{action: allow, from: one, to: two}", SSH, True),
        ("{action: allow, from: two, to: one}", SSH, False),
        ("{action: allow, from: 10.0.0.0/31}", SSH, True),
        ("{action: allow, to: 10.0.0.2}", SSH, True),
        ("{action: allow, to: 10.0.0.3}", SSH, False),
        ("{action: allow, to: 'fd00::/64'}", SSH, False),
        ("{action: deny, protocol: tcp, port: 22}, {action: allow}", SSH, False),
        ("{action: deny, protocol: tcp, port: 23}, {action: allow}", SSH, True),
        ("{action: allow, protocol: udp, port: 22}, {action: allow, protocol: tcp, from: any, to: any}", SSH, True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_which_rule_decides(text: str, data: bytes, allowed: bool) -> None:
    made = Acl(rules(text))
    assert made.allows(made.match("one", packet(data), "two")) is allowed


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{action: alow}", "'action': 'alow' is unknown; did you mean 'allow'?"),
        ("", "an empty 'acl' would deny everything"),
        ("{}", "write action: allow or deny"),
        ("{action: allow, port: 22}", "'port' wants a protocol with ports; write protocol: tcp or udp"),
        ("{action: allow, protocol: tcp, port: 70000}", "neither a port nor a range"),
        ("{action: allow, protocol: tcp, port: 9-8}", "neither a port nor a range"),
        ("{action: allow, protocol: tpc}", "unknown protocol 'tpc'; did you mean 'tcp'?"),
        ("{action: allow, from: 10.0.0.0/33}", "neither a prefix nor a host"),
        ("{action: allow, form: one}", "did you mean 'from'?"),
    ],
)
def test_a_rule_that_is_wrong(rule: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules(rule)
    assert expected in str(caught.value)


def test_a_rule_in_words() -> None:
    (rule,) = rules("{action: allow, from: one, to: 10.0.0.0/8, protocol: tcp, port: '22,80-90'}")
    assert str(rule) == "allow from one to 10.0.0.0/8 protocol tcp port 22,80-90"


def test_decide_asks_the_list_of_the_table_that_has_the_route() -> None:
    own = RouteTable([entry(f"{TWO}/32", "two")])
    default = RouteTable([entry(f"{ONE}/32", "one")])
    default.acl = Acl(rules("{action: deny}"))
    domain = Domain({KEY: own}, default, source_check=False)
    attachments = {name: Attachment(domain.namespace(KEY), name, "test") for name in ("one", "two")}
    for attachment in attachments.values():
        domain.enter(attachment, 0.0)
    assert decide(attachments["one"], packet(SSH), 0.0) is attachments["two"]
    assert decide(attachments["two"], packet(p.tcp(TWO, ONE, ports=(7, 7))), 0.0) is Reason.DENIED


def test_a_rule_that_denies_a_protocol_denies_packets_with_such_an_extension_header() -> None:
    denies = Acl(rules("{action: deny, protocol: 60}, {action: allow}"))
    allows = Acl(rules("{action: allow, protocol: 60}"))
    for extensions, fits in ((b"", False), (bytes([0, 60]), True), (bytes([0, 43]), False)):
        assert denies.allows(denies.match("one", packet(SSH), "two", extensions)) is not fits
        assert not allows.allows(allows.match("one", packet(SSH), "two", extensions))

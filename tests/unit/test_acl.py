"""Access lists: which rule decides, and what belongs to a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import acl, config_read, config_resolve, framing
from lib import packet as ip
from lib.acl import Acl, ConnectionTable, reverse
from lib.errors import ConfigError
from lib.forward import Output, scan
from lib.forward_decide import decide
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Packet
from lib.route_table import RouteTable
from lib.settings import AclRule
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
        ("{action: allow, protocol: udp, port: 2}", p.udp(ONE, TWO, ports=(1, 2), fragment=0x2000), False),
        ("{action: deny, protocol: udp, port: 3}, {action: allow}", p.udp(ONE, TWO, fragment=0x2000), False),
        ("{action: deny, protocol: tcp, port: 3}, {action: allow}", p.udp(ONE, TWO, fragment=0x2000), True),
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


# --- connections ----------------------------------------------------------------------------------


@given(st.sampled_from([9, 12, 33, 36]), st.data())
def test_reversing_twice_is_nothing(size: int, data: st.DataObject) -> None:
    flow = data.draw(st.binary(min_size=size, max_size=size))
    assert reverse(reverse(flow)) == flow


def test_the_reverse_of_a_packet_is_the_answer_s() -> None:
    for one, two in ((ONE, TWO), ("fd00::1", "fd00::2")):
        question, answer = p.tcp(one, two, ports=(1, 2)), p.tcp(two, one, ports=(2, 1))
        assert reverse(packet(question).flow) == packet(answer).flow


class There:
    """Two hosts and what may be sent between them."""

    def __init__(self, text: str) -> None:
        table = RouteTable([entry(f"{ONE}/32", "one"), entry(f"{TWO}/32", "two"), entry("fd00::/64", "two")])
        self.acl = table.acl = Acl(rules(text))
        self.domain = Domain({KEY: table})
        self.attachments = {
            name: Attachment(self.domain.namespace(KEY), name, "test") for name in ("one", "two")
        }
        for attachment in self.attachments.values():
            attachment.mtu = 1500
            self.domain.enter(attachment, 0.0)

    def goes(self, data: bytes, now: float = 0.0) -> bool:
        """Whether a packet passes, through forwarding as it is."""
        host = "one" if packet(data).source == p.packed(ONE) else "two"
        frames = bytearray(framing.encode(data) + bytes(framing.SLACK))
        out = Output()
        scan(self.attachments[host], frames, memoryview(frames), 0, len(data) + 2, now, out)
        other = self.attachments["two" if host == "one" else "one"]
        if other not in out.runs:
            assert self.attachments[host].traffic.drops[Reason.DENIED]
        return other in out.runs


def test_answers_to_what_is_allowed_are_allowed() -> None:
    there = There("{action: allow, from: one, to: two, protocol: tcp, port: 22}")
    back = p.tcp(TWO, ONE, ports=(22, 40000))
    assert not there.goes(back)
    for _ in range(3):
        assert there.goes(SSH)
        assert there.goes(back)
    assert not there.goes(p.tcp(TWO, ONE, ports=(22, 40001)))
    assert not there.goes(p.tcp(TWO, ONE, ports=(40000, 22)))
    assert there.acl.hits == [1, 3]


def test_udp_is_not_let_through_by_what_tcp_may() -> None:
    there = There("{action: allow, protocol: udp, port: 53}")
    assert there.goes(p.udp(ONE, TWO, ports=(40000, 53)))
    assert not there.goes(p.tcp(ONE, TWO, ports=(40000, 53)))
    assert there.goes(p.udp(TWO, ONE, ports=(53, 40000)))
    assert not there.goes(p.tcp(TWO, ONE, ports=(53, 40000)))


def test_a_ping_s_answer_is_no_leave_to_ping() -> None:
    there = There("{action: allow, from: one, protocol: icmp}")
    assert there.goes(p.icmp(ONE, TWO, 8))
    assert there.goes(p.icmp(TWO, ONE, 0))
    assert not there.goes(p.icmp(TWO, ONE, 8))


def test_an_error_about_a_connection_is_allowed_and_no_other() -> None:
    there = There("{action: allow, from: one, to: two, protocol: tcp, port: 22}")
    about = p.icmp(TWO, ONE, 3, SSH[:28])
    assert not there.goes(about)
    assert there.goes(SSH)
    assert there.goes(about)
    assert not there.goes(p.icmp(TWO, ONE, 3, p.tcp(ONE, TWO, ports=(1, 22))[:28]))
    assert not there.goes(p.icmp(TWO, ONE, 3, SSH[:10]))


def test_a_connection_is_forgotten_when_it_is_idle() -> None:
    there = There("{action: allow, from: one, protocol: udp}")
    back = p.udp(TWO, ONE, ports=(2, 1))
    assert there.goes(p.udp(ONE, TWO, ports=(1, 2)), 0)
    assert there.goes(back, 100)
    assert there.goes(back, 390)  # every packet that is decided on anew lets it live on
    assert not there.goes(back, 390 + 400)


def test_rules_that_are_replaced_let_nothing_through_any_more() -> None:
    there = There("{action: allow, from: one, protocol: tcp}")
    back = p.tcp(TWO, ONE, ports=(22, 40000))
    assert there.goes(SSH)
    assert there.goes(back)
    there.acl.live = False
    table = there.attachments["one"].namespace.table
    there.acl = table.acl = Acl(rules("{action: allow, from: one, protocol: udp}"))
    table.changes += 1
    assert not there.goes(SSH)
    assert not there.goes(back)


def test_connections_are_bounded_and_the_idle_ones_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl, "MAX_CONNECTIONS", 3)
    known, made = ConnectionTable(), Acl(())
    flows = [packet(p.udp(ONE, TWO, ports=(n, 9))) for n in range(4)]
    for flow in flows[:3]:
        known.note(flow, made, 0.0)
    assert known.belongs(flows[0], None, 1.0)
    known.note(flows[3], made, 1.0)
    assert [known.belongs(flow, None, 2.0) for flow in flows] == [True, False, True, True]


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


@given(st.binary(max_size=120), st.integers(0, 120))
def test_no_quote_is_read_past_its_end(data: bytes, end: int) -> None:
    whole = p.icmp(ONE, TWO, 3, data)
    error = packet(whole)
    ip.quoted(whole[: 24 + end], error, min(len(whole), 24 + end))

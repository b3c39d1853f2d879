"""Explanations: the same verdict as decide's, whatever the tables, and the words for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib.forward_decide import decide
from lib.forward_drop_reasons import Reason
from lib.forward_explain import Explanation, explain, source_for
from lib.namespace import Attachment, Namespace
from lib.packet import Packet
from lib.route_table import RouteTable
from tests.support.routes import entry, packed

HOSTS = "abc"
PREFIXES = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32", "10.2.0.0/16", "0.0.0.0/0"]
ADDRESSES = ["10.1.1.1", "10.1.1.2", "10.1.2.1", "10.2.0.1", "11.0.0.1", "224.0.0.1", "127.0.0.1"]


def space(
    *rows: tuple[str, str] | tuple[str, str, int | None, bool], here: str = HOSTS, source_check: bool = True
) -> Namespace:
    made = Namespace(bytes(16), RouteTable(entry(*row) for row in rows), RouteTable(), source_check)
    for host in here:
        made.join(Attachment(made, host, f"{host}:1"), 0.0)
    return made


def about(explanation: Explanation, what: str) -> list[str]:
    return [text for name, text in explanation.lines if name == what]


def sender(namespace: Namespace, host: str = "a") -> Attachment:
    gateway = namespace.gateways.get(host)
    return gateway.attachments[0] if gateway else Attachment(namespace, host, "-")


rows = st.lists(
    st.tuples(
        st.sampled_from(PREFIXES), st.sampled_from(HOSTS), st.none() | st.integers(0, 2), st.booleans()
    ),
    max_size=8,
)


@given(
    rows,
    st.sets(st.sampled_from(HOSTS)),
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    st.booleans(),
)
def test_it_says_what_decide_does(
    rows: list[tuple[str, str, int | None, bool]],
    here: set[str],
    source: str,
    destination: str,
    checked: bool,
) -> None:
    namespace = space(*rows, here="".join(sorted(here)), source_check=checked)
    attachment = sender(namespace)
    flow = packed(source) + packed(destination) + b"\0\0\0\x35"  # gateways that share choose by it
    packet = Packet(4, packed(source), packed(destination), 17, 0, False, flow)
    explanation = explain(attachment, packed(source), packed(destination), 0.0, protocol_and_port=(17, 53))
    verdict = decide(attachment, packet, 0.0)
    assert explanation.verdict == verdict
    assert explanation.delivered == isinstance(verdict, Attachment)
    assert any(name == "verdict" for name, _ in explanation.lines)


def test_the_whole_story_of_a_packet_that_goes() -> None:
    namespace = space(("10.1.0.0/16", "a"), ("10.2.0.0/16", "b"), ("10.2.0.0/16", "c"), ("0.0.0.0/0", "c"))
    explanation = explain(sender(namespace), packed("10.1.0.1"), packed("10.2.3.4"), 12.0)
    assert about(explanation, "own table") == [
        "3 routes, longest prefix",
        "10.2.0.0/16 to b, then c",
        "(a shorter prefix: 0.0.0.0/0 to c)",
    ]
    assert about(explanation, "source check") == ["a may send from 10.1.0.0/16"]
    assert about(explanation, "source") == ["10.1.0.1: leads back to a"]
    (gateway,) = about(explanation, "gateway b")
    assert gateway.startswith("session b:1 for 12 s, takes single packets")
    assert about(explanation, "verdict") == ["goes to b at b:1"]
    assert about(explanation, "drops") == ["none remembered for this destination"]


def test_what_would_help() -> None:
    namespace = space(("10.1.0.0/16", "a"), ("10.2.0.0/16", "away"))
    told = explain(sender(namespace), packed("10.9.0.1"), packed("10.1.0.1"), 0.0)
    assert about(told, "verdict")[0].endswith("a route `dst: 10.9.0.1, gateway: a` would help")
    told = explain(sender(namespace), packed("10.1.0.1"), packed("10.3.0.1"), 0.0)
    assert about(told, "verdict")[0].endswith("a route `dst: 10.3.0.1, gateway: HOST` would help")
    told = explain(sender(namespace), packed("10.1.0.1"), packed("10.2.0.1"), 0.0)
    assert about(told, "gateway away") == ["no live session"]
    told = explain(sender(namespace, "nobody"), None, packed("10.1.0.1"), 0.0)
    assert about(told, "source check") == ["no route leads back to nobody"]
    assert told.verdict is Reason.WRONG_SOURCE


def test_who_is_held_down_and_what_was_lost() -> None:
    namespace = space(("10.1.0.0/16", "a"), ("10.2.0.0/16", "b"), ("10.2.0.0/16", "c"))
    namespace.leave(sender(namespace, "b"))
    namespace.join(Attachment(namespace, "b", "b:2"), 100.0)
    namespace.note_lost(packed("10.2.0.1"), Reason.NO_SESSION, 3, 99.0)
    told = explain(sender(namespace), packed("10.1.0.1"), packed("10.2.0.1"), 102.0)
    assert about(told, "gateway b")[0] == "came back, held down for another 3.0 s"
    assert about(told, "verdict") == ["goes to c at c:1"]
    assert about(told, "drops") == ["3 no-session for this destination, the last drop 3 s ago"]


def test_an_address_a_host_may_send_from() -> None:
    namespace = space(("10.1.0.0/16", "a"), ("fd00::/64", "a"))
    assert source_for(namespace, "a", 4) == packed("10.1.0.0")
    assert source_for(namespace, "a", 16) == packed("fd00::")
    assert source_for(namespace, "b", 4) is None

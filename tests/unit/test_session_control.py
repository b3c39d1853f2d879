"""What either role says to a control frame, and when it asks for a sign of life."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lib import __version__, framing, push_settings, wire_control
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.session_control import MOST_READ, SessionControl
from lib.wire_control import ALL_FEATURES, Drain, Feature, Hello, Ping, Pong, Switch, Window

TOKEN = bytes(range(8))
HELLO = Hello(bytes(16), 3, 1400, "tunrouter 9", ALL_FEATURES)


class Wire:
    """Stands for a session's sender: what it was told to send, and why it was closed."""

    def __init__(self) -> None:
        self.sent: list[wire_control.Message | None] = []
        self.answers: list[bytes] = []
        """Tokens of the PONGs that it was told of."""
        self.closed = ""

    def send(self, buffers: list[bytes]) -> None:
        for run in buffers:
            at = 0
            for end in framing.split(run):
                self.sent.append(wire_control.decode(run[at + 2 : end]))
                at = end
            assert at == len(run)

    def reply(self, frame: bytes) -> None:
        self.send([frame])

    probe = reply

    def answered(self, token: bytes) -> None:
        self.answers.append(token)

    def close(self, because: str) -> None:
        self.closed = because

    give_up = close


class Talk:
    def __init__(self, greeted: bool = True, follows: bool = False) -> None:
        self.wire, self.traffic = Wire(), Traffic()
        self.control = SessionControl(self.wire, self.traffic, 15.0, 0.0, follows)  # type: ignore[arg-type]
        if greeted:
            assert self.control.receive([wire_control.encode_hello(HELLO)], 0.0) == [HELLO]


def test_a_ping_is_answered_with_its_token() -> None:
    talk = Talk()
    assert talk.control.receive([wire_control.encode_ping(TOKEN)], 1.0) == []
    assert talk.wire.sent == [Pong(TOKEN)]


def test_a_clients_ping_goes_along_with_its_pong() -> None:
    """So a hub is woken once for both, soon after it has asked."""
    talk = Talk(follows=True)
    for second in range(100):
        now, talk.traffic.received_packets = float(second), second
        if not second % 5:
            talk.control.receive([wire_control.encode_ping(TOKEN)], now)
            talk.wire.sent.append(None)
        talk.control.beat(now + 0.5)
    kinds = [type(message) for message in talk.wire.sent]
    assert kinds == [Pong, Ping, type(None)] * 20, "and none by itself"


def test_a_pong_measures_the_path() -> None:
    talk = Talk()
    talk.control.ask(10.0)
    (asked,) = talk.wire.sent
    assert isinstance(asked, Ping)
    assert talk.control.receive([wire_control.encode_pong(asked.token)], 10.25) == []
    assert talk.control.liveness.rtt == pytest.approx(0.25)
    assert talk.wire.answers == [asked.token]


def test_a_hello_says_what_the_peer_can() -> None:
    talk = Talk(greeted=False)
    assert not any(map(talk.control.can, Feature))
    talk.control.receive([wire_control.encode_hello(HELLO)], 0.0)
    assert [feature for feature in Feature if talk.control.can(feature)] == list(Feature(ALL_FEATURES))
    assert talk.control.software == "tunrouter 9"


def test_a_drain_is_for_the_role() -> None:
    assert Talk().control.receive([wire_control.encode_drain()], 0.0) == [Drain()]


@pytest.mark.parametrize("content", [b"\xf0", b"\xf0\x02", b"\xf0\x01\x01\x00\x03abc"])
def test_what_does_not_parse_is_counted(content: bytes) -> None:
    talk = Talk()
    assert talk.control.receive([content], 0.0) == []
    assert talk.traffic.drops == {Reason.BAD_CONTROL: 1}
    assert talk.wire.sent == []


def test_an_unknown_type_is_passed_over() -> None:
    talk = Talk()
    assert talk.control.receive([b"\xf0\x63"], 0.0) == []
    assert not talk.traffic.drops


def test_we_greet_with_all_that_we_can() -> None:
    talk = Talk(greeted=False)
    talk.control.greet(bytes(16), 7, 1400)
    assert talk.wire.sent == [Hello(bytes(16), 7, 1400, f"tunrouter {__version__}", ALL_FEATURES)]


def test_a_client_says_what_its_kernel_lets_in() -> None:
    talk = Talk(greeted=False)
    talk.control.greet(bytes(16), 7, 1400, more=Feature.DUMMY_SOURCE)
    (hello,) = talk.wire.sent
    assert isinstance(hello, Hello)
    assert hello.features == ALL_FEATURES | Feature.DUMMY_SOURCE


def test_only_who_knows_drain_is_told() -> None:
    talk, stranger = Talk(), Talk(greeted=False)
    assert (talk.control.drain(), stranger.control.drain()) == (True, False)
    assert (talk.wire.sent, stranger.wire.sent) == ([Drain()], [])


def test_only_who_knows_switch_is_told_and_asked_to_hold() -> None:
    talk, older = Talk(), Talk()
    older.control.features &= ~int(Feature.SWITCH)
    assert [one.control.drain(hold=True) for one in (talk, older)] == [True, True]
    assert [one.control.switch() for one in (talk, older)] == [True, False]
    assert (talk.wire.sent, older.wire.sent) == ([Drain(hold=True), Switch()], [Drain()])


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    talk = Talk()
    for tick in range(40):
        talk.control.beat(tick * talk.control.liveness.tick)
        if talk.wire.closed:
            break
    assert talk.wire.closed == "nothing heard for 15 s"
    assert len(talk.wire.sent) >= 3
    assert all(isinstance(message, Ping) for message in talk.wire.sent)


def test_who_sends_packets_lives_and_a_stranger_is_not_asked() -> None:
    talk, stranger = Talk(), Talk(greeted=False)
    for tick in range(60):
        talk.traffic.received_packets += 1
        for one in (talk, stranger):
            one.control.beat(tick * 1.0)
    assert not talk.wire.closed
    assert not stranger.wire.closed
    assert stranger.wire.sent == []


def test_a_turn_gets_one_reply_however_often_it_is_asked() -> None:
    talk = Talk()
    asked = [wire_control.encode_ping(bytes([n]) * 8) for n in range(6)]
    assert talk.control.receive([*asked, b"\xf0\x02", wire_control.encode_hello(HELLO)] * 2, 0.0) == [HELLO]
    assert talk.wire.sent == [Pong(bytes([5]) * 8)]
    assert talk.traffic.drops[Reason.BAD_CONTROL] == 2


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The contents that were read, in their order."""
    found, decode = [], wire_control.decode

    def noting(content: bytes) -> wire_control.Message | None:
        found.append(content)
        return decode(content)

    monkeypatch.setattr(wire_control, "decode", noting)
    return found


def test_of_long_messages_of_a_type_the_last_one_is_read_and_no_other(read: list[bytes]) -> None:
    """To read one of SETTINGS may take a millisecond, and a turn brings a hundred of them."""
    talk = Talk()
    settings = wire_control.encode_settings(push_settings.shared([(bytes(4), 0)] * 2048))
    bad = b"\xf0\x01" + b"\x63\0\0" * 300
    assert len(talk.control.receive([settings, bad] * 100, 0.0)) == 1
    assert [content for content in read if content in (settings, bad)] == [settings, bad]
    assert talk.traffic.drops == {Reason.BAD_CONTROL: 1}


@pytest.mark.parametrize(
    "make",
    [
        wire_control.encode_ping,
        wire_control.encode_pong,
        lambda token: wire_control.encode_settings(push_settings.numbered(token[0])),
        lambda token: b"\xf0\x63" + token,
        lambda token: b"\xf0",
    ],
)
def test_of_short_messages_of_a_type_the_last_ones_are_read(
    make: Callable[[bytes], bytes], read: list[bytes]
) -> None:
    """A turn brings 6,000 of them; what is of another type is read whatever lies around it."""
    talk, drain = Talk(), wire_control.encode_drain()
    many = [make(bytes([n % 251]) * 8) for n in range(6000)]
    read.clear()
    assert Drain() in talk.control.receive([drain, *many], 0.0)
    assert read[: 1 + MOST_READ] == [drain, *many[-MOST_READ:]]
    assert len(read) <= 1 + MOST_READ + 1, "and one PONG that was sent"


def test_a_window_is_said_to_who_keeps_it() -> None:
    keeps, does_not = Talk(greeted=False), Talk()
    hello = Hello(bytes(16), 3, 0, "tunrouter 9", ALL_FEATURES | Feature.WINDOW)
    keeps.control.receive([wire_control.encode_hello(hello)], 0.0)
    for talk in (keeps, does_not):
        talk.control.allow(16_384)
    assert (keeps.wire.sent, does_not.wire.sent) == ([Window(16_384)], [])
    said = wire_control.encode_window(Window(9))
    assert keeps.control.receive([said], 1.0) == [Window(9)], "what it means is the link's affair"

"""Control frames: HELLO there and back, room to grow, and what does not parse."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib import packet_offload, wire_control
from lib.errors import ProtocolError
from lib.wire_control import Hello

INSTANCE = bytes(range(16))
HELLO = Hello(INSTANCE, packet_offload.ALL, 1420, "tunrouter 0.1", 3)


def frame(*fields: bytes, mark: int = 0xF0, kind: int = 1) -> bytes:
    return bytes([mark, kind]) + b"".join(fields)


def field(kind: int, body: bytes) -> bytes:
    return struct.pack("!BH", kind, len(body)) + body


ID = field(1, INSTANCE)


def test_hello_on_the_wire() -> None:
    expected = (
        bytes.fromhex("f0 01  01 0010") + INSTANCE
        + bytes.fromhex("02 0004 0000006f  03 0004 0000058c  04 000d") + b"tunrouter 0.1" + bytes.fromhex("05 0004 00000003")
    )  # fmt: skip
    assert wire_control.encode_hello(HELLO) == expected
    assert wire_control.decode(expected) == HELLO


def test_prefixes_on_the_wire() -> None:
    prefixes = ((bytes([192, 168, 1, 0]), 24), (bytes([253]) + bytes(15), 8))
    content = wire_control.encode_hello(Hello(INSTANCE, prefixes=prefixes * 9))
    wire = bytes.fromhex("04 18 c0a80100 10 08 fd") + bytes(15)
    assert content.endswith(bytes.fromhex("06 0060") + wire * 4), "at most eight"
    hello = wire_control.decode(content)
    assert isinstance(hello, Hello)
    assert hello.prefixes == prefixes * 4


@pytest.mark.parametrize(
    "wire",
    ["04", "04 18 c0a801", "05 18 c0a8010000 04 10 c0a8ffff", "04 21 c0a80100 04 10 c0a8ffff", "10 08 fd"],
)
def test_what_is_no_prefix_ends_them(wire: str) -> None:
    good = bytes.fromhex("04 10 c0a8ffff")
    content = frame(ID, field(6, good + bytes.fromhex(wire)))
    assert wire_control.decode(content) == Hello(INSTANCE, prefixes=((bytes([192, 168, 0, 0]), 16),))


@pytest.mark.parametrize(
    ("content", "wire", "message"),
    [
        (
            wire_control.encode_ping(b"12345678"),
            "f0 02 01 0008 3132333435363738",
            wire_control.Ping(b"12345678"),
        ),
        (
            wire_control.encode_pong(b"12345678"),
            "f0 03 01 0008 3132333435363738",
            wire_control.Pong(b"12345678"),
        ),
        (wire_control.encode_drain(), "f0 04", wire_control.Drain()),
        (wire_control.encode_drain(hold=True), "f0 04 01 00 01 01", wire_control.Drain(hold=True)),
        (wire_control.encode_switch(), "f0 09", wire_control.Switch()),
        (
            wire_control.encode_window(wire_control.Window(70_000)),
            "f0 0a 01 0008 0000000000011170",
            wire_control.Window(70_000),
        ),
        (
            wire_control.encode_advice(wire_control.Advice(5, "hö-2")),
            "f0 05 01 0004 00000005 02 0005 68c3b62d32",
            wire_control.Advice(5, "hö-2"),
        ),
    ],
)
def test_the_others_on_the_wire(content: bytes, wire: str, message: object) -> None:
    assert content == bytes.fromhex(wire)
    assert wire_control.decode(content) == message


def test_advice_that_is_cut_or_not_utf_8_is_read_as_far_as_it_goes() -> None:
    assert wire_control.decode(frame(kind=5)) == wire_control.Advice()
    assert wire_control.decode(frame(field(2, b"\xff"), kind=5)) == wire_control.Advice(0, "\ufffd")
    long = wire_control.decode(wire_control.encode_advice(wire_control.Advice(1, "x" * 300)))
    assert long == wire_control.Advice(1, "x" * wire_control.MAX_NAME)


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("token", [b"", b"1234567", b"123456789"])
def test_a_token_has_eight_bytes(kind: int, token: bytes) -> None:
    with pytest.raises(ProtocolError, match="without a token"):
        wire_control.decode(frame(field(1, token), kind=kind))


def test_the_first_nibble_is_no_other_frames() -> None:
    assert wire_control.encode_hello(HELLO)[0] >> 4 not in (0, 4, 6)


@pytest.mark.parametrize(
    ("content", "hello"),
    [
        pytest.param(frame(ID), Hello(INSTANCE), id="an instance id is enough"),
        pytest.param(frame(ID, field(99, b"news")), Hello(INSTANCE), id="unknown fields are skipped"),
        pytest.param(frame(field(99, b""), ID), Hello(INSTANCE), id="also empty, also before"),
        pytest.param(frame(field(1, bytes(16)), ID), Hello(INSTANCE), id="of a repeated field the last"),
        pytest.param(frame(ID, field(2, b"")), Hello(INSTANCE), id="an empty number is 0"),
        pytest.param(frame(ID, field(2, b"\0\0\0\x07more")), Hello(INSTANCE, 7), id="a longer field"),
        pytest.param(frame(ID, field(4, b"\xff")), Hello(INSTANCE, software="?"), id="not UTF-8"),
        pytest.param(frame(ID, kind=77), None, id="unknown type"),
        pytest.param(frame(b"\x01", kind=255), None, id="unknown type with fields of its own kind"),
    ],
)
def test_room_to_grow(content: bytes, hello: Hello | None) -> None:
    assert wire_control.decode(content) == hello


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "without a type", id="empty"),
        pytest.param(b"\xf0", "without a type", id="the mark alone"),
        pytest.param(frame(ID, mark=0xF1), "without a type", id="another mark"),
        pytest.param(frame(), "without an instance id", id="no fields"),
        pytest.param(frame(field(1, INSTANCE[1:])), "without an instance id", id="15 bytes"),
        pytest.param(frame(field(1, INSTANCE + b"\0")), "without an instance id", id="17 bytes"),
        pytest.param(frame(ID, b"\x02"), "cut off", id="one byte of a field"),
        pytest.param(frame(ID, b"\x02\0"), "cut off", id="two bytes of a field"),
        pytest.param(frame(ID, b"\x02\0\x01"), "past the end", id="no body"),
        pytest.param(frame(ID, b"\x02\xff\xff\0"), "past the end", id="a length that lies"),
    ],
)
def test_refused_with_the_reason(content: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        wire_control.decode(content)


def test_every_cut_is_refused_or_lacks_fields() -> None:
    content = wire_control.encode_hello(HELLO)
    boundaries = {
        21: Hello(INSTANCE),
        28: Hello(INSTANCE, packet_offload.ALL),
        35: Hello(INSTANCE, packet_offload.ALL, 1420),
        51: Hello(INSTANCE, packet_offload.ALL, 1420, "tunrouter 0.1"),
    }
    for size in range(len(content)):
        if size in boundaries:
            assert wire_control.decode(content[:size]) == boundaries[size]
        else:
            with pytest.raises(ProtocolError):
                wire_control.decode(content[:size])


def test_a_long_software_name_is_cut() -> None:
    hello = wire_control.decode(wire_control.encode_hello(Hello(INSTANCE, software="v" * 300)))
    assert hello == Hello(INSTANCE, software="v" * 64)


numbers = st.integers(0, 0xFFFFFFFF)
texts = st.text(
    st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E), max_size=wire_control.MAX_SOFTWARE
)


@given(st.builds(Hello, st.binary(min_size=16, max_size=16), numbers, numbers, texts))
def test_any_hello_comes_back(hello: Hello) -> None:
    assert wire_control.decode(wire_control.encode_hello(hello)) == hello


fields = st.lists(st.builds(field, st.integers(0, 6), st.binary(max_size=20))).map(lambda fs: frame(*fs))


@given(st.binary() | st.binary().map(lambda rest: b"\xf0\x01" + rest) | fields)
@example(frame(ID))
@example(b"\xf0\xee")
def test_any_bytes_are_a_hello_or_nothing_or_the_peers_fault(content: bytes) -> None:
    try:
        hello = wire_control.decode(content)
    except ProtocolError:
        return
    assert content[0] == wire_control.MARK
    assert (hello is None) == (content[1] != wire_control.Type.HELLO)


TOKEN = bytes(range(16))


def test_lanes_on_the_wire() -> None:
    hello = wire_control.encode_hello(Hello(INSTANCE, lane=TOKEN))
    assert hello.endswith(field(7, TOKEN))
    assert wire_control.decode(hello) == Hello(INSTANCE, lane=TOKEN)
    assert wire_control.encode_lane(wire_control.Lane()) == frame(kind=6)
    assert wire_control.encode_lane(wire_control.Lane(TOKEN)) == frame(field(1, TOKEN), kind=6)
    for lane in (wire_control.Lane(), wire_control.Lane(TOKEN)):
        assert wire_control.decode(wire_control.encode_lane(lane)) == lane


@pytest.mark.parametrize("token", [TOKEN[:15], TOKEN + b"x"])
def test_a_token_has_16_bytes(token: bytes) -> None:
    assert wire_control.decode(frame(ID, field(7, token))) == Hello(INSTANCE)
    with pytest.raises(ProtocolError):
        wire_control.decode(frame(field(1, token), kind=6))


def test_a_token_is_in_no_log() -> None:
    assert TOKEN.hex() not in repr(Hello(INSTANCE, lane=TOKEN))
    assert repr(TOKEN) not in repr(wire_control.Lane(TOKEN))


KEY, SALT = bytes(range(32)), b"saltsalt"


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        (wire_control.Datagrams(), ""),
        (wire_control.Datagrams(b"\1\2\3", KEY, SALT), ""),
        (wire_control.Datagrams(b"\1\2\3", KEY, SALT, 8443), "04 0002 20fb"),
        (
            wire_control.Datagrams(b"\1\2\3", KEY, SALT, 8443, "hub.example"),
            "04 000d 20fb" + b"hub.example".hex(),
        ),
    ],
)
def test_keys_of_datagrams_on_the_wire(given: wire_control.Datagrams, wire: str) -> None:
    content = frame(kind=7)
    if given.key:
        content = frame(field(1, b"\1\2\3"), field(2, KEY), field(3, SALT), bytes.fromhex(wire), kind=7)
    assert wire_control.encode_datagrams(given) == content
    assert wire_control.decode(content) == given
    assert KEY.hex() not in repr(given)
    assert repr(KEY) not in repr(given)


@pytest.mark.parametrize(
    "sizes", [(2, 32, 8), (4, 32, 8), (3, 31, 8), (3, 33, 8), (3, 32, 7), (3, 32, 9), (0, 32, 8)]
)
def test_keys_of_another_size_are_refused(sizes: tuple[int, int, int]) -> None:
    parts = [field(number, bytes(size)) for number, size in enumerate(sizes, 1)]
    with pytest.raises(ProtocolError, match="another size"):
        wire_control.decode(frame(*parts, kind=7))


def test_a_hello_with_a_cipher() -> None:
    content = wire_control.encode_hello(Hello(INSTANCE, features=32, cipher=2))
    assert content.endswith(field(8, b"\2"))
    assert wire_control.decode(content) == Hello(INSTANCE, features=32, cipher=2)
    without = wire_control.encode_hello(Hello(INSTANCE, features=32))
    assert content == without + field(8, b"\2"), "without one nothing is said"

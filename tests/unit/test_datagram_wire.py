"""Datagrams as bytes: headers, messages and their bounds, frames cut into pieces that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import datagram_wire, framing
from lib.datagram_wire import Ack, Probe

TOKEN = b"12345678"


def test_a_datagram_on_the_wire() -> None:
    label = datagram_wire.label_of(b"\x01\x02\x03")
    start = datagram_wire.header(label, 258)
    assert start == bytes.fromhex("54 010203 00000102")
    assert datagram_wire.look(start + bytes(17)) == (label, 258)


@pytest.mark.parametrize("size", range(datagram_wire.OVERHEAD + 1))
def test_what_is_too_short_is_nobodys(size: int) -> None:
    assert datagram_wire.look((b"\x54" * 99)[:size]) == (0, 0)
    assert datagram_wire.label_of(bytes(3)) != 0


@pytest.mark.parametrize(
    ("content", "wire", "message"),
    [
        (datagram_wire.encode_probe(TOKEN), "f1 01 3132333435363738", Probe(TOKEN)),
        (datagram_wire.encode_probe(TOKEN, 37), "f1 01 3132333435363738 000000", Probe(TOKEN)),
        (
            datagram_wire.encode_ack(Ack(TOKEN, 5, 3)),
            "f1 02 3132333435363738 0000000000000005 0000000000000003",
            Ack(TOKEN, 5, 3),
        ),
    ],
)
def test_messages_on_the_wire(content: bytes, wire: str, message: object) -> None:
    assert content == bytes.fromhex(wire)
    assert datagram_wire.decode(content) == message
    assert datagram_wire.decode(content + b"later") == message
    for size in range(10 if isinstance(message, Probe) else len(content)):
        assert datagram_wire.decode(content[:size]) is None


def test_a_probe_has_the_size_that_is_asked_for() -> None:
    for size in (0, 34, 35, 1252, datagram_wire.MAX_DATAGRAM):
        plain = datagram_wire.encode_probe(TOKEN, size)
        assert len(plain) + datagram_wire.OVERHEAD == max(size, datagram_wire.LEAST_PROBE)
    with pytest.raises(ValueError, match="at most 16384"):
        datagram_wire.encode_probe(TOKEN, datagram_wire.MAX_DATAGRAM + 1)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"\xf1" + rest))
def test_any_bytes_are_a_message_or_none(plain: bytes) -> None:
    message = datagram_wire.decode(plain)
    known = plain[:1] == b"\xf1" and plain[1:2] in (b"\x01", b"\x02")
    least = {b"\x01": 10, b"\x02": 26}.get(plain[1:2], 99)
    assert (message is not None) == (known and len(plain) >= least)


contents = st.lists(st.integers(1, 300).map(lambda size: framing.encode(b"E" * size)), max_size=20)


@given(contents, st.integers(40, 400))
def test_frames_are_cut_into_pieces_that_fit(frames: list[bytes], size: int) -> None:
    run, room = b"".join(frames), size - datagram_wire.OVERHEAD
    pieces = list(datagram_wire.bundles(run, size)) if run else []
    assert b"".join(piece for _, piece in pieces) == run
    ends = set(framing.split(run))
    at = 0
    for number, (fits, piece) in enumerate(pieces):
        at += len(piece)
        assert at in ends, "cut between frames"
        assert fits == (len(piece) <= room)
        if not fits:
            assert len(framing.split(bytes(piece))) == 1
        elif number + 1 < len(pieces) and pieces[number + 1][0]:
            following = framing.split(bytes(pieces[number + 1][1]))[0]
            assert len(piece) + following > room, "a piece has as many frames as it can"


def test_no_piece_is_longer_than_a_datagram_may_be() -> None:
    run = framing.encode(b"E" * 8000) * 4
    sizes = [len(piece) for _, piece in datagram_wire.bundles(run, 65000)]
    assert sizes == [16004, 16004]

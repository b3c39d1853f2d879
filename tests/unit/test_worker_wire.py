"""Messages between processes of one hub: any message comes back as it was, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import framing, worker_wire
from lib.errors import ProtocolError
from lib.worker_wire import (
    Claim,
    ClusterMark,
    FarHost,
    HubNumber,
    Known,
    Message,
    Question,
    SessionCount,
    Unanswered,
    Whole,
    WindowEnd,
)
from tests.support.texts import from_bytes

SPACES, TIMES = st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1)
ONE_OR_NONE = st.sampled_from([b"", b"n" * 16, bytes(16)])
CLAIMS = st.builds(
    Claim,
    st.sampled_from([worker_wire.COME, worker_wire.LEFT]),
    SPACES,
    from_bytes(255),
    TIMES,
    st.binary(max_size=16),
)
HUBS = st.builds(HubNumber, st.integers(0, 4095), from_bytes(63), st.booleans(), st.booleans())
AT = st.lists(st.tuples(st.integers(0, 4095), TIMES, st.binary(max_size=16)), max_size=4).map(tuple)
FAR = st.builds(FarHost, SPACES, from_bytes(255), AT)
MARKS = st.builds(ClusterMark, ONE_OR_NONE, ONE_OR_NONE)
COUNTS = st.builds(SessionCount, st.integers(0, 2**32 - 1))
ASKED = st.builds(Question, SPACES, from_bytes(255)) | st.builds(Unanswered, SPACES, from_bytes(255))
WINDOWS = st.builds(WindowEnd, st.integers(0, 2**64 - 1))
MESSAGES = st.one_of(CLAIMS, HUBS, FAR, ASKED, MARKS, COUNTS, WINDOWS, st.just(Whole()), st.just(Known()))


@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    assert worker_wire.decode(worker_wire.encode(message)) == message


@given(st.binary(max_size=64), st.integers(0, 12))
def test_any_bytes_are_a_message_or_none(data: bytes, kind: int) -> None:
    for content in (data, bytes([worker_wire.MARK, kind]) + data):
        try:
            message = worker_wire.decode(content)
        except ProtocolError:
            continue
        assert worker_wire.encode(message) == content


@pytest.mark.parametrize(
    "message",
    [
        Claim(worker_wire.COME, bytes(16), "", 1, b""),
        HubNumber(7, ""),
        FarHost(bytes(16), "", ((7, 1, b""), (8, 1, b"i" * 16))),
        Question(bytes(16), ""),
        Unanswered(bytes(16), ""),
        ClusterMark(bytes(16), bytes(16)),
        Whole(),
        Known(),
        SessionCount(7),
        WindowEnd(70_000),
    ],
)
def test_a_message_that_is_cut_off_is_none(message: Message) -> None:
    whole = worker_wire.encode(message)
    for size in range(len(whole)):
        with pytest.raises(ProtocolError):
            worker_wire.decode(whole[:size])


@pytest.mark.parametrize(
    "content",
    [
        b"\xd0\x05\x00",
        b"\xd0\x03\x00\x01\x04hub-2",
        b"\xd0\x06\x01n\x00",
        b"\xd0\x07\x00",
        b"\xd0\x08",
        b"\xd0\x09\x00",
        b"\xd0\x0a",
    ],
)
def test_what_is_no_message(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        worker_wire.decode(content)


@given(SPACES, st.integers(1, worker_wire.MAX_RUN), st.integers(0, 4095))
def test_the_head_of_a_run_comes_back(space: bytes, size: int, hub: int) -> None:
    head = worker_wire.head(space, size, hub)
    assert framing.split(head) == [len(head)]
    assert worker_wire.is_head(head, 2, len(head))
    assert worker_wire.run(head, 2, len(head)) == (hub, space, size)


@given(MESSAGES)
def test_no_message_is_the_head_of_a_run(message: Message) -> None:
    whole = worker_wire.encode(message)
    assert not worker_wire.is_head(whole, 0, len(whole))


@given(st.binary(max_size=40))
def test_any_bytes_are_the_head_of_a_run_or_none(data: bytes) -> None:
    for content in (data, bytes([worker_wire.MARK, worker_wire.RUN]) + data):
        whole = b"".join([len(content).to_bytes(2, "big"), content])
        if not worker_wire.is_head(whole, 2, len(whole)):
            continue
        try:
            hub, space, size = worker_wire.run(whole, 2, len(whole))
        except ProtocolError:
            continue
        assert worker_wire.head(space, size, hub) == whole

"""Records: what goes in comes out, in whatever pieces, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib import capture_fate as fates
from lib import capture_records, namespace_titles
from lib.errors import ProtocolError
from tests.support import packets as p
from tests.support import texts

contents = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5)


@given(contents, st.integers(1, 400), st.binary(max_size=50), st.integers(0, (1 << 64) - 1))
def test_frames_come_back_cut(frames: list[bytes], snap: int, label: bytes, when: int) -> None:
    stream = p.stream(frames)
    record = capture_records.decode(
        capture_records.packets(when, label, capture_records.cut(stream, 0, len(stream), snap), snap)
    )
    assert (record.kind, record.when, record.label) == (capture_records.PACKETS, when, label)
    assert list(capture_records.contents(record)) == [(len(frame), frame[:snap]) for frame in frames]


@given(st.lists(contents, max_size=5), st.integers(1, 99))
def test_a_reader_takes_any_pieces(runs: list[list[bytes]], step: int) -> None:
    data = b"".join(capture_records.packets(1, b"x", p.stream(run)) for run in runs) + capture_records.counts(
        2, 5, 3
    )
    reader = capture_records.Reader()
    found = [record for at in range(0, len(data), step) for record in reader.feed(data[at : at + step])]
    assert [[content for _, content in capture_records.contents(record)] for record in found[:-1]] == runs
    assert capture_records.read_counts(found[-1]) == (5, 3)


RECORD = capture_records.packets(1, b"x", p.stream([b"abc", b"de"]))


def _sized(rest: bytes) -> bytes:
    """With the size that it has, so that a reader goes on to what is inside."""
    return (4 + len(rest)).to_bytes(4, "big") + rest


@given(st.binary(max_size=200) | st.binary(max_size=60).map(_sized))
@example(RECORD)
@example(RECORD + capture_records.counts(2, 5, 3))
def test_anything_else_is_an_error(data: bytes) -> None:
    try:
        for record in capture_records.Reader().feed(data):
            list(capture_records.contents(record))
    except ProtocolError:
        pass


@pytest.mark.parametrize("size", [0, 16, capture_records.MAX_SIZE + 1, 0xFFFFFFFF])
def test_a_size_that_cannot_be(size: int) -> None:
    with pytest.raises(ProtocolError, match="a record of"):
        list(capture_records.Reader().feed(size.to_bytes(4, "big") + bytes(13)))


@given(st.tuples(*[texts.from_bytes(9, without="\0")] * 6))
def test_a_label_comes_back(fields: tuple[str, str, str, str, str, str]) -> None:
    fate = fates.Fate(*fields)
    assert fates.decode(fate.encode()) == fate


def test_the_title_of_a_namespace_goes_along() -> None:
    """Whoever reads the records is another program, and has no titles; an older program sends none."""
    namespace = bytes(range(16))
    fate = fates.Fate(fates.FORWARDED, namespace.hex(), "host-1", "host-2", "session x")
    uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    namespace_titles.use([(namespace, "Shop Berlin"), (bytes(16), "Office")])
    try:
        label, office = fate.encode(), fate._replace(namespace=bytes(16).hex()).encode()
    finally:
        namespace_titles.use([])
    words = "from host-1, to host-2, session x"
    assert fates.decode(label).sentence() == f"{words}, namespace Shop Berlin ({uuid})"
    assert (
        fates.decode(office).sentence() == f"{words}, namespace Office ({'0' * 8}-0000-0000-0000-{'0' * 12})"
    )
    assert fates.decode(fate.encode()).sentence() == f"{words}, namespace {uuid}"
    assert fates.decode(label.rpartition(b"\0")[0]).sentence() == f"{words}, namespace {uuid}"
    assert fate._replace(namespace="nonsense").sentence() == f"{words}, namespace nonsense"


def test_what_is_no_label() -> None:
    with pytest.raises(ValueError, match="not a label"):
        fates.decode(b"a\0b")

"""Messages between the processes of one tunrouter: whole, with their descriptors, up to the end."""

from __future__ import annotations

import os
import socket

import pytest

from lib import worker_channel
from lib.worker_channel import Channel


def channels() -> tuple[Channel, Channel]:
    one, other = worker_channel.pair()
    return Channel(one), Channel(other)


def test_messages_stay_whole_and_bring_descriptors() -> None:
    one, other = channels()
    reader, writer = os.pipe()
    one.send({"do": "a", "n": 1})
    one.send({"do": "b"}, writer)
    os.close(writer)
    assert other.receive() == ({"do": "a", "n": 1}, [])
    found = other.receive()
    assert found is not None
    message, (descriptor,) = found
    assert message == {"do": "b"}
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"x")
    assert os.read(reader, 1) == b"x"
    for left in (descriptor, reader):
        os.close(left)
    one.close()
    assert other.receive() is None
    with pytest.raises(BrokenPipeError):
        other.send({"do": "c"})
    other.close()


def test_a_file_in_memory_holds_what_is_long() -> None:
    data = os.urandom(1 << 20)
    file = worker_channel.held(data)
    assert not os.get_inheritable(file)
    assert worker_channel.read(file) == data
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(file)


def test_a_pair_for_bytes() -> None:
    one, other = (socket.socket(fileno=number) for number in worker_channel.stream_pair())
    with one, other:
        one.sendall(b"abc")
        assert other.recv(9) == b"abc"

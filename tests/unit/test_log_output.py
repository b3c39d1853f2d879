"""An output of the log that is not read: nothing waits for it, lost lines are counted, the end is in time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from gevent import monkey

from lib.log_output import OVERHEAD, Descriptor, Output

start_thread, lock = monkey.get_original("_thread", ["start_new_thread", "allocate_lock"])
sleep = monkey.get_original("time", "sleep")
PIPE = 4096


@dataclass
class Disk:
    """A target that takes nothing until it is let go, as a disk that hangs; it cannot be polled."""

    why: str = "the file did not take them in time"
    error: OSError | None = None
    written: list[bytes] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._door, self._asked = lock(), lock()
        self._door.acquire()
        self._asked.acquire()

    def at_once(self) -> int:
        return 1

    def room_on(self) -> int:
        return -1

    def write(self, data: bytes) -> int:
        if self._asked.locked():
            self._asked.release()
        self._door.acquire()
        self._door.release()
        if self.error is not None:
            raise self.error
        self.written.append(data)
        return len(data)

    def close(self) -> None:
        self.closed = True

    def is_asked(self) -> bool:
        """Whether something was to be written, within 5 s."""
        return bool(self._asked.acquire(timeout=5))

    def go(self) -> None:
        """Take what there is, from now on."""
        self._door.release()


@dataclass
class Pipe:
    """A pipe of one page, and the output that writes to it."""

    reading: int
    writing: int
    output: Output

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += os.read(self.reading, size - len(data))
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe, and an output with room for 5,000 lines."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    output = Output("stderr", Descriptor(writing), most=400_000)
    yield Pipe(reading, writing, output)
    os.close(reading)
    assert output.finish(), "nobody can read any more, so nothing waits"
    os.close(writing)


def line(number: int) -> bytes:
    return b"line %05d\n" % number


def test_nobody_reads_and_nobody_waits(pipe: Pipe) -> None:
    output = pipe.output
    began = time.monotonic()
    for number in range(20_000):
        output.put(line(number))
    assert time.monotonic() - began < 30
    kept = 20_000 - output.lost
    assert 400_000 // (11 + OVERHEAD) <= kept <= 400_000 // (11 + OVERHEAD) + 2 * PIPE // 11 + 1
    assert output.missing() is None, "there is no room to say so yet"
    assert pipe.read(11 * kept).splitlines()[-1] + b"\n" == line(kept - 1)
    while (lost := output.missing()) is None:  # the thread counts what it has written after that
        time.sleep(0.001)
    assert lost == (20_000 - kept, "nobody read them")
    assert output.missing() is None, "told once"
    output.put(line(7))
    assert pipe.read(11) == line(7)
    assert output.finish()


def test_lines_are_lost_until_half_of_what_waits_is_written(pipe: Pipe) -> None:
    """Or there would be a line about lost lines after each line that is read."""
    output = pipe.output
    while not output.lost:
        output.put(line(0))
    pipe.read(PIPE)  # of some 50,000 bytes
    output.put(line(1))
    assert output.lost == 2
    output.finish(patience=0.01)


def test_the_end_waits_a_moment_for_a_reader_that_stands_still(pipe: Pipe) -> None:
    output = pipe.output
    for number in range(2000):
        output.put(line(number))
    began = time.monotonic()
    assert not output.finish(patience=0.1)
    assert 0.1 <= time.monotonic() - began < 10


def test_the_end_waits_for_a_slow_reader(pipe: Pipe) -> None:
    output, got, has_read = pipe.output, bytearray(), lock()
    has_read.acquire()

    def slowly() -> None:
        while len(got) < 22_000:
            sleep(0.25)  # there is room in the pipe again once it is empty
            got.extend(os.read(pipe.reading, PIPE))
        has_read.release()

    for number in range(2000):
        output.put(line(number))
    start_thread(slowly, ())
    assert output.finish(patience=1.0), "as long as it reads, though all of it takes longer"
    assert has_read.acquire(timeout=5)
    assert bytes(got) == b"".join(map(line, range(2000)))


def test_a_disk_that_hangs_holds_up_nothing_and_keeps_the_order() -> None:
    disk = Disk()
    output = Output("hub.log", disk)
    for number in range(100):
        output.put(line(number))
    assert disk.is_asked()
    assert not output.finish(patience=0.01)
    disk.go()
    assert output.finish()
    assert disk.written == [line(number) for number in range(100)]


def test_a_full_disk_is_counted_and_said_when_there_is_room() -> None:
    disk = Disk(error=OSError(28, "No space left on device"))
    disk.go()
    output = Output("hub.log", disk)
    for number in range(3):
        output.put(line(number))
    assert output.finish()
    assert (output.trouble, output.refused) == (disk.error, 3)
    assert output.missing() is None
    disk.error = None
    output.put(line(3))
    assert output.finish()
    assert output.missing() == (3, "No space left on device")


def test_a_pause_ends_the_thread_and_loses_nothing(pipe: Pipe) -> None:
    """Privileges are given up in a process that has one thread (service_privileges)."""
    before = set(os.listdir("/proc/self/task"))
    output = pipe.output
    for number in range(1000):
        output.put(line(number))
    output.pause()
    until = time.monotonic() + 5
    while set(os.listdir("/proc/self/task")) - before:
        assert time.monotonic() < until
    output.put(line(1000))
    assert pipe.read(11 * 1001) == b"".join(map(line, range(1001)))


def test_an_output_that_is_given_up_writes_what_waits_and_is_closed() -> None:
    disk = Disk()
    output = Output("hub.log", disk)
    output.put(line(1))
    output.retire()
    assert not disk.closed
    disk.go()
    assert output.finish()
    assert (disk.written, disk.closed) == ([line(1)], True)


# --- moments in which the thread ends while somebody wants something of it


class Held:
    """The lock that an output's thread holds, with something that happens at a certain moment."""

    def __init__(self, at_a_look: Callable[[], None] | None = None) -> None:
        self._lock, self._at_a_look = lock(), at_a_look
        self.ends, self.may_end = lock(), lock()
        self.ends.acquire()

    def acquire(self, *how: object, **more: float) -> bool:
        return bool(self._lock.acquire(*how, **more))

    def release(self) -> None:
        """The thread is about to end, and has looked at everything for the last time."""
        if self.ends.locked():
            self.ends.release()
        with self.may_end:
            self._lock.release()

    def locked(self) -> bool:
        is_locked = self._lock.locked()
        if is_locked and self._at_a_look is not None:
            act, self._at_a_look = self._at_a_look, None
            act()
            assert self._lock.acquire(timeout=5), "the thread has ended"
            self._lock.release()
        return bool(is_locked)


def test_giving_up_an_output_whose_thread_ends_that_moment_is_no_error() -> None:
    """The thread closed its eventfd between the look whether it runs and the write that was to wake it."""
    disk = Disk()
    output = Output("hub.log", disk)
    output._ended = Held(at_a_look=disk.go)
    output.put(line(1))
    assert disk.is_asked()
    output.retire()
    assert (disk.written, disk.closed) == ([line(1)], True)


@pytest.mark.parametrize("wanted", ["a line", "the end"])
def test_what_is_wanted_of_a_thread_that_has_looked_for_the_last_time_is_done(wanted: str) -> None:
    disk = Disk()
    disk.go()
    output = Output("hub.log", disk)
    output._ended = held = Held()
    with held.may_end:
        output.put(line(1))
        output.finish(patience=0.01, longest=0.01)
        assert held.ends.acquire(timeout=5), "nothing is left, and the thread ends"
        if wanted == "a line":
            output.put(line(2))
        else:
            output.retire()
    until = time.monotonic() + 5
    while not (disk.closed if wanted == "the end" else line(2) in disk.written):
        assert time.monotonic() < until
        sleep(0.001)


def test_an_output_that_nobody_has_any_more_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    disk = Disk()
    disk.go()
    output = Output("hub.log", disk)
    output.put(line(1))
    output.retire()
    assert output.finish()
    del output
    until = time.monotonic() + 5
    while os.listdir("/proc/self/fd") != before:  # the thread has it for a moment longer
        assert time.monotonic() < until
        sleep(0.001)


def test_a_descriptor_that_somebody_has_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    output = pipe.output
    for number in range(3000):
        output.put(line(number))
    assert pipe.read(33_000) == b"".join(map(line, range(3000)))
    assert (output.finish(), output.refused) == (True, 0)


def test_a_reader_that_has_gone_costs_the_lines_only() -> None:
    end, gone = os.pipe()
    os.close(end)
    output = Output("stderr", Descriptor(gone))
    output.put(line(1))
    assert output.finish()
    assert isinstance(output.trouble, BrokenPipeError)
    os.close(gone)

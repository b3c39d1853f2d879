"""Ends of connections in shared memory: each is told once, in order, however often the cells are used again."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from lib import worker_channel, worker_ends
from lib.worker_ends import MOST, Ends

ROOM = 1024  # a page of cells and more


@pytest.fixture
def file() -> Iterator[int]:
    made = worker_ends.made(ROOM)
    yield made
    worker_channel.shut(made)


@pytest.fixture
def sides(file: int) -> Iterator[tuple[Ends, Ends]]:
    """(the worker's, the main process's)"""
    both = Ends(file), Ends(file)
    yield both
    for one in both:
        one.close()


def test_what_a_worker_tells_is_taken_once_and_in_order(sides: tuple[Ends, Ends]) -> None:
    worker, main = sides
    assert main.take() == []
    told, taken = 0, []
    for _ in range(7):
        for _ in range(ROOM // 2):
            told += 1
            worker.tell(told)
        taken += main.take()
    assert taken == list(range(1, told + 1))
    assert main.take() == []


def test_all_connections_may_end_before_anybody_looks(sides: tuple[Ends, Ends]) -> None:
    worker, main = sides
    for number in range(ROOM):
        worker.tell(number + 1)
    first, second, third = main.take(), main.take(), main.take()
    assert (len(first), len(second), third) == (MOST, ROOM - MOST, [])
    assert first + second == list(range(1, ROOM + 1))


def test_a_process_tells_another_one(file: int, sides: tuple[Ends, Ends]) -> None:
    _, main = sides
    if not (pid := os.fork()):
        with suppress(BaseException):
            Ends(file).tell(17)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert main.take() == [17]


def test_nobody_can_cut_the_memory_off(file: int) -> None:
    """Whoever looks at memory behind the end of its file is killed by the kernel (SIGBUS)."""
    for size in (0, mmap.PAGESIZE // 2, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(file, size)

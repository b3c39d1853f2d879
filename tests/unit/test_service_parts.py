"""The parts of a process at its end."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from lib import netlink_watch, service_parts
from lib.service_parts import Parts


class Client:
    """A client that notes what is done to it."""

    def __init__(self, removable: int, done: list[str]) -> None:
        self.removable, self._done = removable, done

    def halt(self, wait: bool) -> None:
        self._done.append("halted" if wait else "told")

    def close(self) -> None:
        self._done.append("closed")


@pytest.mark.parametrize("refused", [0, errno.EPERM])
def test_all_clients_are_told_before_any_is_waited_for_and_their_devices_go_together(
    monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    done: list[str] = []
    removed: list[list[int]] = []

    def remove(indices: list[int], group: int) -> int:
        assert group > 1 << 31
        done.append("removed")
        removed.append(indices)
        if refused:
            raise OSError(refused, "netlink")
        return 0

    monkeypatch.setattr(netlink_watch, "remove_together", remove)
    monkeypatch.setattr(service_parts, "TOGETHER", 2)
    clients: Any = [Client(index, done) for index in (3, 4, 0, 5, 6)]
    Parts.stop_clients(SimpleNamespace(), clients)  # type: ignore[arg-type]
    assert done == [*["told"] * 5, *["halted"] * 5, "removed", *["closed"] * 5]
    assert removed == [[3, 4]], "a device by itself goes when it is closed"

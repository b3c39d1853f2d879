"""Congestion control of a socket: what the kernel really uses, and what is said where it refuses."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib import service_privileges, stream_figures, stream_options
from lib.settings_transport import AUTO, SYSTEM
from lib.stream_options import ASK_SECONDS, congestion, missing, restart_bbr, suit_congestion, use_congestion

OTHER = "reno"
"""Every kernel has it and lets everybody use it."""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The fields of all that is logged."""
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(stream_options, "say", lambda *words, **fields: lines.append(fields))
    return lines


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def test_auto_is_bbr_where_the_kernel_lets_us(
    sock: socket.socket, said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an algorithm that every kernel has; whether this one has bbr is another question."""
    monkeypatch.setattr(stream_options, "BBR", OTHER)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    use_congestion(sock, AUTO, "s")
    assert congestion(sock) == OTHER
    assert not said


def test_auto_falls_back_without_a_word(
    sock: socket.socket, said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = congestion(sock)
    monkeypatch.setattr(stream_options, "BBR", "none_such")
    use_congestion(sock, AUTO, "s")
    assert congestion(sock) == before
    assert not said


def test_auto_that_was_to_be_had_and_is_not_any_more_is_warned_of(
    sock: socket.socket, said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that became another user opens a second listener (a reload): the first one has kept its bbr."""
    monkeypatch.setattr(stream_options, "BBR", OTHER)
    monkeypatch.setattr(stream_options, "_had", set())
    refusal: list[str] = []
    monkeypatch.setattr(stream_options, "_set", lambda sock, name: "".join(refusal))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    use_congestion(sock, AUTO, "s")
    assert not said
    refusal.append("only root may use it")
    use_congestion(sock, AUTO, "s")
    [line] = said
    assert (line["wanted"], line["used"], line["reason"]) == (AUTO, "cubic", "only root may use it")


def test_auto_leaves_another_kind_of_bbr_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator who has a kernel with bbr3 means it."""
    asked = Refusing("bbr3", 0)
    use_congestion(asked, AUTO, "s")
    assert asked.set == []


def test_a_name_that_the_kernel_refuses_is_warned_of_once_with_what_is_used(
    sock: socket.socket, said: list[dict[str, Any]]
) -> None:
    before = congestion(sock)
    use_congestion(sock, "none_such", "s")
    assert congestion(sock) == before
    [line] = said
    assert (line["service"], line["wanted"], line["used"]) == ("s", "none_such", before)
    assert "has not loaded none_such" in line["reason"]
    assert line["fold"] == "s", "told once, however often a client dials"


@pytest.mark.parametrize("wanted", [SYSTEM, AUTO, "none_such"])
def test_a_reload_gives_a_socket_the_kernel_s_choice_again(
    sock: socket.socket, said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    """Also where the new algorithm is refused: the old one is not what the configuration says any more."""
    monkeypatch.setattr(stream_options, "BBR", "none_such")
    usual = congestion(sock)
    had = next(name for name in ("reno", "bbr", "cubic") if name != usual and sets(sock, name))
    use_congestion(sock, wanted, "s", had)
    assert congestion(sock) == usual
    assert bool(said) == (wanted == "none_such")


def sets(sock: socket.socket, name: str) -> bool:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError:
        return False
    return True


def test_system_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Refusing("cubic", 0)
    use_congestion(asked, SYSTEM, "s")
    assert asked.set == []


@pytest.mark.parametrize(
    ("fast", "near", "allowed", "used"),
    [
        (True, True, True, "cubic"),
        (True, False, True, OTHER),  # what is lost on a long way is missed for long
        (False, True, True, OTHER),
        (True, True, False, OTHER),  # else it could not come back
    ],
)
def test_auto_suits_a_near_and_fast_peer_and_comes_back(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch, fast: bool, near: bool, allowed: bool, used: str
) -> None:
    monkeypatch.setattr(stream_options, "BBR", OTHER)
    monkeypatch.setattr(stream_options, "missing", lambda name: "" if allowed else "forbidden")
    monkeypatch.setattr(stream_options, "_of_the_system", lambda: "cubic")
    use_congestion(sock, AUTO, "s")
    suit_congestion(sock, fast, near)
    assert congestion(sock) == used
    suit_congestion(sock, False, near)
    assert congestion(sock) == OTHER


def test_where_bbr_is_the_system_s_own_choice_a_fast_peer_has_another(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_options, "BBR", OTHER)
    monkeypatch.setattr(stream_options, "missing", lambda name: "")
    monkeypatch.setattr(stream_options, "_of_the_system", lambda: OTHER)
    use_congestion(sock, AUTO, "s")
    suit_congestion(sock, True, True)
    assert congestion(sock) == "cubic"


def test_what_a_listening_socket_accepts_has_its_congestion_control() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use_congestion(listener, OTHER, "s")
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert congestion(accepted) == OTHER


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection on this machine; closed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        writer = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    with writer, reader:
        yield writer, reader


def sizes(reader: socket.socket, writer: socket.socket) -> set[int]:
    """The sizes of a receive buffer while 16 MB go through it, as fast as both ends can."""
    seen, left = set(), 1 << 24
    writer.setblocking(False)
    while left > 0:
        try:
            while left > 0:
                left -= writer.send(bytes(min(left, 1 << 18)))
        except BlockingIOError:
            pass
        reader.recv(1 << 18)
        seen.add(reader.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    return seen


@pytest.mark.parametrize("has_option", [True, False], ids=["", "before Linux 5.14"])
def test_a_receive_buffer_that_was_held_grows_again(
    has_option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a traffic limit under 1 MB/s sets is not left behind where a reload lifts the limit."""
    if not has_option:
        monkeypatch.setattr(stream_options, "_SO_BUF_LOCK", 9999)
    with connected() as (writer, reader):
        stream_options.set_unread(reader, 1 << 15)
        assert sizes(reader, writer) == {1 << 16}, "the kernel keeps twice as many, and grows nothing"
        stream_options.set_unread(reader, 0)
        assert min(sizes(reader, writer)) > 1 << 16
        if has_option:
            assert not reader.getsockopt(socket.SOL_SOCKET, stream_options._SO_BUF_LOCK)
    stream_options.set_unread(reader, 0)  # nothing is raised about a closed one


def test_a_receive_buffer_that_was_held_has_room_again_for_what_was_read_in_a_round_trip() -> None:
    """By itself the kernel lets it grow only for a connection that becomes faster than it has ever been: one of
    200 Mbit/s that had cost too much for a moment stayed at 62."""
    with connected() as (writer, reader):
        sizes(reader, writer)
        had = stream_figures.read_in_a_trip(reader)
        stream_options.set_unread(reader, 1 << 14)
        assert reader.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 1 << 15 < had
        stream_options.set_unread(reader, 0)
        assert reader.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * had, "before anything is read"
        assert reader.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1, "and a byte wakes who waits"


def test_a_closed_socket_has_none(sock: socket.socket) -> None:
    sock.close()
    assert congestion(sock) == ""


class Refusing:
    """A socket whose kernel uses one algorithm, and refuses others with an errno."""

    def __init__(self, used: str, number: int) -> None:
        self.used, self.number, self.set = used, number, list[bytes]()

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return self.used.encode().ljust(size, b"\0")

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.set.append(value)
        raise OSError(self.number, os.strerror(self.number))


class Kernel:
    """What a kernel says of its congestion controls, for one process."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        monkeypatch.setattr(stream_options, "_SYSCTL", path)
        monkeypatch.setattr(service_privileges, "_STATUS", path / "status")
        monkeypatch.setattr(stream_options, "_MODULES", path)
        self.admin(False)

    def has(self, loaded: str, allowed: str) -> None:
        (self._path / "tcp_available_congestion_control").write_text(loaded + "\n")
        (self._path / "tcp_allowed_congestion_control").write_text(allowed + "\n")

    def admin(self, is_admin: bool) -> None:
        (self._path / "status").write_text(
            f"Name:\tx\nCapEff:\t{0x3000 if is_admin else 0:016x}\nSeccomp:\t0\n"
        )

    def modules(self, *names: str) -> None:
        folder = self._path / os.uname().release
        folder.mkdir()
        lines = (f"kernel/net/ipv4/tcp_{name}.ko.xz: kernel/net/ipv4/x.ko\n" for name in names)
        (folder / "modules.dep").write_text("".join(lines))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


SYSCTL = "`sysctl -w net.ipv4.tcp_allowed_congestion_control='reno cubic bbr'`"


def test_what_is_missing_for_somebody_who_is_not_root(kernel: Kernel) -> None:
    kernel.has("reno cubic", "reno cubic")
    kernel.modules("bbr", "westwood")
    have = "the kernel has not loaded bbr, only reno, cubic"
    assert missing("bbr") == f"{have}: let root run `modprobe tcp_bbr` and {SYSCTL}"
    kernel.has("reno cubic bbr", "reno cubic")
    assert missing("bbr") == f"only root may use bbr: let root run {SYSCTL}"
    kernel.has("reno cubic bbr", "reno cubic bbr")
    assert missing("bbr") == ""


def test_root_may_use_what_is_loaded_and_the_kernel_loads_what_there_is(kernel: Kernel) -> None:
    kernel.admin(True)
    kernel.has("reno cubic bbr", "reno cubic")
    assert missing("bbr") == ""
    kernel.has("reno cubic", "reno cubic")
    assert missing("bbr") == "", "nobody can say whether there is a module"
    have = "the kernel has not loaded bbr, only reno, cubic"
    assert missing("bbr", tried=True) == f"{have}: let root run `modprobe tcp_bbr`"
    kernel.modules("westwood")
    assert missing("bbr") == f"{have}; it has no such module"


def test_a_name_that_no_kernel_knows_is_told_to_root_too(kernel: Kernel) -> None:
    """`check` is mostly run by root, who could load any module that there is."""
    kernel.admin(True)
    kernel.has("reno bbr", "reno")
    have = "the kernel has not loaded {}, only reno, bbr; {}"
    assert missing("cubci") == have.format("cubci", "did you mean 'cubic'?")
    assert missing("swiftest") == have.format("swiftest", "it has no such module")


def test_a_process_that_sees_no_sysctls_is_told_as_much_as_can_be(kernel: Kernel) -> None:
    """systemd hides them (ProcSubset=pid)."""
    text = f"the kernel has not loaded bbr: let root run `modprobe tcp_bbr` and {SYSCTL}"
    assert missing("bbr") == text


class Willing(Refusing):
    """A socket that uses what it is told to."""

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.set.append(value)
        self.used = value.decode()


def test_many_sessions_begin_anew_with_one_look_at_what_is_allowed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looks = [1000.0], list[str]()

    def look(name: str) -> str:
        looks.append(name)
        return missing(name)

    monkeypatch.setattr(stream_options, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(stream_options, "_asked", {})
    monkeypatch.setattr(stream_options, "missing", look)
    kernel.has("reno cubic bbr", "reno cubic bbr")
    some = [Willing("bbr", 0) for _ in range(50)]
    for one in some:
        restart_bbr(one)
    assert [one.set for one in some] == [[b"reno", b"bbr"]] * 50
    assert looks == ["bbr"]
    restart_bbr(Willing("cubic", 0))
    assert looks == ["bbr"], "another one goes on as it is"
    kernel.has("reno cubic bbr", "reno cubic")  # somebody has forbidden it meanwhile, to all but root
    clock[0] += ASK_SECONDS
    late = Willing("bbr", 0)
    restart_bbr(late)
    restart_bbr(late)
    assert (late.set, looks) == ([], ["bbr", "bbr"]), "it could not come back to bbr"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EPERM, f"only root may use bbr: let root run {SYSCTL}"),
        (errno.EINVAL, "bbr: Invalid argument"),
    ],
)
def test_a_refusal_says_what_to_do(
    kernel: Kernel, said: list[dict[str, Any]], number: int, reason: str
) -> None:
    kernel.has("reno cubic bbr", "reno cubic")
    use_congestion(Refusing("cubic", number), "bbr", "s")
    assert [line["reason"] for line in said] == [reason]


def test_a_receive_buffer_shrinks_only_as_what_lies_in_it_is_read() -> None:
    with connected() as (writer, reader):
        writer.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                writer.send(bytes(1 << 16))
        first = stream_options.shrink_unread(reader, 1 << 12, 0)
        assert first > 1 << 16
        assert stream_options.shrink_unread(reader, 1 << 12, first) <= first
        assert stream_options.shrink_unread(reader, 1 << 12, 9000) == 9000
        reader.setblocking(False)
        with suppress(BlockingIOError):
            while reader.recv(1 << 20):
                pass
        assert stream_options.shrink_unread(reader, 1 << 12, first) < first
    assert stream_options.shrink_unread(reader, 1 << 12, 0) == 1 << 12, "nothing is raised about a closed one"


def test_an_older_kernel_repairs_losses_when_it_likes() -> None:
    stream_options.resend_soon(Refusing("cubic", errno.ENOPROTOOPT))
    with socket.socket() as one:
        stream_options.resend_soon(one)
        try:
            least = one.getsockopt(socket.IPPROTO_TCP, 45)  # TCP_RTO_MIN_US, linux/tcp.h
        except OSError:
            return  # before Linux 6.15
        assert least == pytest.approx(50_000, rel=0.1), "in microseconds, as the kernel's ticks allow"


def test_what_is_not_acknowledged_is_sent_again_after_seconds() -> None:
    with socket.socket() as one:
        stream_options.tune(one, None, 15.0, False)
        try:
            most = one.getsockopt(socket.IPPROTO_TCP, 44)  # TCP_RTO_MAX_MS, linux/tcp.h
        except OSError:
            return  # before Linux 6.15
        assert most == 1000 * stream_options.MOST_RESEND_SECONDS


def test_a_connection_that_is_given_up_is_reset_though_something_is_not_sent() -> None:
    """Its end would stand behind that."""
    with connected() as (writer, reader):
        writer.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                writer.send(bytes(1 << 16))
        stream_options.give_up(writer)
        writer.shutdown(socket.SHUT_RDWR)
        writer.close()
        stream_options.give_up(writer)
        reader.settimeout(10)
        with suppress(ConnectionResetError):
            while reader.recv(1 << 20):
                pass
            pytest.fail("it came to its end")

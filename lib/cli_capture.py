"""`tunrouter capture` and `tunrouter trace`: packets of a running process as a pcapng file, or as lines.

Knows: what the process is asked, how its records become pcapng, that every way to end leaves a valid file.
Refuses to know: which packets match and what became of them (the process decides), pcapng's bytes
(capture_pcapng).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib import (
    __version__,
    capture_filter,
    capture_pcapng,
    capture_records,
    cli_process,
    ctl_client,
    packet_offload,
)
from lib import capture_fate as fates
from lib.capture_records import Record
from lib.cli_descriptors import complain
from lib.cli_show import check_namespace
from lib.errors import ConfigError, HostError, Position, Problem, ProtocolError
from lib.humanize import counted
from lib.printable import printable

RECEIVE = 1 << 18
"""Bytes of one receive from the control socket."""
PATIENCE = 2.0
"""Seconds that the process has to send its last records after we have asked it to stop."""


def run(arguments: Mapping[str, Any]) -> int:
    """Run `capture` or `trace` until a signal, --count or the process ends it; returns the exit status.

    Raises HostError, and ConfigError for a wrong filter, --count or --ns.
    """
    text = checked(" ".join(arguments["FILTER"]), "FILTER")
    count = _count(arguments["--count"])
    request = {"filter": text, "host": arguments["--host"] or "", "ns": arguments["--ns"] or ""}
    check_namespace(arguments["--ns"])
    path = cli_process.path(arguments)
    if arguments["trace"]:
        sock = ctl_client.ask_on(path, {"do": "trace", **request})
        with sock:
            _announce("tracing", text)
            _print_lines(sock, count)
        return 0
    asked = {"do": "capture", "recorder": arguments["--recorder"], **request}
    sock = ctl_client.ask_on(path, asked)
    with sock:
        file = _open(arguments["-w"])
        if not arguments["--recorder"]:
            _announce("capturing", text)
        with ctl_client.understood(path):
            _write(sock, file, text, count)
    return 0


def _announce(what: str, text: str) -> None:
    complain(printable(f"{what} {text or 'everything'}; Ctrl-C ends it"))


def checked(text: str, where: str) -> str:
    """The filter expression `text`, after a check that it parses. Raises ConfigError at `where`."""
    try:
        capture_filter.parse(text)
    except capture_filter.FilterError as wrong:
        raise ConfigError([Problem(Position(where), wrong.message, wrong.hint)]) from None
    return text


def _count(text: str | None) -> int:
    """The number of --count, 0 for no limit. Raises ConfigError."""
    if text is None:
        return 0
    if not text.isdecimal() or not int(text):
        raise ConfigError([Problem(Position("--count"), f"not a number above zero: {text[:32]!r}")])
    return int(text)


# --- how it ends ---------------------------------------------------------------------------------


class _Ending:
    """Ctrl-C and SIGTERM: the first one asks the process to stop, a second one ends at once."""

    def __init__(self, sock: Any) -> None:
        self.wanted = False
        self._sock = sock
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: object) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.end()

    def end(self) -> None:
        """Ask the process to stop: it sends the rest and closes."""
        self.wanted = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(PATIENCE)
        except OSError:
            pass  # it has gone already


def _receive(sock: Any) -> bytes:
    """The next bytes; b"" where the process has closed or ended, or takes longer than PATIENCE to close."""
    try:
        data: bytes = sock.recv(RECEIVE)
    except OSError:
        return b""
    return data


# --- trace ---------------------------------------------------------------------------------------


def _print_lines(sock: Any, count: int) -> None:
    ending, rest, printed = _Ending(sock), b"", 0
    while data := _receive(sock):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if count and printed == count:
                return
            print(printable(line.decode("utf-8", "replace")), flush=True)
            printed += not line.startswith("…".encode())
        if ending.wanted or (count and printed == count):
            return


# --- capture -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """The output file or pipe."""

    descriptor: int
    name: str

    def write(self, data: bytes) -> None:
        """Write all of it. Raises HostError, BrokenPipeError."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.descriptor, view) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise HostError(f"{self.name}: {error.strerror}") from None

    @property
    def has_gone(self) -> bool:
        """Whether it is a pipe that nobody reads any more."""
        poll = select.poll()
        poll.register(self.descriptor, 0)
        return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def _open(name: str) -> _File:
    """The file, for its owner alone: there is payload in it. Raises HostError."""
    if name == "-":
        if os.isatty(1):
            raise HostError("standard output is a terminal: write to a file, or into `| tshark -r -`")
        return _File(1, "standard output")
    try:
        return _File(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), name)
    except OSError as error:
        raise HostError(f"{name}: {error.strerror}") from None


def _write(sock: Any, file: _File, text: str, count: int) -> None:
    ending = _Ending(sock)
    file.write(
        capture_pcapng.section(f"tunrouter {__version__}") + capture_pcapng.interface("tunrouter", text)
    )
    reader, written, fitted, lost = capture_records.Reader(), 0, 0, 0
    try:
        while (data := _receive(sock)) and not (count and written == count):
            blocks: list[bytes] = []
            for record in reader.feed(data):
                if record.kind == capture_records.COUNTS:
                    fitted, lost = capture_records.read_counts(record)
                    if file.has_gone:
                        raise BrokenPipeError(errno.EPIPE, "nobody reads")
                else:
                    blocks += packets(record, count - written - len(blocks) if count else -1)
            file.write(b"".join(blocks))
            written += len(blocks)
    except ProtocolError as error:
        raise HostError(f"the process sends something else than packets: {error}") from None
    finally:
        _close(file, max(fitted, written + lost), lost)
        if not ending.wanted:
            ending.end()
    lost_text = f", and {lost:,} lost, which came faster than they were taken" if lost else ""
    complain(f"{counted(written, 'packet')}{lost_text}")


def _close(file: _File, fitted: int, lost: int) -> None:
    try:
        file.write(capture_pcapng.statistics(time.time_ns(), fitted, lost))
    except (OSError, HostError):
        pass  # it is full, or nobody reads: said already
    if file.descriptor != 1:
        os.close(file.descriptor)


def packets(record: Record, most: int = -1) -> list[bytes]:
    """The packets of a record as pcapng blocks, at most `most` of them; -1 for all. Raises ProtocolError."""
    try:
        fate = fates.decode(record.label)
    except ValueError as wrong:
        raise ProtocolError(str(wrong)) from None
    sentence = fate.sentence()
    blocks: list[bytes] = []
    for size, content in capture_records.contents(record):
        if len(blocks) == most:
            break
        data, original, notes = _packet(content, size)
        comment = "; ".join((sentence, *notes))
        blocks.append(capture_pcapng.packet(record.when, data, original, comment))
    return blocks


def _packet(content: bytes, size: int) -> tuple[bytes, int, list[str]]:
    """(packet, its whole length, notes about its virtio-net header) of a frame content of `size` bytes.

    A partial checksum is completed, unless a part of the packet has been cut off.
    """
    if size <= packet_offload.HEADER_SIZE or content[0] >> 4:
        return content, size, []
    notes: list[str] = []
    count, gso_size = fates.segments(content, 0, size)
    if count > 1:
        notes.append(f"superpacket: {count} packets of {gso_size} bytes of payload")
    whole, original = content[packet_offload.HEADER_SIZE :], size - packet_offload.HEADER_SIZE
    if content[0] & packet_offload.NEEDS_CSUM:
        field = int.from_bytes(content[6:8], "little") + int.from_bytes(content[8:10], "little")
        if len(content) == size and field + 2 <= original:
            return packet_offload.complete(content), original, notes
        notes.append("its checksum is still to be made")
    return whole, original, notes

"""A part of the labels of one UDP port, and the program by which the kernel gives each part to a socket.

Knows: which indexes are of a part, the program as bytes (classic BPF, linux/filter.h).
Refuses to know: sockets, and how a program is attached to them (datagram_group), who has which part
(worker_datagrams).

    ld  [0]         the first four bytes of a datagram: its label (datagram_wire); what is shorter has 0
    mod #count
    ret a           the socket of this number, in the order in which they were bound

A key goes by its label to the socket of the process that made it, from whatever address its datagrams come.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lib.datagram_wire import label_of
from lib.wire_control import INDEX_SIZE

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _MODULO, _RETURN_A = 0x20, 0x94, 0x16
"""BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_MOD|BPF_K, BPF_RET|BPF_A (linux/bpf_common.h, linux/filter.h)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of `count` parts: the labels that leave this remainder."""

    number: int = 0
    count: int = 1

    def index(self, drawn: bytes) -> bytes:
        """An index of this part, made of one that was drawn: that one, or one near it."""
        index = int.from_bytes(drawn, "big") + self.number - label_of(drawn) % self.count
        if index < 0:
            index += self.count
        elif index >= 1 << 8 * INDEX_SIZE:
            index -= self.count
        return index.to_bytes(INDEX_SIZE, "big")


WHOLE = Part()
"""All labels: those of a port with one socket."""


def program(count: int) -> bytes:
    """The program for so many sockets, 8 bytes for each instruction."""
    rows = (_LOAD_WORD, 0), (_MODULO, count), (_RETURN_A, 0)
    return b"".join(_INSTRUCTION.pack(code, 0, 0, value) for code, value in rows)

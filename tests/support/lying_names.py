"""Fake name server that misbehaves over UDP and TCP: python -m tests.support.lying_names PORT MOOD_FILE

MOOD_FILE holds the name of a lie, or `good`. It is read for every question, and an endless lie ends when it
changes. LIES has the names. A name that begins with `other.` is answered truthfully whatever the mood is:
every name has the address 127.0.0.1 and no IPv6 address.

Knows: DNS messages (RFC 1035, 4). Refuses to know: what a test expects.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

A, CNAME = 1, 5
REPLY, TRUNCATED, NO_NAME, FAILURE = 0x8180, 0x0200, 3, 2
SECONDS = 60.0
"""An endless lie ends after this, whoever forgot it."""
HONEST = b"\x05other"


@dataclass(frozen=True)
class Question:
    """What was asked."""

    number: int
    text: bytes
    """The question section: a name, a type, a class."""

    @property
    def kind(self) -> int:
        return int.from_bytes(self.text[-4:-2])

    @property
    def name(self) -> bytes:
        return self.text[:-4]


def read(message: bytes) -> Question:
    """The question of a message with one."""
    end = message.index(b"\0", 12) + 5
    return Question(int.from_bytes(message[:2]), message[12:end])


def reply(question: Question, *answers: bytes, flags: int = REPLY, number: int | None = None) -> bytes:
    head = struct.pack(
        "!6H", question.number if number is None else number, flags, 1, len(answers) & 0xFFFF, 0, 0
    )
    return head + question.text + b"".join(answers)


def row(kind: int, content: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    """A resource record; the name is the question's, by a pointer."""
    return name + struct.pack("!HHIH", kind, 1, 1, len(content)) + content


def truth(question: Question) -> bytes:
    return reply(question, *([row(A, bytes([127, 0, 0, 1]))] if question.kind == A else []))


def addresses(count: int) -> list[bytes]:
    """Where nobody listens."""
    return [row(A, bytes([127, 1, n >> 8, n & 255])) for n in range(count)]


Say = Callable[[Question], Iterator[bytes]]
"""The pieces that are sent to who asked: over UDP packets, over TCP bytes."""


def once(*made: Callable[[Question], bytes]) -> Say:
    return lambda question: iter([one(question) for one in made])


def again(made: Callable[[Question], bytes], pause: float = 0.0) -> Say:
    def say(question: Question) -> Iterator[bytes]:
        while True:
            yield made(question)
            time.sleep(pause)

    return say


def then(first: Callable[[Question], bytes], more: Say) -> Say:
    def say(question: Question) -> Iterator[bytes]:
        yield first(question)
        yield from more(question)

    return say


def with_length(made: Callable[[Question], bytes]) -> Callable[[Question], bytes]:
    """As TCP has it (RFC 1035, 4.2.2)."""
    return lambda question: struct.pack("!H", len(made(question))) + made(question)


def garbage(question: Question) -> bytes:
    return random.Random(7).randbytes(512)


def wrong_number(question: Question) -> bytes:
    return reply(question, row(A, bytes([127, 0, 0, 9])), number=question.number ^ 0x5555)


def loop(question: Question) -> bytes:
    return reply(question, row(CNAME, b"\xc0\x0c"))


def long_loop(question: Question) -> bytes:
    """Thirty names, each an alias of the next, the last of the first."""
    names = [bytes([1, 97 + n % 26, 1, 97 + n // 26, 4]) + b"test\0" for n in range(30)]
    names[0] = question.name
    return reply(
        question,
        *(row(CNAME, names[(n + 1) % 30], name) for n, name in enumerate(names)),
    )


def pointer_loop(question: Question) -> bytes:
    """A record whose name is a pointer to itself."""
    here = struct.pack("!H", 0xC000 | 12 + len(question.text))
    return reply(question, row(A, bytes([127, 0, 0, 9]), here))


def many(question: Question) -> bytes:
    return reply(question, *addresses(4090))


def truncated(question: Question) -> bytes:
    return reply(question, flags=REPLY | TRUNCATED)


@dataclass(frozen=True)
class Lie:
    """What is said over UDP, and over TCP to who comes again because of TRUNCATED."""

    packets: Say
    stream: Say = field(default=once())
    ends: bool = False
    """Whether the TCP connection ends after `stream`; otherwise silence follows."""


FIRST = once(truncated)
LIES: Mapping[str, Lie] = {
    "silence": Lie(once()),
    "garbage": Lie(once(garbage)),
    "garbage for ever": Lie(again(garbage)),
    "empty packets for ever": Lie(again(lambda question: b"")),
    "wrong numbers for ever": Lie(again(wrong_number)),
    "failures for ever": Lie(again(lambda question: reply(question, flags=REPLY | FAILURE))),
    "a failure": Lie(once(lambda question: reply(question, flags=REPLY | FAILURE))),
    "no such name": Lie(once(lambda question: reply(question, flags=REPLY | NO_NAME))),
    "no address": Lie(once(lambda question: reply(question))),
    "an alias of itself": Lie(once(loop)),
    "a long loop of aliases": Lie(once(long_loop)),
    "a name that points at itself": Lie(once(pointer_loop)),
    "half an address": Lie(once(lambda question: reply(question, row(A, bytes([127, 0]))))),
    "an end in the middle": Lie(once(lambda question: reply(question, row(A, bytes(4)))[:-6])),
    "addresses where nobody is": Lie(once(lambda question: reply(question, *addresses(20)))),
    "truncated, silence over TCP": Lie(FIRST),
    "truncated, an end over TCP": Lie(FIRST, ends=True),
    "truncated, a byte now and then over TCP": Lie(
        FIRST, then(lambda question: b"\xff\xff", again(lambda question: b"x", 0.05))
    ),
    "truncated, half a length over TCP": Lie(FIRST, once(lambda question: b"\xff")),
    "truncated, for ever over TCP": Lie(FIRST, again(lambda question: bytes(1 << 16))),
    "truncated, truncated again over TCP": Lie(FIRST, once(with_length(truncated)), ends=True),
    "truncated, wrong numbers over TCP": Lie(FIRST, again(with_length(wrong_number))),
    "truncated, 64 KB of addresses over TCP": Lie(FIRST, once(with_length(many))),
    "truncated, garbage over TCP": Lie(FIRST, once(garbage), ends=True),
}


class Liar:
    """A name server on 127.0.0.1."""

    def __init__(self, port: int, mood: Path) -> None:
        self._file = mood
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", port))
        self.port: int = self._packets.getsockname()[1]
        self._listener = socket.create_server(("127.0.0.1", self.port))

    @property
    def mood(self) -> str:
        while not (mood := self._file.read_text().strip()):
            pass  # it is being written this moment
        return mood

    def serve(self) -> None:
        """For ever, each question in a thread."""
        threading.Thread(target=self._accept, daemon=True).start()
        while True:
            message, who = self._packets.recvfrom(4096)
            threading.Thread(
                target=self._tell, args=(read(message), lambda piece, to=who: self._packets.sendto(piece, to), 0),
                daemon=True,
            ).start()  # fmt: skip

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        with sock:
            try:
                while message := sock.recv(4096):
                    self._tell(read(message[2:]), sock.sendall, 2)
                    if self.mood != "good" and LIES[self.mood].ends:
                        return
            except OSError:
                pass  # it had enough

    def _tell(self, question: Question, send: Callable[[bytes], object], prefix: int) -> None:
        mood = self.mood
        if mood == "good" or question.text.startswith(HONEST):
            send((with_length(truth) if prefix else truth)(question))
            return
        lie = LIES[mood]
        end = time.monotonic() + SECONDS
        for piece in (lie.stream if prefix else lie.packets)(question):
            try:
                send(piece)
            except ConnectionRefusedError:
                pass  # a packet before this one found nobody
            if self.mood != mood or time.monotonic() > end:
                return


def main(port: int, mood: str) -> None:
    """Serve until killed."""
    liar = Liar(port, Path(mood))
    print("liar ready", liar.port, flush=True)
    liar.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""A Redis whose answers have no end: python -m tests.support.lying_redis PORT MODE

MODE `cursor`: HSCAN and SSCAN return new members and a cursor that is never 0. `bulk`: they return one string of
4 GB. HELLO is answered as by a Redis, every other command with +OK. Prints `ready`.
"""

from __future__ import annotations

import itertools
import socket
import sys
import threading

SCANS = (b"HSCAN", b"SSCAN", b"LRANGE")
_numbers = itertools.count()


def serve(connection: socket.socket, mode: str) -> None:
    """One client, until it goes."""
    with connection, connection.makefile("rb") as stream:
        try:
            while line := stream.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(stream.readline()[1:])
                    words.append(stream.read(size + 2)[:-2])
                answer(connection, words, mode)
        except OSError:
            pass  # it has had enough


def answer(connection: socket.socket, words: list[bytes], mode: str) -> None:
    """Say what the mode says to one command. Raises OSError once the client has gone."""
    command = words[0].upper()
    if command == b"HELLO":
        connection.sendall(b"%%1\r\n$5\r\nproto\r\n:%d\r\n" % int(words[1]))
    elif command not in SCANS:
        connection.sendall(b"+OK\r\n")
    elif mode == "bulk":
        connection.sendall(b"*2\r\n$1\r\n0\r\n*2\r\n$9\r\n10.0.0.1 \r\n$4294967296\r\n")
        block = b"x" * (1 << 20)
        for _ in range(4096):
            connection.sendall(block)
    else:
        members = [
            b"%d.%d.%d.%d" % (1 + (n >> 24), n >> 16 & 255, n >> 8 & 255, n & 255)
            for n in itertools.islice(_numbers, 5000)
        ]
        pairs = b"".join(b"$%d\r\n%b\r\n$6\r\nhost-1\r\n" % (len(member), member) for member in members)
        connection.sendall(b"*2\r\n$1\r\n7\r\n*%d\r\n%b" % (2 * len(members), pairs))


def main(port: int, mode: str) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection, mode), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

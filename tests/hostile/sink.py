"""Receiving client that reads everything and sends no HELLO: python -m tests.hostile.sink KIND HUB SECONDS

It is the host `sink`, an accomplice of the attackers. Prints `reading` once it is let in, and connects again when
the hub closes.
"""

from __future__ import annotations

import os
import sys
import time

from tests.hostile import peer


def main(kind: str, hub: str, seconds: float) -> None:
    os.nice(19)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with peer.session(kind, hub, "sink") as sock:
                print("reading", flush=True)
                peer.drain(sock, until)
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))

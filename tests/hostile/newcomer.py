"""New clients, four a second: python -m tests.hostile.newcomer KIND HUB [LOGIN]

Prints `joined AT SECONDS` for each: when it began (wall clock), and how long until it was let in; `inf` where
it was not. LOGIN is NAME:PASSWORD.
"""

from __future__ import annotations

import math
import sys
import time

from lib import wire_relay
from tests.hostile import peer

EVERY = 0.25


def main(kind: str, hub: str, login: str) -> None:
    context = peer.trust()
    name, _, password = login.partition(":")
    request = wire_relay.Request("newcomer", login=(name, password) if login else None)
    while True:
        at, began = time.time(), time.monotonic()
        took = math.inf
        try:
            sock = peer.opened(kind, hub, "", context)
            if peer.log_in(sock, kind, request) == wire_relay.Status.OK:
                took = time.monotonic() - began
            peer.abort(sock)
        except OSError:
            pass
        print(f"joined {at:.3f} {took:.4f}", flush=True)
        time.sleep(max(0.0, began + EVERY - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")

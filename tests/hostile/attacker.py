"""Attacker processes, each at nice 19: python -m tests.hostile.attacker ATTACK KIND COUNT SECONDS HUB NET

ATTACK is a name of attacks.ATTACKS, or the JSON of a recipe (tests.hostile.recipes). Attacker N connects from
address N+2 of NET (`10.77.3`). Prints `ready` once every stream is built and every session is open that an
attack has before, begins at SIGUSR1, ends by itself after SECONDS, and prints JSON: {"sent": bytes,
"connections": count}.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import struct
import sys
import threading
import time
import traceback
from typing import NoReturn

from tests.hostile import recipes
from tests.hostile.attacks import BY_NAME, Attack, Attacker

_COUNTS = struct.Struct("QQ")
_PR_SET_PDEATHSIG = 1
GRACE = 0.1
"""Seconds that an attacker may take to notice that its time is up."""


def find(name: str) -> Attack:
    """The attack of a name, or the one that a recipe makes."""
    return recipes.decode(name).attack() if name.startswith("{") else BY_NAME[name]


def main(name: str, kind: str, count: int, seconds: float, hub: str, net: str) -> None:
    os.nice(19)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard) if soft < hard else (soft, hard))
    attack = find(name)
    counts = mmap.mmap(-1, _COUNTS.size * count)
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if not child:
            os.close(go_write)
            me = Attacker(number, kind, hub, f"{net}.{2 if attack.one_address else number + 2}")
            _attack(attack, me, seconds, ready_write, go_read, counts)
        children.append(child)
    os.close(ready_write)
    waited = 0
    while waited < count:
        if not (got := os.read(ready_read, count)):
            sys.exit("an attacker has ended before it began")
        waited += len(got)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    print("ready", flush=True)
    signal.sigwait({signal.SIGUSR1})
    os.close(go_write)
    for child in children:
        os.waitpid(child, 0)
    found = [_COUNTS.unpack_from(counts, _COUNTS.size * number) for number in range(count)]
    sent, connections = (sum(each) for each in zip(*found, strict=True))
    print(json.dumps({"sent": sent, "connections": connections}), flush=True)


def _attack(attack: Attack, me: Attacker, seconds: float, ready: int, go: int, counts: mmap.mmap) -> NoReturn:
    """A child's whole life; it ends without a word to the hub, as one that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def end() -> None:
        _COUNTS.pack_into(counts, _COUNTS.size * me.number, me.sent, me.connections)
        os._exit(0)

    try:
        me.blob = attack.prepared(me.number, me.kind)
        if attack.opens is not None:
            attack.opens(me)
        os.write(ready, b".")
        os.read(go, 1)  # ends when the parent closes its end
        me.until = time.monotonic() + seconds
        threading.Timer(seconds + GRACE, end).start()  # wherever it waits then
        attack.go(me)
        end()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5], sys.argv[6])

"""What the web API costs: `.venv/bin/python tests/bench/api.py`

    --services N     hubs, all of which name one router (1000)
    --routes N       routes of the big router, and of the bodies that are sent (100000)
    --rounds N       how often everything is asked (5); of each figure the median counts, of steps the longest
    --beside DIR     another checkout, which takes turns with this one; each line says how much less this one takes
    --only WORDS     those requests only whose name has one of these words, with commas

Of each request three figures are told: seconds until the whole answer is there, seconds of CPU of the process
meanwhile, and the longest step in ms: what its event loop works without looking at its sockets, in CPU time, so
what packets and requests of others wait at most on a machine that is not busy. The process serves its API on a
unix socket. It listens on as many ports of 127.0.0.1, from 20000 on, as it has services.

Knows: what is asked, in which order. Refuses to know: what takes so long (cProfile says).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[2]
FIRST_PORT = 20_000
PATIENCE = 300.0
"""Seconds that an answer may take."""
SETTLED = 2.5
"""Seconds after which a process that has just begun does nothing by itself any more."""


REREAD = "/config/reload"
CONFIRMED = {"id": 0}
"""The body of the request that keeps a change; the number is that which the change was answered with."""
NAMESPACE = "e87f56dd-fd57-4921-9ab8-100000000001"


class Taken(NamedTuple):
    """What a request took."""

    seconds: float
    cpu: float
    step: float
    size: int
    """Bytes of the answer."""


# --- the process that is measured -----------------------------------------------------------------


def config(services: int, host: str, socket_path: str) -> str:
    """Hubs as a provider has them: logins, an ingress, limits, an admission and an observer, one router for all."""
    hubs = [
        {
            "name": f"s{number}",
            "addr": f"{host}:{FIRST_PORT + number}",
            "climiter": "many",
            "limiter": "fast",
            "admission": "those",
            "observer": "told",
            "handler": {
                "type": "router",
                "auther": "a",
                "metadata": {"router": "shared", "ingress": "i", "readTimeout": "30s", "sourceCheck": True},
            },
            "listener": {"type": "tcp"},
        }
        for number in range(services)
    ]
    whole = {
        "services": hubs,
        "routers": [
            {"name": "shared", "routes": routes(10, "g")},
            {"name": "other", "routes": routes(10, "g")},
            {"name": "big", "routes": []},
        ],
        "authers": [{"name": "a", "auths": [{"username": f"u{n}", "password": "p"} for n in range(20)]}],
        "ingresses": [{"name": "i", "rules": [{"hostname": "h", "endpoint": NAMESPACE}]}],
        "climiters": [{"name": "many", "limits": ["$ 60000"]}],
        "limiters": [{"name": "fast", "limits": ["$$ 100MB"]}],
        "admissions": [{"name": "those", "matchers": ["192.0.2.1"]}],
        "observers": [{"name": "told", "plugin": _observer(0)}],
        "log": {"level": "error"},
        "api": {"addr": f"unix://{socket_path}", "auth": {"username": "u", "password": "p"}},
    }
    return json.dumps(whole)


def routes(count: int, gateway: str) -> list[dict[str, str]]:
    """So many routes."""
    return [
        {
            "dst": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32",
            "gateway": f"{gateway}{number % 50}",
        }
        for number in range(count)
    ]


def serve(services: int, host: str, folder: str) -> None:
    """Be a process with an API: each line of standard input asks for what the requests since the last took."""
    from gevent import monkey

    monkey.patch_all()
    import gevent
    from gevent.fileobject import FileObject

    from lib import service_threads
    from tests.support.api import process

    with process(Path(folder) / "hub.json", config(services, host, f"{folder}/api.sock")):
        longest = [0.0, time.thread_time()]

        def looked() -> None:
            now = time.thread_time()
            longest[0], longest[1] = max(longest[0], now - longest[1]), now

        watcher = gevent.get_hub().loop.check()
        watcher.start(looked)
        service_threads.begin()  # as a process does: files are read and written there
        gevent.sleep(SETTLED)
        print("ready", flush=True)
        lines = FileObject(sys.stdin.fileno(), "rb")
        began = time.thread_time()
        while lines.readline():
            print(json.dumps([time.thread_time() - began, longest[0]]), flush=True)
            longest[0], began = 0.0, time.thread_time()


# --- who asks it ----------------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Asked:
    """A running process, and what its requests took."""

    def __init__(self, process: subprocess.Popen[bytes], folder: str, host: str) -> None:
        self._process, self._folder, self._host = process, folder, host
        self.taken: dict[str, list[Taken]] = {}
        self._last = ""
        self._pending = 0

    def ask(self, name: str, method: str, path: str, body: object = None) -> None:
        """Ask, and note what it took under a name."""
        body = {"id": self._pending} if body is CONFIRMED else body
        data = json.dumps(body).replace("HOST", self._host).encode() if body is not None else b""
        headers = {"Authorization": "Basic dTpw", "X-Tunrouter": "1", "Content-Type": "application/json"}
        if path == REREAD:  # the same bytes would not be read again
            with open(f"{self._folder}/hub.json", "a") as file:
                file.write("\n")
        self.settle()
        began = time.monotonic()
        connection = _Connection(f"{self._folder}/api.sock")
        connection.request(method, path.replace("FOLDER", self._folder), data, headers)
        answer = connection.getresponse()
        size, said = 0, b""
        while piece := answer.read(1 << 16):
            size, said = size + len(piece), said or piece[:300]
        seconds = time.monotonic() - began
        connection.close()
        if "confirm=" in path:
            self._pending = json.loads(said)["confirm"]
        if answer.status != 200:
            raise SystemExit(f"{name}: {answer.status} {said.decode()}")
        cpu, step = self._told()
        self.taken.setdefault(name, []).append(Taken(seconds, cpu, step, size))
        self._last = name

    def settle(self) -> None:
        """Count the steps of what the last request has left to be done later."""
        _, step = self._told()
        if self._last:
            last = self.taken[self._last][-1]
            self.taken[self._last][-1] = last._replace(step=max(last.step, step))

    def _told(self) -> tuple[float, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        cpu, step = json.loads(self._process.stdout.readline())
        return cpu, step


@contextmanager
def running(checkout: Path, services: int, host: str) -> Iterator[Asked]:
    """A process of a checkout's code."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                str(Path(__file__).resolve()),
                "--serve",
                folder,
                host,
                f"--services={services}",
            ],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit(f"{checkout}: it does not start")
            yield Asked(process, folder, host)
        finally:
            process.kill()
            process.wait()


Request = tuple[str, str, str, object]
"""(name, method, path, body)."""


def requests(count: int, number: int) -> list[Request]:
    """One round: each change differs from what the round before has left."""
    service = {
        "addr": f"HOST:{FIRST_PORT - 1 - number % 2}",
        "handler": {"type": "router", "metadata": {"router": "shared"}},
        "listener": {"type": "tcp"},
    }
    made = {"name": "made", "routes": routes(10, "g")}
    big = {"routes": routes(count, f"g{number}-")}
    bigger = {"routes": routes(count, f"h{number}-")}
    few = routes(10, f"g{number}-")
    return [
        ("list of services, none known", "GET", "/config/services", None),
        ("the same again", "GET", "/config/services", None),
        ("change of one service", "PUT", "/config/services/s0", service),
        ("list after a change", "GET", "/config/services", None),
        ("change of the router of all services", "PUT", "/config/routers/shared", {"routes": few}),
        ("change of another router", "PUT", "/config/routers/other", {"routes": few}),
        ("a router more", "POST", "/config/routers", made),
        ("a router less", "DELETE", "/config/routers/made", None),
        ("a service more", "POST", "/config/services", {**service, "name": "made", "addr": "HOST:0"}),
        ("a service less", "DELETE", "/config/services/made", None),
        ("change of the auther of all services", "PUT", "/config/authers/a", _logins(number)),
        ("change of the climiter of all", "PUT", "/config/climiters/many", {"limits": [f"$ {6000 + number}"]}),
        ("change of the limiter of all", "PUT", "/config/limiters/fast", {"limits": [f"$$ {9 + number}MB"]}),
        ("change of the admission of all", "PUT", "/config/admissions/those", {"matchers": [f"192.0.2.{2 + number}"]}),
        ("change of the observer of all", "PUT", "/config/observers/told", {"plugin": _observer(1 + number)}),
        ("a big router changed", "PUT", "/config/routers/big", big),
        ("the same, to be confirmed", "PUT", "/config/routers/big?confirm=60s", bigger),
        ("confirmed", "POST", "/x/confirm", CONFIRMED),
        ("status", "GET", "/x/status", None),
        ("a big router read", "GET", "/config/routers/big", None),
        ("list of routers", "GET", "/config/routers", None),
        ("all as JSON", "GET", "/config", None),
        ("all as YAML", "GET", "/config?format=yaml", None),
        ("routes, a page", "GET", "/x/routes?q=9", None),
        ("saved as YAML", "POST", "/config?path=FOLDER/saved.yaml", None),
        ("saved as JSON", "POST", "/config?path=FOLDER/saved.json", None),
        ("what a reload would change", "GET", "/x/config/difference", None),
        ("all read again", "POST", REREAD, None),
    ]  # fmt: skip


def _observer(number: int) -> object:
    return {"type": "http", "addr": f"http://127.0.0.1:{FIRST_PORT - 10 - number % 5}/", "timeout": "1s"}


def _logins(number: int) -> object:
    return {"auths": [{"username": f"u{n}", "password": f"p{number}"} for n in range(20)]}


def report(ours: Asked, theirs: Asked | None = None) -> str:
    """A line for each request."""
    head = f"{'':38}{'seconds':>9}{'CPU s':>9}{'step ms':>9}{'answer':>9}"
    lines = [head + (f"{'before':>9}{'CPU s':>9}{'step ms':>9}{'ratio':>8}" if theirs else "")]
    for name, taken in ours.taken.items():
        lines.append(f"{name:38}{_figures(taken)}{_size(taken[-1].size):>9}")
        if theirs is not None:
            other = theirs.taken[name]
            ratio = median(one.seconds for one in other) / median(one.seconds for one in taken)
            lines[-1] += f"{_figures(other)}{ratio:>7.1f}x"
    return "\n".join(lines)


def _figures(taken: list[Taken]) -> str:
    seconds, cpu = median(one.seconds for one in taken), median(one.cpu for one in taken)
    return f"{seconds:>9.3f}{cpu:>9.3f}{max(one.step for one in taken) * 1e3:>9.1f}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size > 100_000 else f"{size} B"


def main() -> None:
    """Measure, and print the table."""
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("--services", type=int, default=1000)
    read.add_argument("--routes", type=int, default=100_000)
    read.add_argument("--rounds", type=int, default=5)
    read.add_argument("--beside", type=Path)
    read.add_argument("--only", default="")
    read.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = read.parse_args()
    if given.serve:
        serve(given.services, given.serve[1], given.serve[0])
        return
    words = [word for word in given.only.split(",") if word]
    with ExitStack() as ends:
        all_asked = [ends.enter_context(running(HERE, given.services, "127.0.0.1"))]
        if given.beside is not None:
            all_asked.append(ends.enter_context(running(given.beside.resolve(), given.services, "127.0.0.2")))
        for number in range(given.rounds):
            for request in requests(given.routes, number):
                if not words or any(word in request[0] for word in words):
                    for asked in all_asked if number % 2 else reversed(all_asked):
                        asked.ask(*request)
        time.sleep(SETTLED)
        for asked in all_asked:
            asked.settle()
    print(report(*all_asked))


if __name__ == "__main__":
    main()

"""Benchmark of handshakes with login and TLS: how many a second, and other clients' pings meanwhile.

Knows: a hub with TLS and an auther, floods in processes of their own, pings of two other hosts.
Refuses to know: what must be reached (bars).
"""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from pathlib import Path

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, connect
from tests.support.program import OVERLAY_2, example, host, reach, start_client, start_hub, unlimited

PROCESSES = 3
LOGINS = "authers: [{name: a, auths: [{username: user, password: secret}]}]\n"


def measure(seconds: float) -> dict[str, float]:
    """{"rate": handshakes a second, "ping_longest": ms of others' pings meanwhile, "lost": pings lost}."""
    with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as work, Topology(Path(work)) as topology:
        with Namespace("flood", Path(work)) as flooding:
            connect(topology.hub, "to-host-3", "10.77.3.1/24", flooding, "uplink", "10.77.3.2/24")
            config = Path(work) / "hub.yml"
            text = example("server.yml").replace("type: tcp", "type: tls") + LOGINS
            text = unlimited(text)
            config.write_text(text.replace("      type: router\n", "      type: router\n      auther: a\n"))
            start_hub(topology.hub, "-C", str(config))
            for number, namespace, hub in (
                (1, topology.host_1, HUB_TO_HOST_1),
                (2, topology.host_2, HUB_TO_HOST_2),
            ):
                words = (word.replace("router://", "router+tls://user:secret@") for word in host(number, hub))
                start_client(namespace, *words)
            reach(topology.host_1, OVERLAY_2)
            return _flooded(topology, flooding, seconds)


def _flooded(topology: Topology, flooding: Namespace, seconds: float) -> dict[str, float]:
    pings = topology.host_1.popen("ping", "-i", "0.02", "-W", "2", OVERLAY_2)
    pings.wait_line("bytes from")
    argv = (sys.executable, "-m", "tests.faults.flood", "10.77.3.1", "8443", str(seconds))
    floods = [flooding.popen(*argv) for _ in range(PROCESSES)]
    for flood in floods:
        flood.wait(seconds + 30)
    pings.stop(signal.SIGINT)
    done = [json.loads(flood.text().splitlines()[-1]) for flood in floods]
    times = [float(text) for text in re.findall(r"time=([0-9.]+)", pings.text())]
    seen = {int(text) for text in re.findall(r"icmp_seq=(\d+) ttl", pings.text())}
    return {
        "rate": sum(one["handshakes"] / one["seconds"] for one in done),
        "ping_longest": max(times),
        "lost": max(seen) - len(seen),
    }


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)))

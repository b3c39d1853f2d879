"""Hooks of a real client and hub: the device that a preUp finds, the end, and beside GOST."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, Topology
from tests.support.program import GOST, example, needs_gost, start, start_client, start_hub, wait_for

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]


def client(hooks: dict[str, list[str]]) -> str:
    chain = {
        "name": "c",
        "hops": [
            {
                "name": "h",
                "nodes": [
                    {
                        "name": "n",
                        "addr": f"{HUB_TO_HOST_1}:8443",
                        "connector": {"type": "router"},
                        "dialer": {"type": "tcp"},
                    }
                ],
            }
        ],
    }
    service = {
        "name": "s",
        "metadata": hooks,
        "handler": {"type": "tun", "chain": "c"},
        "listener": {"type": "tun", "metadata": {"net": "192.168.123.1/24", "name": "tun5"}},
        "forwarder": {"nodes": [{"name": "t", "addr": "host-1"}]},
    }
    return json.dumps({"services": [service], "chains": [chain]})


def test_hooks_find_the_device_and_leave_nothing(topology: Topology, write: Write, tmp_path: Path) -> None:
    """postDown comes when the device has gone; a rule that preUp has set is there meanwhile, and not after."""
    said = tmp_path / "said"
    look = f"sh -c 'echo $TUNROUTER_HOOK $(ip -br -4 addr show dev $TUNROUTER_DEVICE 2>&1) >> {said}'"
    hooks = {
        "preUp": ["ip rule add pref 77 iif tun5 table 77", look],
        "postUp": [look],
        "preDown": [look],
        "postDown": ["ip rule del pref 77", look],
    }
    start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")))
    process = start_client(topology.host_1, "-C", write("host.yml", client(hooks)))
    assert "iif tun5 lookup 77" in topology.host_1.run("ip", "rule")
    wait_for(lambda: said.read_text().count("\n") == 2)
    process.send(signal.SIGTERM)
    assert process.wait(20) == 0
    lines = said.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["preUp", "postUp", "preDown", "postDown"]
    assert all("192.168.123.1/24" in line for line in lines[:3])
    assert 'Device "tun5" does not exist' in lines[3]
    assert "tun5" not in topology.host_1.run("ip", "rule")


def test_a_pre_up_that_fails_or_never_ends_is_an_end_with_status_1(topology: Topology, write: Write) -> None:
    for hooks, why in (
        ({"preUp": ["sh -c 'echo no rule >&2; exit 4'"]}, "preUp: sh: ended with status 4: no rule"),
        ({"preUp": ["sleep 60"], "hookTimeout": "1s"}, "preUp: sleep: it had not ended within 1 s"),
    ):
        process = start(topology.host_1, "-C", write("host.yml", client(hooks)))  # type: ignore[arg-type]
        assert process.wait(20) == 1
        assert process.text().count(why) == 2, "as an event, and as the last word"
        assert "tun5" not in topology.host_1.run("ip", "-br", "link")


def test_a_hub_s_pre_down_comes_before_its_clients_are_sent_away_and_a_second_signal_ends_it(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    hooks = json.dumps({"preDown": [f"sh -c 'touch {mark}; exec sleep 60'"]})
    text = example("server.yml").replace("    addr: :8443\n", f"    addr: :8443\n    metadata: {hooks}\n", 1)
    assert hooks in text
    hub = start_hub(topology.hub, "-C", write("hub.yml", text))
    one = start_client(topology.host_1, "-C", write("host.yml", client({})))
    hub.send(signal.SIGTERM)
    wait_for(mark.exists)
    assert "asks for another session" not in one.text()
    assert "left" not in hub.text()
    time.sleep(0.3)  # a second signal that comes sooner is a copy of the first one (service.SAME_SIGNAL)
    hub.send(signal.SIGTERM)
    assert hub.wait(20) == 0


@needs_gost
def test_gost_splits_commands_as_we_do(topology: Topology, write: Write, tmp_path: Path) -> None:
    text = """printf '%s|' a\\ b "c  d" '$HOME' e#f ~ *"""
    said = []
    for name, argv in (("gost", (GOST,)), ("ours", ())):
        path = tmp_path / name
        file = write(f"{name}.yml", client({"preUp": [f'sh -c \'printf "%s|" "$@" > {path}\' {text[7:]}']}))
        process = topology.host_1.popen(*argv, "-C", file) if argv else start(topology.host_1, "-C", file)
        wait_for(lambda path=path: path.exists() and path.read_text())  # type: ignore[misc]
        process.send(signal.SIGTERM)
        process.wait(20)
        said.append(path.read_text())
    assert said[0] == said[1] != ""

"""`tunrouter explain`, of a file and of a running hub."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Topology
from tests.support.program import (
    EXAMPLES,
    OVERLAY_1,
    OVERLAY_2,
    example,
    host,
    pings,
    run,
    start_client,
    start_hub,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
SERVER = str(EXAMPLES / "server.yml")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--from", "host-1", "192.168.200.7"), 0, "goes to host-2, if it is there"),
        (("--from", "host-1", "10.0.0.1"), 3, "dropped: no-route"),
        (("--from", "host-1", "224.0.0.1"), 3, "dropped: multicast"),
        (("--from", "host-9", "192.168.200.7"), 3, "no route leads back to host-9"),
        (
            ("--from", "host-1", "--source", "192.168.200.1", "192.168.200.7"),
            3,
            "leads back to host-2, not to host-1",
        ),
        (("--from", "host-1", "192.168.200"), 2, "ADDRESS: '192.168.200' is no IP address"),
        (("--from", "host-1", "--ns", "x", "192.168.200.7"), 2, "error: "),
        (("--from", "host-1", "--service", "service-9", "192.168.200.7"), 2, "there is no hub 'service-9'"),
        (("192.168.200.7",), 2, "--from"),
    ],
)
def test_of_a_file(arguments: tuple[str, ...], status: int, said: str) -> None:
    got, text = run("explain", "-C", SERVER, *arguments)
    assert said in text
    assert got == status


def test_of_a_file_with_sources(write: Write) -> None:
    routes = write(
        "routes.txt", "10.1.0.0/16 host-1\n10.2.0.0/16 host-2 metric=5\n10.2.0.0/16 host-3 metric=4\n"
    )
    text = (
        example("server.yml").partition("routers:")[0]
        + f"routers: [{{name: router-0, file: {{path: {routes}}}}}]\n"
    )
    status, said = run("explain", "-C", write("hub.yml", text), "--from", "host-1", "--json", "10.2.0.1")
    answer = json.loads(said)
    assert (status, answer["delivered"]) == (0, True)
    assert ["default table", "10.2.0.0/16 to host-3, then host-2"] in answer["lines"]


def test_of_a_running_hub(topology: Topology, write: Write, tmp_path: Path) -> None:
    control = str(tmp_path / "hub.sock")
    hub = start_hub(topology.hub, "-C", write("hub.yml", example("server.yml")), "--control", control)
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    assert stat.S_IMODE(os.stat(control).st_mode) == 0o600

    def explain() -> tuple[int, str]:
        return run("explain", "--control", control, "--from", "host-1", "--source", OVERLAY_1, OVERLAY_2)

    assert pings(topology.host_1, OVERLAY_2, 3) == 0
    status, said = explain()
    assert status == 3
    assert "gateway host-2:    no live session" in said
    assert "dropped: no-session" in said
    assert "3 no-session for this destination" in said
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    status, said = explain()
    assert status == 0
    assert "takes superpackets" in said
    assert "goes to host-2 at 10.77.2.2:" in said
    hub.stop()
    assert not os.path.exists(control)
    assert explain()[0] == 1


def test_a_socket_left_behind_is_replaced_and_none_is_none(
    topology: Topology, write: Write, tmp_path: Path
) -> None:
    control = str(tmp_path / "hub.sock")
    text = write("hub.yml", example("server.yml"))
    start_hub(topology.hub, "-C", text, "--control", control).stop(signal.SIGKILL)
    assert os.path.exists(control)
    hub = start_hub(topology.hub, "-C", text, "--control", control)
    status, said = run("explain", "--control", control, "--from", "host-1", OVERLAY_2)
    assert (status, "no live session" in said) == (3, True)
    hub.stop()
    start_hub(topology.hub, "-C", text, "--control", "none")
    assert not os.path.exists(control)


def test_the_running_hub_is_found(topology: Topology, write: Write, tmp_path: Path) -> None:
    """By its socket in the directory where they are; which one, with two of them, has to be said."""
    (tmp_path / "run").mkdir()
    control = str(tmp_path / "run" / "7.sock")
    code = (
        "import sys; from lib import cli_main, ctl_find; ctl_find.OURS = ctl_find.OF_ALL = (); "
        f"ctl_find.directory = lambda: {str(tmp_path / 'run')!r}; sys.exit(cli_main.main(sys.argv[1:]))"
    )

    def explain() -> tuple[int, str]:
        process = topology.hub.popen(sys.executable, "-c", code, "explain", "--from", "host-1", OVERLAY_2)
        return process.wait(20), process.text()

    status, said = explain()
    assert (status, "no running hub has a control socket" in said) == (1, True)
    text = example("server.yml")
    start_hub(topology.hub, "-C", write("hub.yml", text), "--control", control)
    status, said = explain()
    assert (status, "dropped: no-session" in said) == (3, True)
    more = write("more.yml", text.replace(":8443", ":8444"))
    start_hub(topology.hub, "-C", more, "--control", str(tmp_path / "run" / "8.sock"))
    status, said = explain()
    assert status == 2
    assert "more.yml" in said
    assert "several hubs run here" in said

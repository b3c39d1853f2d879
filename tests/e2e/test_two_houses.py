"""packaging/docs/two-houses.md: every file and command, by real starts, with two routers that do NAT; and how long it takes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.test_operating import own_etc
from tests.e2e.test_recipes import behind_nat, namespaces
from tests.support.page import DOCS, INVITATION, Player, blocks, invitation, with_systemctl
from tests.support.program import pings

pytestmark = [pytest.mark.usefixtures("no_traceback"), pytest.mark.needs_root]

PAGE = DOCS / "two-houses.md"


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    """The two houses and the server, each machine with an /etc of its own."""
    with ExitStack() as stack:
        places = namespaces(stack, tmp_path, "hub router-a router-b box-a box-b pc-a pc-b")
        behind_nat(places, 7, 8)
        made = Player(tmp_path, places)
        with_systemctl(tmp_path)
        for place in ("hub", "box-a", "box-b"):
            own_etc(made, place)
            (made.directory(place) / "etc" / "sysctl.d").mkdir()
        yield made


def test_the_page_joins_two_houses(player: Player) -> None:
    """By real starts; from `invite` on the hub to a ping on a new host there are five seconds, beside nothing else."""
    began = first = 0.0
    *page, last = blocks(PAGE)
    for block in page:
        began = time.monotonic() if " invite " in block.text else began
        player.play([block])
        if block.place == "box-a" and "ping" in block.text:
            first = time.monotonic() - began
    assert 0 < first < 15.0, "two commands, and a ping"
    assert " 0% packet loss" in player.said[-2]
    assert "nothing is wrong" in player.said[-1], "who follows the page has nothing left to mend"
    assert pings(player.places["pc-b"], "192.168.7.7") == 5, "and the other way round"
    hosts = next(said for said in player.said if "last seen" in said)
    assert all(name in hosts for name in ("box-a", "box-b", "192.168.8.0/24", "connected"))
    shown = [line[4:] for line in PAGE.read_text().splitlines() if line.startswith("    joined hub")]
    assert all(line in player.started[1].text() for line in shown)
    assert shown

    assert last.heading == "Taking it away again"
    away, lines = player.started[2], player.started[2].line_count()
    player.play([last])
    assert player.said[-1] == "1 host revoked, 1 session ended\n"
    away.wait_line("refused: unauthorized", after=lines)
    assert pings(player.places["pc-a"], "192.168.8.7", 1, "-W1") == 0


def test_the_hub_in_one_of_the_houses(tmp_path: Path) -> None:
    """Two tunrouters on one box: `doctor` looks at both, and at what `join` has written where none runs."""
    section = PAGE.read_text().partition("## The hub in one of the houses\n")[2]
    invite, join, *_ = (line[4:] for line in section.splitlines() if line.startswith("    tunrouter "))
    with ExitStack() as stack:
        player = Player(tmp_path, namespaces(stack, tmp_path, "box-a"))
        with_systemctl(tmp_path)
        own_etc(player, "box-a")
        config = player.directory("box-a") / "etc/tunrouter/tunrouter.yaml"
        config.write_text(blocks(PAGE)[0].text)
        hub = player.start("box-a", "systemctl enable --now tunrouter")
        tunnel = player.start("box-a", join.replace(INVITATION, invitation(player.run("box-a", invite))))
        tunnel.wait_line("route 10.20.0.0/24 set")
        assert " 0% packet loss" in player.run("box-a", "ping -c 1 -W 5 10.20.0.1")
        forward = "sysctl -qw net.ipv4.ip_forward=1"
        said = player.run("box-a", f"{forward}; tunrouter doctor")
        assert [
            said.count(text)
            for text in ("hub hub; pid", "client box-a (host box-a); pid", "nothing is wrong")
        ] == [1, 1, 2]
        said = player.run("box-a", "tunrouter doctor --to 10.20.0.1")
        assert "hub hub; pid" not in said, "a hub has no far side"
        assert "far address" in said
        said = player.run("box-a", "tunrouter doctor --json || echo status $?")
        assert "several tunrouters run here" in said
        assert "status 2" in said
        for one in (tunnel, hub):
            one.stop(signal.SIGKILL)
        (config.parent / "other.yaml").write_text("no YAML: [")
        said = player.run("box-a", "tunrouter doctor || echo status $?")
        assert "client box-a (host box-a); no tunrouter runs it" in said, (
            "before the default file: a package brings one"
        )
        assert "no tunrouter with a control socket runs here by /etc/tunrouter/box-a.yaml" in said
        assert "no connection to 127.0.0.1:8443: Connection refused" in said
        assert "status 1" in said
        (config.parent / "box-a.yaml").rename(config.parent / "box-a.yml")
        said = player.run("box-a", "tunrouter doctor || echo status $?")
        assert "hub hub; no tunrouter runs it" in said
        assert "systemctl start tunrouter" in said
        said = player.run("box-a", "tunrouter doctor /etc/tunrouter/tunrouter.yaml")
        assert "nothing is wrong" in said, "nobody says that it runs"

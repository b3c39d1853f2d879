"""packaging/docs/two-houses.md: every file and command, by real starts, with two routers that do NAT; and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.test_operating import own_etc
from tests.e2e.test_recipes import behind_nat, namespaces
from tests.support.page import DOCS, Player, blocks, with_systemctl
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
    """By real starts; from `invite` on the hub to a ping on a new host there are five seconds."""
    began = first = 0.0
    *page, last = blocks(PAGE)
    for block in page:
        began = time.monotonic() if " invite " in block.text else began
        player.play([block])
        if block.place == "box-a" and "ping" in block.text:
            first = time.monotonic() - began
    assert 0 < first < 5.0, "two commands, and a ping"
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

"""Ways of a client: each hop has a selector of its own, and whichever way works is found."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest

from lib import config_nodes
from lib.client_ways import Ways
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_dial import PLAIN_CHOICE, ChoiceSettings, HopChoice

BACKUP, FIFO = ChoiceSettings(backup=True), HopChoice("fifo")


def client(
    proxies: Iterable[ChoiceSettings],
    hubs: int = 2,
    before: HopChoice = FIFO,
    strategy: str = "round",
    **more: object,
) -> ClientSettings:
    """A client with proxies p0, p1, … before hubs h0, h1, …"""
    first = [ProxySettings("socks5", f"p{i}", 1, choice=choice) for i, choice in enumerate(proxies)]
    last = [NodeSettings(f"h{i}", f"h{i}", 1) for i in range(hubs)]
    ways = config_nodes.combined([("p", first), ("h", last)])
    return ClientSettings(
        *("s", "host-4", DeviceSettings(), ways),
        before=(before,),
        strategy=strategy,
        **more,  # type: ignore[arg-type]
    )


def name(ways: Ways, index: int) -> str:
    node = ways.nodes[index]
    return " ".join([*(proxy.host for proxy in node.proxies), node.host])


def chosen(ways: Ways, count: int, now: float = 0.0, dice: float = 0.0) -> list[str]:
    return [name(ways, ways.choose(now, lambda: dice)) for _ in range(count)]


TWO = (PLAIN_CHOICE, PLAIN_CHOICE)


def test_each_hop_has_a_strategy_of_its_own() -> None:
    assert chosen(Ways(client(TWO)), 3) == ["p0 h0", "p0 h1", "p0 h0"]
    rounds = Ways(client(TWO, before=HopChoice("round"), strategy="fifo"))
    assert chosen(rounds, 3) == ["p0 h0", "p1 h0", "p0 h0"]


def test_weights_and_backups_of_proxies_count() -> None:
    weighted = Ways(client((ChoiceSettings(1), ChoiceSettings(3)), 1, HopChoice("rand")))
    assert [chosen(weighted, 1, dice=dice) for dice in (0.2, 0.3, 0.9)] == [["p0 h0"], ["p1 h0"], ["p1 h0"]]
    ways = Ways(client((BACKUP, PLAIN_CHOICE), 1, HopChoice("round")))
    assert chosen(ways, 2) == ["p1 h0"] * 2
    ways.failed(1, 0.0, 0)
    assert chosen(ways, 2) == ["p0 h0"] * 2
    assert ways.has_home
    assert [name(ways, way) for way in ways.better(0, 10.0)] == ["p1 h0"], "back to it, once its time is over"


def test_the_node_that_was_not_reached_has_failed_and_no_other() -> None:
    ways = Ways(client(TWO, strategy="fifo"))
    ways.failed(ways.choose(0, float), 0.0, 0)
    assert chosen(ways, 1) == ["p1 h0"], "the proxy's fault"
    ways = Ways(client(TWO, strategy="fifo"))
    ways.failed(ways.choose(0, float), 0.0)
    assert chosen(ways, 1) == ["p0 h1"], "the hub's"
    assert chosen(ways, 1, 10.0) == ["p0 h0"]


@pytest.mark.parametrize("strategies", list(product(("fifo", "round", "rand", "hash"), repeat=2)), ids=str)
@pytest.mark.parametrize("works", ["p0 h0", "p1 h0", "p0 h1", "p1 h1"])
def test_a_way_that_works_is_found_in_as_many_tries_as_there_are_ways(
    strategies: tuple[str, str], works: str
) -> None:
    """Each proxy reaches the other hub only: no node is bad, most ways are."""
    ways = Ways(client(TWO, 2, HopChoice(strategies[0]), strategies[1]))
    for _ in range(len(ways.nodes)):
        way = ways.choose(0.0, lambda: 0.6)
        if name(ways, way) == works:
            break
        ways.failed(way, 0.0)
    else:
        pytest.fail("not found")
    ways.succeeded(way)
    if not {"round", "rand"} & set(strategies):
        assert name(ways, ways.choose(0.0, lambda: 0.6)) == works


def test_a_node_may_fail_as_often_as_it_says() -> None:
    patient = ChoiceSettings(max_fails=3)
    ways = Ways(client((patient, PLAIN_CHOICE), 1))
    for _ in range(3):
        assert chosen(ways, 1) == ["p0 h0"]
        ways.failed(0, 0.0, 0)
    assert chosen(ways, 1) == ["p1 h0"]


def test_better_is_what_is_worse_in_no_hop() -> None:
    ways = Ways(client(TWO, strategy="fifo"))
    by_name = {name(ways, index): index for index in range(4)}
    assert [name(ways, way) for way in ways.better(by_name["p1 h0"], 0)] == ["p0 h0"]
    assert [name(ways, way) for way in ways.better(by_name["p1 h1"], 0)] == ["p0 h0", "p0 h1", "p1 h0"]
    assert ways.better(by_name["p0 h0"], 0) == []


def test_a_hub_that_asks_for_that_is_left_for_another_one_and_not_for_another_way_to_it() -> None:
    ways = Ways(client(TWO, strategy="fifo"))
    assert [name(ways, way) for way in ways.others(0, 0)] == ["p0 h1", "p1 h1", "p0 h0"]


def test_what_is_known_of_nodes_stays_when_others_come() -> None:
    ways = Ways(client(TWO, strategy="fifo"))
    ways.failed(0, 0.0, 0)
    more = Ways(client((*TWO, PLAIN_CHOICE), 3, strategy="fifo"), ways)
    assert chosen(more, 1) == ["p1 h0"]
    assert not ways.are_of(client((*TWO, PLAIN_CHOICE), 3, strategy="fifo"))
    assert ways.are_of(client(TWO, strategy="fifo"))
    assert not ways.are_of(client(TWO, strategy="rand"))


def test_while_nobody_is_known_there_is_one_way() -> None:
    settings = client((), 2)
    assert len(settings.nodes) == 1
    ways = Ways(settings)
    assert ways.choose(0.0, float) == 0
    assert chosen(Ways(client(TWO, 1), ways), 1) == ["p0 h0"]

"""The selector: which node is next, and when one counts as failed."""

from __future__ import annotations

import pytest

from lib.client_ways import Ways
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.settings_dial import ChoiceSettings


class Selector(Ways):
    """The ways to some hubs without proxies: those of one selector."""

    def __init__(
        self,
        count: int,
        strategy: str = "round",
        max_fails: int = 1,
        fail_timeout: float = 10.0,
        own: tuple[ChoiceSettings, ...] = (),
    ) -> None:
        said = own or (ChoiceSettings(),) * count
        nodes = tuple(NodeSettings(f"n{i}", f"h{i}", 1, choice=one) for i, one in enumerate(said))
        super().__init__(
            ClientSettings(
                *("s", "host-4", DeviceSettings(), nodes),  # by this name's hash the first one is the first
                strategy=strategy,
                max_fails=max_fails,
                fail_timeout=fail_timeout,
            )
        )

    def at(self, now: float, dice: float = 0) -> int:
        return self.choose(now, lambda: dice)


def choices(selector: Selector, count: int, now: float = 0, dice: float = 0) -> list[int]:
    return [selector.at(now, dice) for _ in range(count)]


@pytest.mark.parametrize(
    ("strategy", "chosen"),
    [("round", [0, 1, 2, 0, 1, 2]), ("fifo", [0] * 6), ("hash", [0] * 6), ("rand", [0] * 6)],
)
def test_strategies(strategy: str, chosen: list[int]) -> None:
    assert choices(Selector(3, strategy), 6) == chosen


@pytest.mark.parametrize(("dice", "node"), [(0.0, 0), (0.34, 1), (0.5, 1), (0.67, 2), (0.999999, 2)])
def test_dice_decide_for_rand(dice: float, node: int) -> None:
    assert Selector(3, "rand").at(0, dice) == node


@pytest.mark.parametrize(("strategy", "chosen"), [("round", {0, 2}), ("fifo", {0}), ("rand", {0, 2})])
def test_a_failed_node_is_passed_over_for_its_time(strategy: str, chosen: set[int]) -> None:
    selector = Selector(3, strategy, 1, 10.0)
    selector.failed(1, 100)
    assert {selector.at(109.9, dice) for dice in (0, 0.4, 0.6, 0.9)} == chosen
    if strategy != "fifo":
        assert 1 in choices(selector, 3, 110, 0.4)


def test_fifo_returns_to_the_first_node_once_its_time_is_over() -> None:
    selector = Selector(2, "fifo", 1, 10.0)
    selector.failed(0, 0)
    assert [selector.at(now, 0) for now in (0, 9.9, 10)] == [1, 1, 0]


@pytest.mark.parametrize(("max_fails", "needed"), [(0, 1), (1, 1), (3, 3)])
def test_so_many_failures_in_a_row_are_a_failure(max_fails: int, needed: int) -> None:
    selector = Selector(2, "fifo", max_fails, 10.0)
    for _ in range(needed - 1):
        selector.failed(0, 0)
    assert selector.at(0, 0) == 0
    selector.failed(0, 0)
    assert selector.at(0, 0) == 1


def test_a_success_forgets_the_failures() -> None:
    selector = Selector(2, "fifo", 2, 10.0)
    selector.failed(0, 0)
    selector.succeeded(0)
    selector.succeeded(1)
    selector.failed(0, 0)
    assert selector.at(0, 0) == 0


@pytest.mark.parametrize("strategy", ["round", "fifo", "rand"])
def test_where_all_have_failed_all_count(strategy: str) -> None:
    selector = Selector(2, strategy)
    for node in (0, 1):
        selector.failed(node, 0)
    assert selector.at(1, 0) == 0
    assert {selector.at(1, dice) for dice in (0, 0.9)} == ({0} if strategy == "fifo" else {0, 1})


def test_one_node_is_always_chosen() -> None:
    selector = Selector(1)
    selector.failed(0, 0)
    assert choices(selector, 3) == [0, 0, 0]


# --- what a node says of itself

BACKUP, MAIN = ChoiceSettings(backup=True), ChoiceSettings()


@pytest.mark.parametrize("strategy", ["round", "fifo", "rand", "hash"])
def test_a_backup_is_chosen_once_all_others_have_failed_and_left_for_them(strategy: str) -> None:
    selector = Selector(3, strategy, own=(BACKUP, MAIN, MAIN))
    assert {selector.at(0, dice) for dice in (0, 0.3, 0.6, 0.9)} <= {1, 2}
    assert selector.has_home
    selector.failed(1, 0)
    assert set(choices(selector, 3)) == {2}
    selector.failed(2, 0)
    assert set(choices(selector, 3)) == {0}
    assert selector.better(0, 5) == []
    assert selector.better(0, 10) == [1, 2]
    selector.failed(0, 0)
    assert selector.at(0, 0) in (0, 1, 2), "where all have failed, any"


def test_who_asks_for_another_session_is_left_for_a_backup_last() -> None:
    assert Selector(3, "round", own=(BACKUP, MAIN, MAIN)).others(1, 0) == [2, 0, 1]


def test_without_backups_nothing_is_better_for_round_and_rand() -> None:
    selector = Selector(2, "round", own=(MAIN, MAIN))
    assert not selector.has_home
    assert selector.better(1, 0) == []


@pytest.mark.parametrize(
    ("dice", "node"), [(0.0, 0), (0.24, 0), (0.26, 1), (0.74, 1), (0.76, 2), (0.9999, 2)]
)
def test_weights_count_for_rand(dice: float, node: int) -> None:
    own = (ChoiceSettings(1), ChoiceSettings(2), ChoiceSettings(1))
    assert Selector(3, "rand", own=own).at(0, dice) == node
    assert choices(Selector(3, "round", own=own), 3) == [0, 1, 2]


def test_weights_of_those_that_have_failed_do_not_count() -> None:
    selector = Selector(2, "rand", own=(ChoiceSettings(1000), ChoiceSettings(1)))
    selector.failed(0, 0)
    assert selector.at(0, 0.0) == 1


def test_a_node_s_own_max_fails_and_fail_timeout() -> None:
    selector = Selector(2, "fifo", 1, 10.0, own=(ChoiceSettings(max_fails=2, fail_timeout=3.0), MAIN))
    selector.failed(0, 0)
    assert selector.at(0, 0) == 0
    selector.failed(0, 0)
    assert selector.at(2.9, 0) == 1
    assert selector.at(3, 0) == 0

"""Hooks of hubs with workers: the main process runs each once, at the moments of a hub without workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from lib.errors import HostError
from lib.settings import HubSettings
from lib.settings_hooks import PHASES, HookSettings
from lib.worker_front import Front
from lib.worker_hooks import FrontHooks

pytestmark = pytest.mark.usefixtures("own_children")


@pytest.fixture
def fronts() -> dict[str, Front]:
    return {}


@pytest.fixture
def hooks(fronts: dict[str, Front]) -> FrontHooks:
    return FrontHooks(fronts)


def noting(path: Path, *failing: str) -> HookSettings:
    script = f'echo $TUNROUTER_SERVICE $TUNROUTER_HOOK $TUNROUTER_ADDRESS >> {path}; exit "$0"'
    return HookSettings(
        tuple((phase, (("sh", "-c", script, str(int(phase in failing))),)) for phase in PHASES), 10.0
    )


def wait_for(until: Callable[[], object]) -> None:
    with gevent.Timeout(30):
        while not until():
            gevent.sleep(0.01)


def test_each_phase_runs_once_also_after_the_socket_has_gone(
    fronts: dict[str, Front], hooks: FrontHooks, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    fronts["a"] = front = Front(HubSettings("a", "127.0.0.1", 0, hooks=noting(said)))
    address = f"127.0.0.1:{front.address[1]}"
    hooks.opened(front)
    assert said.read_text() == f"a preUp {address}\n"
    hooks.serve()
    wait_for(lambda: said.read_text().count("\n") == 2)
    hooks.end()
    hooks.end()
    front.close()
    hooks.gone()
    hooks.gone()
    assert said.read_text().splitlines() == [f"a {phase} {address}" for phase in PHASES]


def test_the_end_is_by_the_settings_of_then(
    fronts: dict[str, Front], hooks: FrontHooks, tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    fronts["a"] = front = Front(HubSettings("a", "127.0.0.1", 0, hooks=noting(before)))
    hooks.opened(front)
    hooks.serve()
    wait_for(lambda: before.read_text().count("\n") == 2)
    front.use(replace(front.settings, hooks=noting(after)))
    hooks.end()
    front.close()
    hooks.gone()
    assert before.read_text().count("\n") == 2
    assert [line.split()[1] for line in after.read_text().splitlines()] == ["preDown", "postDown"]


def test_a_pre_up_that_fails_has_its_post_down(
    fronts: dict[str, Front], hooks: FrontHooks, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    fronts["a"] = front = Front(HubSettings("a", "127.0.0.1", 0, hooks=noting(said, "preUp")))
    with pytest.raises(HostError, match="service a: preUp: sh: ended with status 1"):
        hooks.opened(front)
    front.close()
    hooks.end()
    hooks.gone()
    assert [line.split()[1] for line in said.read_text().splitlines()] == ["preUp", "postDown"]

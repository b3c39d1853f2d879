"""What every test may use: the needs_root marker, and namespaces as fixtures.

A test which takes a namespace fixture, or has the marker, is skipped with a reason without root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.netns import Namespace, Topology

settings.register_profile("tunrouter", deadline=None)  # a busy machine is no failure
settings.load_profile("tunrouter")

_ROOT_FIXTURES = frozenset({"namespace", "topology"})


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_root: needs root, for TUN devices and network namespaces")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root, for TUN devices and network namespaces")
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.get_closest_marker("needs_root") or _ROOT_FIXTURES.intersection(fixtures):
            item.add_marker(skip)


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    """One network namespace with nothing but its loopback."""
    with Namespace("lone", tmp_path) as made:
        yield made


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Topology]:
    """A hub and two hosts in namespaces of their own, joined by veth pairs."""
    with Topology(tmp_path) as made:
        yield made

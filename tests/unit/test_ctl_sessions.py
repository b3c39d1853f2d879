"""Which sessions kick and drain are for: one tenant's, never by accident those of another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lib import cluster_running
from lib.ctl_sessions import MAX_NAMED, sessions_of
from lib.ids import format_uuid


def session(host: str, namespace: object) -> Any:
    return SimpleNamespace(attachment=SimpleNamespace(host=host, namespace=namespace))


def tenant(number: int) -> Any:
    return SimpleNamespace(id=bytes(15) + bytes([number]))


def uuid(number: int) -> str:
    return format_uuid(bytes(15) + bytes([number]))


def hub(*sessions: Any) -> Any:
    return SimpleNamespace(sessions=dict(enumerate(sessions)))


ONE, TWO, SAME_NUMBER = tenant(1), tenant(2), tenant(1)
HUBS = {
    "tcp": hub(session("a", ONE), session("b", ONE), session("b", TWO), session("d", ONE)),
    "wss": hub(session("a", ONE), session("d", SAME_NUMBER)),  # of one domain with tcp, but for the last one
}


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ({"host": "a"}, 2),
        ({"host": "a", "ns": uuid(1)}, 2),
        ({"host": "a", "service": "wss"}, 1),
        ({"host": "b", "ns": uuid(2)}, 1),
        ({"host": "b", "all": True}, 2),
        ({"host": "d", "ns": uuid(1), "service": "tcp"}, 1),
        ({"host": "d", "all": True}, 2),
    ],
    ids=str,
)
def test_what_is_meant(request_: dict[str, object], count: int) -> None:
    assert len(sessions_of(HUBS, request_)) == count


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"host": "b"}, f"2 namespaces have a host 'b': --ns {uuid(1)} --service tcp, --ns {uuid(2)} --service tcp; say"),
        ({"host": "d", "ns": uuid(1)}, f"--ns {uuid(1)} --service tcp, --ns {uuid(1)} --service wss; say which one, or --all"),
        ({"host": "c", "all": True}, "no live session of host 'c'"),
        ({"host": "a", "ns": uuid(2)}, f"no live session of host 'a' in namespace {uuid(2)}"),
        ({"host": "b", "service": "wss"}, "no live session of host 'b' at wss"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_clear(request_: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match="host") as refused:
        sessions_of(HUBS, request_)
    assert why in str(refused.value)


def test_many_are_counted() -> None:
    hubs = {"s": hub(*(session("a", tenant(number)) for number in range(200)))}
    with pytest.raises(ValueError, match=f"200 namespaces have .*, {200 - MAX_NAMED} more; say") as refused:
        sessions_of(hubs, {"host": "a"})
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        ({"host": "far"}, " at this hub; the cluster has it at hub 'hub-2', 'hub-3': ask there"),
        ({"host": "far", "ns": uuid(2)}, f" in namespace {uuid(2)} at this hub; the cluster has it at hub 'hub-3': ask there"),
        ({"host": "far", "ns": uuid(3)}, f" in namespace {uuid(3)}; "),
        ({"host": "gone"}, "'gone'; "),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("with_workers", [False, True])
def test_a_host_at_another_hub_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch, request_: dict[str, object], where: str, with_workers: bool
) -> None:
    """Known by this process itself, or, where it is a worker, by what the cluster's process has told it."""
    claims = {
        "hub-2": [(ONE.id, "far")],
        "hub-3": [(ONE.id, "x"), (TWO.id, "far")],
        "hub-4": [(ONE.id, "gone")],
    }
    others = {
        name: SimpleNamespace(name=name, live=name != "hub-4", is_near=False, claims=dict.fromkeys(places, 0))
        for name, places in claims.items()
    }
    cluster = SimpleNamespace(registry=SimpleNamespace(hubs=others))
    if with_workers:
        others["worker 2"] = SimpleNamespace(
            name="worker 2", live=True, is_near=True, claims={(ONE.id, "far"): 0}
        )
        links = SimpleNamespace(others=SimpleNamespace(hubs=others))
        monkeypatch.setattr(cluster_running, "workers", lambda: [links])
    else:
        monkeypatch.setattr(cluster_running, "clusters", lambda: [cluster])
    with pytest.raises(ValueError, match=f"no live session of host {request_['host']!r}") as refused:
        sessions_of(HUBS, request_)
    assert where in str(refused.value)
    assert len(sessions_of(HUBS, {"host": "a"})) == 2, "what is here needs no other hub"

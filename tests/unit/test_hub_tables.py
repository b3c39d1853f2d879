"""Tables of a process over a reload: what services use stays until they use something else."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.server import StreamServer

from lib import rule_live, service_release
from lib.auth_admission import Login
from lib.hub_tables import Tables
from lib.plugin_client import RouterPlugin
from lib.route_live import LiveRoutes
from lib.route_table import RouteTable
from lib.settings import (
    AdmissionSettings,
    AutherSettings,
    BindingSettings,
    Hop,
    HubSettings,
    IngressSettings,
    LimiterSettings,
    LoginRow,
    RouteEntry,
    Settings,
    TableSettings,
)
from lib.settings_sources import NO_SOURCES, HttpSource, PluginSettings, SourceSettings
from lib.source_read import Reading

ADDRESS = bytes((10, 0, 0, 1))
ROUTES = (RouteEntry(bytes((10, 0, 0, 0)), 8, Hop("g")),)
OLD = Settings(tables=(TableSettings("old", routes=ROUTES),))


@pytest.fixture
def tables() -> Iterator[Tables]:
    made = Tables(OLD)
    yield made
    made.stop()


def routes(tables: Tables, name: str) -> RouteTable:
    router = tables.routes(name)
    assert isinstance(router, RouteTable)
    return router


def test_packets_are_routed_by_a_table_that_goes_until_no_service_has_it(tables: Tables) -> None:
    new = Settings(tables=(TableSettings("new", routes=ROUTES),))
    old = routes(tables, "old")
    assert tables.apply(new) == ["router new: added"]
    assert old.lookup(ADDRESS) is not None
    assert tables.routes("old") is old
    assert tables.leave(new) == ["router old: removed"]
    assert old.lookup(ADDRESS) is None
    assert [name for name, _ in tables.routers()] == ["new"]


def test_packets_are_routed_by_a_table_that_becomes_a_plugin_until_services_ask_that(tables: Tables) -> None:
    asked = Settings(tables=(TableSettings("old", plugin=PluginSettings("http://127.0.0.1:1")),))
    old = routes(tables, "old")
    assert tables.apply(asked) == ["router old: added"]
    assert isinstance(tables.routes("old"), RouterPlugin)
    assert old.lookup(ADDRESS) is not None
    assert not tables.leave(asked)
    assert old.lookup(ADDRESS) is None


def test_the_same_settings_change_nothing(tables: Tables) -> None:
    changes = routes(tables, "old").changes
    assert not tables.apply(OLD)
    assert not tables.leave(OLD)
    assert routes(tables, "old").changes == changes


def test_a_table_with_the_same_settings_is_not_even_asked(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = OLD.tables
    new = Settings(tables=(kept, TableSettings("new")))
    asked: list[str] = []
    apply = LiveRoutes.apply

    def noted(live: LiveRoutes, settings: TableSettings) -> list[str]:
        asked.append(settings.name)
        return apply(live, settings)

    monkeypatch.setattr(LiveRoutes, "apply", noted)
    tables.apply(new)
    tables.apply(new)
    assert asked == []
    tables.apply(Settings(tables=(kept, TableSettings("new", routes=ROUTES))))
    assert asked == ["new"]
    tables.leave(Settings(tables=(kept,)))
    assert tables.apply(new) == ["router new: added"]


NAMESPACE = bytes(16)
LOGIN = Login("u", "p", "192.0.2.1:5", "s")


def bound_by(port: int) -> AutherSettings:
    """An auther whose login is bound by a source of bindings at this port of the loopback address."""
    source = SourceSettings((HttpSource(f"http://127.0.0.1:{port}/"),))
    return AutherSettings("a", (LoginRow("u", "p"),), bindings=BindingSettings("a", source))


def test_a_login_is_never_unbound_while_a_reload_waits_for_its_bindings() -> None:
    """`hosts` go from the login's row to a source of bindings, which takes its time."""
    asked, reply = Event(), Event()

    def answer(sock: Any, address: Any) -> None:
        asked.set()
        reply.wait()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nu host-1\n")

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    made = Tables(Settings(authers=(AutherSettings("a", (LoginRow("u", "p", ("host-1",)),)),)))

    def allowed() -> list[bool]:
        grant = made.logins("a").grant(LOGIN)
        assert grant is not None
        return [grant.allows(host, NAMESPACE) for host in ("host-1", "another")]

    try:
        made.start()
        assert allowed() == [True, False]
        with gevent.Timeout(5):
            reload = gevent.spawn(made.apply, Settings(authers=(bound_by(server.server_port),)))
            asked.wait()
            assert allowed() == [True, False]
            reply.set()
            reload.get()
        assert allowed() == [True, False]
    finally:
        reply.set()
        made.stop()
        server.stop()


def test_an_auther_whose_bindings_are_not_there_lets_nobody_in(tables: Tables) -> None:
    live = rule_live.LiveLogins(bound_by(9), tables.origin, lambda: None)
    with pytest.raises(rule_live.Unavailable, match="auther a: its bindings are not there yet"):
        live.grant(LOGIN)


def hub(name: str) -> HubSettings:
    auther = AutherSettings(name, bindings=BindingSettings(name, NO_SOURCES))
    return HubSettings("hub", "", 8443, authers=(auther,), ingress=IngressSettings(name))


def test_a_hub_whose_new_settings_were_refused_keeps_the_auther_and_the_ingress_it_asks() -> None:
    old, new = Settings(hubs=(hub("old"),)), Settings(hubs=(hub("new"),))
    tables = Tables(old)
    try:
        tables.apply(new)
        assert not tables.leave(new, old.hubs)
        assert {key for key, _ in tables.all() if key[1] == "old"} == {
            ("auther", "old"),
            ("bindings", "old"),
            ("ingress", "old"),
        }
        gone = tables.leave(new, new.hubs)
        assert len(gone) == 3
        assert {name for (_, name), _ in tables.all()} == {"new"}
    finally:
        tables.stop()


LISTS: list[tuple[str, Settings]] = [
    ("router", Settings(tables=(TableSettings("x", routes=ROUTES),))),
    ("ingress", Settings(hubs=(HubSettings("h", "", 1, ingress=IngressSettings("x", (("h", "e"),))),))),
    ("auther", Settings(authers=(AutherSettings("x", (LoginRow("u", "p"),)),))),
    (
        "admission",
        Settings(hubs=(HubSettings("h", "", 1, admissions=(AdmissionSettings("x", ((ADDRESS, 32),)),)),)),
    ),
    (
        "limiter",
        Settings(hubs=(HubSettings("h", "", 1, limiters=(LimiterSettings("x", "services", NO_SOURCES),)),)),
    ),
    (
        "bindings",
        Settings(authers=(AutherSettings("x", bindings=BindingSettings("x", NO_SOURCES)),)),
    ),
]


@pytest.mark.parametrize(("kind", "settings"), LISTS, ids=[kind for kind, _ in LISTS])
def test_a_list_that_is_removed_is_let_go_in_steps_and_as_a_whole(
    kind: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else has it, not even what has read its sources, so its rows can be taken out of it one by one."""
    given: list[object] = []
    monkeypatch.setattr(service_release, "later", given.extend)
    made = Tables(settings)
    (live,) = (live for key, live in made.all() if key == (kind, "x"))
    watched = weakref.ref(live)
    gc.collect()
    gc.disable()
    try:
        made.leave(Settings())
        assert live in given
        del live
        given.clear()
        assert watched() is None
    finally:
        gc.enable()
        made.stop()


ROWS: dict[str, tuple[str, bytes, bytes]] = {
    "ingress": (
        "ingress",
        b"h e87f56dd-fd57-4921-9ab8-100000000001",
        b"i e87f56dd-fd57-4921-9ab8-100000000001",
    ),
    "auther": ("auther", b"u p", b"v p"),
    "admission": ("admission", b"192.0.2.1", b"192.0.2.2"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_a_source_that_are_replaced_are_let_go_in_steps(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    settings = dict(LISTS)[kind]
    made = Tables(settings)
    live: Any = next(live for key, live in made.all() if key == (kind, "x"))
    _, first, second = ROWS[kind]
    live._put(1, Reading(first), "f")
    rows, table = live._texts[1], live._table
    monkeypatch.setattr(service_release, "later", given.extend)
    live._put(1, Reading(first), "f")
    assert table is live._table, "the same rows"
    assert rows in given
    rows = live._texts[1]
    live._put(1, Reading(second), "f")
    assert any(one is rows for one in given)
    assert any(one is table for one in given)
    made.stop()

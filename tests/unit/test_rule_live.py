"""Logins and bindings while they are used: passwords that change, bindings in files, sources that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from lib import (
    auth_password_pool,
    auth_passwords,
    config_read,
    config_resolve,
    ctl_tables,
    source_read,
    wire_relay,
)
from lib.auth_lanes import MAX_OF_ONE, Busy
from lib.forward_drop_reasons import Refusal
from lib.hub import Hub
from lib.ids import NO_NAMESPACE, parse_uuid
from lib.wire_relay import Request, Status
from tests.support.hubs import running

UUID = "e87f56dd-fd57-4921-9ab8-a0847662daae"
CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  handler: {{type: router, {handler}, metadata: {{router: r{metadata}}}}}
  listener: {{type: tcp}}
routers: [{{name: r, routes: [{{net: 10.0.0.0/8, gateway: host-1}}]}}]
{more}
"""


def config(auther: str, metadata: str = "", more: str = "") -> str:
    authers = f"authers: [{{name: a, {auther}}}]\n{more}" if auther else more
    handler = "auther: a" if auther else "limiter: ''"
    return CONFIG.format(handler=handler, metadata=metadata, more=authers)


def let_in(to: Hub, login: str, host: str = "host-1", namespace: bytes = NO_NAMESPACE) -> tuple[Status, Any]:
    """(status, connection) of a client with this login."""
    made = socket.create_connection(to._server.socket.getsockname(), 5)
    name, _, password = login.partition(":")
    made.sendall(wire_relay.encode_request(Request(host, "10.0.0.1", namespace, login=(name, password))))
    found = wire_relay.decode_response(made.recv(4096))
    assert found is not None
    return Status(found[0].status), made


def status_of(to: Hub, login: str, host: str = "host-1", namespace: bytes = NO_NAMESPACE) -> Status:
    status, made = let_in(to, login, host, namespace)
    made.close()
    return status


def why(to: Hub) -> str:
    """Why the last client was refused."""
    return max(to.turned_away.values())[2]


def serve(to: Hub) -> None:
    """Read the sources, and look at the sessions again when rules change, as a running process does."""
    to.tables.rules_changed = lambda: to.recheck() and None  # type: ignore[assignment]
    to.tables.start()
    assert to.tables.wait_loaded(5)


def change(to: Hub, path: Path, text: str, table: tuple[str, str]) -> None:
    """Write a file, and wait until the table has read it."""
    path.write_text(text)
    live = dict(to.tables.all())[table]
    live.feed.refresh()
    assert live.feed.wait(5)


def ended(made: Any) -> bool:
    """Whether the hub ends this session."""
    with gevent.Timeout(5):
        return bool(made.recv(1) == b"")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    said: list[str] = []
    from lib import rule_live

    def say(entry: Any, prose: str, *values: Any, **fields: Any) -> None:
        said.append(prose % values)

    monkeypatch.setattr(rule_live, "say", say)
    return said


BOTH = "auths: [{username: u, passwords: [old, new]}, {username: v, password: one, passwords: [two]}]"


def test_both_passwords_are_right_while_clients_change_from_one_to_the_other() -> None:
    with running(config(BOTH)) as (to,):
        for login in ("u:old", "u:new", "v:one", "v:two"):
            assert status_of(to, login) == Status.OK, login
        for login in ("u:one", "u:", "v:old", "v:onetwo", "w:old"):
            assert status_of(to, login) == Status.UNAUTHORIZED, login


def test_a_password_that_is_taken_out_ends_the_sessions_that_came_by_it() -> None:
    with running(config(BOTH)) as (to,):
        (_, old), (_, new) = let_in(to, "u:old"), let_in(to, "u:new")
        rotated = config_resolve.resolve(config_read.read([("f", config(BOTH.replace("old, ", "")))]))
        to.tables.apply(rotated)
        (line,) = to.recheck()
        assert "is no longer let in: wrong login" in line
        assert ended(old)
        assert status_of(to, "u:new") == Status.OK
        assert len([one for one in to.sessions.values() if one.request.login == ("u", "new")]) >= 1
        new.close()


def test_guesses_from_the_address_of_a_session_do_not_keep_it_when_its_login_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One login is removed, and one gets another password, while as many as may wait from there wait."""
    checks = auth_password_pool.Checks()
    monkeypatch.setattr(auth_password_pool, "CHECKS", checks)
    row = "{{username: {}, password: '{}'}}".format
    one, two = (auth_passwords.hashed(password, bytes(16)) for password in ("p", "q"))
    guess = "guess", "127.0.0.1"
    with running(config(f"auths: [{row('u', one)}, {row('v', one)}]")) as (to,), gevent.Timeout(20):
        (_, removed), (_, changed) = let_in(to, "u:p", "host-1"), let_in(to, "v:p", "host-2")
        for name in ("u", "v"):
            checks.lanes.judged((name, guess[1]), False)  # somebody has guessed at them from there
        for _ in range(auth_password_pool.AT_ONCE):
            checks.lanes.enter(guess)
        guesses = [gevent.spawn(checks.lanes.enter, guess) for _ in range(MAX_OF_ONE)]
        gevent.idle()
        with pytest.raises(Busy):
            checks.lanes.enter(guess)
        new = config(f"auths: [{row('v', two)}]")
        to.tables.apply(config_resolve.resolve(config_read.read([("f", new)])))
        recheck = gevent.spawn(to.recheck)
        assert ended(removed), "without a turn"
        for _ in range(auth_password_pool.AT_ONCE):
            checks.lanes.leave(guess)
        assert ended(changed), "after one guess"
        assert len(recheck.get()) == 2
        gevent.killall(guesses)


def test_logins_in_a_file_are_bound_by_a_file_of_bindings(tmp_path: Path, lines: list[str]) -> None:
    logins, bindings = tmp_path / "logins", tmp_path / "bindings"
    logins.write_text("one pass word\ntwo pass\nthree pass\nfour pass\n")
    bindings.write_text(f"one host-1,host-3\ntwo * {UUID}\n# three\nfour host-1 nonsense\n")
    auther = f"file: {{path: {logins}}}, bindings: {{file: {{path: {bindings}}}}}"
    with running(config(auther)) as (to,):
        serve(to)
        bad = f"bindings a: {bindings}:4:1: the namespace 'nonsense' is no UUID; the line is left out"
        assert lines.count(bad) == 1
        assert status_of(to, "one:pass word") == Status.OK
        assert status_of(to, "one:pass word", "host-3") == Status.OK
        assert status_of(to, "one:pass word", "host-2") == Status.FORBIDDEN
        assert "the login 'one' is not for it in namespace" in why(to)
        assert status_of(to, "two:pass", "any", parse_uuid(UUID)) == Status.OK
        assert status_of(to, "two:pass", "any") == Status.FORBIDDEN
        for name in ("three", "four"):
            assert status_of(to, f"{name}:pass") == Status.FORBIDDEN
            assert f"no binding of the login {name!r} is known" in why(to)
        assert status_of(to, "one:wrong") == Status.UNAUTHORIZED

        tables: list[Any] = [*ctl_tables.rows(to.tables, 0.0)]
        (row,) = [row for row in tables if row["kind"] == "bindings"]
        (source,) = row["sources"]
        assert (row["rows"], source["bad_rows"]) == (2, 1)

        (_, stays), (_, goes) = let_in(to, "one:pass word"), let_in(to, "one:pass word", "host-3")
        change(to, bindings, "one host-1\n\nthree host-1\nfour host-1 nonsense\n", ("bindings", "a"))
        assert ended(goes)
        assert status_of(to, "three:pass") == Status.OK
        assert status_of(to, "one:pass word") == Status.OK
        assert lines.count(bad) == 1, "it is told once"
        stays.close()


def test_bindings_count_for_inline_logins_and_for_those_that_a_file_changes(tmp_path: Path) -> None:
    """An inline login has its own binding, and the rows of the source beside it."""
    logins, bindings = tmp_path / "logins", tmp_path / "bindings"
    logins.write_text("u changed\n")
    bindings.write_text("u host-2\n")
    inline = "auths: [{username: u, password: p, hosts: [host-1]}, {username: free, password: p}]"
    auther = f"{inline}, file: {{path: {logins}}}, bindings: {{file: {{path: {bindings}}}}}"
    with running(config(auther)) as (to,):
        serve(to)
        found = {host: status_of(to, "u:changed", host) for host in ("host-1", "host-2", "host-3")}
        assert found == {"host-1": Status.OK, "host-2": Status.OK, "host-3": Status.FORBIDDEN}
        assert status_of(to, "u:p") == Status.UNAUTHORIZED
        assert status_of(to, "free:p") == Status.FORBIDDEN


def test_a_password_from_a_file_takes_no_binding_away(tmp_path: Path) -> None:
    logins = tmp_path / "logins"
    logins.write_text("u changed\n")
    auther = f"auths: [{{username: u, password: p, hosts: [host-1]}}], file: {{path: {logins}}}"
    with running(config(auther)) as (to,):
        serve(to)
        assert status_of(to, "u:changed", "host-1") == Status.OK
        assert status_of(to, "u:changed", "host-2") == Status.FORBIDDEN


@pytest.mark.parametrize("missing", ["logins", "bindings"])
def test_who_cannot_be_checked_yet_is_told_to_come_again_not_that_he_is_wrong(
    missing: str, tmp_path: Path
) -> None:
    """Status 5, and not 1 or 3, until a source that could never be read is there."""
    paths = {name: tmp_path / name for name in ("logins", "bindings")}
    paths["logins"].write_text("u p\n")
    paths["bindings"].write_text("u host-1\n")
    text = paths[missing].read_text()
    paths[missing].unlink()
    auther = f"file: {{path: {paths['logins']}}}, bindings: {{file: {{path: {paths['bindings']}}}}}"
    with running(config(auther)) as (to,):
        serve(to)
        assert status_of(to, "u:p") == Status.SERVICE_UNAVAILABLE
        assert f"{paths[missing]}: No such file or directory" in why(to)
        table = {"logins": "auther", "bindings": "bindings"}[missing]
        change(to, paths[missing], text, (table, "a"))
        assert status_of(to, "u:p") == Status.OK
        assert status_of(to, "u:p", "host-2") == Status.FORBIDDEN
        assert status_of(to, "u:x") == Status.UNAUTHORIZED
        paths[missing].unlink()
        live = dict(to.tables.all())[table, "a"]
        live.feed.refresh()
        assert live.feed.wait(5)
        assert status_of(to, "u:p") == Status.OK  # the last good rows stay


def test_one_source_of_two_that_cannot_be_read_keeps_out_nobody_whose_row_is_there(tmp_path: Path) -> None:
    """And a login that is taken away from the other one ends its session all the same."""
    logins = tmp_path / "logins"
    logins.write_text("u p\nv p\n")
    auther = f"file: {{path: {logins}}}, http: {{url: 'http://127.0.0.1:9/x'}}"
    with running(config(auther)) as (to,):
        serve(to)
        assert status_of(to, "u:p") == Status.OK
        assert status_of(to, "w:p") == Status.SERVICE_UNAVAILABLE
        assert to.refused == {Refusal.UNAVAILABLE: 1}
        _, made = let_in(to, "u:p")
        change(to, logins, "v p\n", ("auther", "a"))
        assert ended(made)


def test_an_ingress_that_could_never_be_read_shuts_nobody_out_for_good(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    more = f"ingresses: [{{name: i, file: {{path: {rules}}}}}]"
    text = config("auths: [{username: u, password: p}]", ", ingress: i", more)
    with running(text) as (to,):
        serve(to)
        assert status_of(to, "u:p", "host-1", parse_uuid(UUID)) == Status.SERVICE_UNAVAILABLE
        change(to, rules, f"host-1 {UUID}\n", ("ingress", "i"))
        assert status_of(to, "u:p", "host-1", parse_uuid(UUID)) == Status.OK
        assert status_of(to, "u:p", "host-2", parse_uuid(UUID)) == Status.HOST_UNREACHABLE


def test_bindings_that_are_emptied_let_nobody_in_and_a_login_page_changes_nothing(tmp_path: Path) -> None:
    bindings = tmp_path / "bindings"
    bindings.write_text("u host-1\n")
    auther = f"auths: [{{username: u, password: p}}], bindings: {{file: {{path: {bindings}}}}}"
    with running(config(auther)) as (to,):
        serve(to)
        _, made = let_in(to, "u:p")
        change(to, bindings, "<html><body>Please log in</body></html>\n", ("bindings", "a"))
        assert status_of(to, "u:p") == Status.OK
        change(to, bindings, "# nobody\n", ("bindings", "a"))
        assert ended(made)
        assert status_of(to, "u:p") == Status.FORBIDDEN


def test_sessions_are_checked_only_when_every_new_source_has_been_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload names another file: until it has been read, logins seem to be gone."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("u pass\n")
    two.write_text("v pass\n")
    may_go_on, begun = Event(), Event()
    read = source_read.read

    def slowly(source: Any, *more: Any) -> Any:
        if source.path == str(two):
            begun.set()
            may_go_on.wait(5)
        return read(source, *more)

    sources = "file: {path: %s}"
    with running(config(sources % one)) as (to,):
        serve(to)
        assert status_of(to, "u:pass") == Status.OK
        monkeypatch.setattr(source_read, "read", slowly)
        rechecked: list[bool] = []
        to.tables.rules_changed = lambda: rechecked.append(True)
        text = config(sources % two)
        settings = config_resolve.resolve(config_read.read([("f", text)]))
        applying = gevent.spawn(to.tables.apply, settings)
        assert begun.wait(5)
        waiting = gevent.spawn(to.tables.wait_rules, 5)
        gevent.idle()
        assert not waiting.ready()
        may_go_on.set()
        waiting.get(timeout=5)
        applying.get(timeout=5)
        assert rechecked
        assert status_of(to, "v:pass") == Status.OK
        monkeypatch.setattr(source_read, "read", read)
        started = gevent.spawn(to.tables.wait_rules, 5)
        gevent.idle()
        assert started.ready(), "nothing is waited for once all has been tried"

"""A hub and hosts that join it: once, in a race too; who may be invited; who is let in, and who no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket, ssl
from gevent.server import StreamServer

from lib import (
    client_enrol,
    ctl_enrol,
    enrol_book,
    enrol_live,
    enrol_token,
    hub_enrol,
    ids,
    rule_recheck,
    wire_enrol,
)
from lib.auth_admission import NO_CERTIFICATE, Login
from lib.enrol_token import Token
from lib.errors import HostError
from lib.hub import Hub
from lib.limits import stranger
from lib.rule_recheck import Vouchers
from lib.wire_enrol import Answer, Ask, Reply
from lib.wire_relay import (
    ENROL,
    Request,
    Response,
    Status,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from tests.support.hubs import running
from tests.support.tls import Authority, Pair

CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  handler: {{type: router, metadata: {{router: r, enrol: {path}{metadata}}}{handler}}}
  listener: {{type: tls, tls: {{certFile: {cert}, keyFile: {key}}}}}
routers: [{{name: r, routes: [{{dst: 10.0.0.1/32, gateway: host-1}}]}}{routers}]
{more}
"""
ONE, TWO = b"1" * 32, b"2" * 32
UUID = "e87f56dd-fd57-4921-9ab8-a0847662daae"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Authority(tmp_path_factory.mktemp("tls")).issue("hub.test")


@contextmanager
def hub_of(
    pair: Pair,
    path: Path,
    handler: str = "",
    metadata: str = "",
    more: str = "",
    routers: str = "",
    router: str = "router: r, ",
) -> Iterator[tuple[Hub, dict[str, Hub]]]:
    text = CONFIG.format(
        path=path,
        cert=pair.cert,
        key=pair.key,
        handler=handler,
        metadata=metadata,
        more=more,
        routers=routers,
    ).replace("router: r, ", router)
    with running(text) as hubs:
        hubs[0].tables.start()
        assert hubs[0].tables.enrolled.wait(5)
        yield hubs[0], {hub.settings.name: hub for hub in hubs}


def port_of(hub: Hub) -> int:
    port: int = hub._server.socket.getsockname()[1]
    return port


def invite(hub: Hub, hubs: dict[str, Hub], **request: Any) -> Token:
    asked = {"host": "host-7", "address": f"127.0.0.1:{port_of(hub)}", **request}
    return enrol_token.decode(str(ctl_enrol.invite(hubs, hub.tables, asked)["line"]))


def hosts(hub: Hub) -> dict[Any, Any]:
    (live,) = hub.tables.enrolled.all()
    assert live.book is not None
    return dict(live.book.hosts)


def test_two_joins_at_once_and_one_wins(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        token = invite(hub, hubs)
        tries = [gevent.spawn(client_enrol.enrol, token, bytes([number]) * 32) for number in range(8)]
        gevent.joinall(tries, timeout=20)
        won = [one for one in tries if one.exception is None]
        assert len(won) == 1
        said = {str(one.exception) for one in tries if one.exception is not None}
        assert all("has been used already" in text for text in said)
        (row,) = hosts(hub).values()
        assert row.password == bytes([tries.index(won[0])]) * 32
        assert won[0].value.others == ((bytes([10, 0, 0, 1]), 32),), "what lies behind others"


def test_a_host_whose_answer_was_lost_may_ask_again(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        token = invite(hub, hubs, gateways=["192.168.7.0/24", "10.0.0.7"])
        first = client_enrol.enrol(token, ONE)
        assert replace(client_enrol.enrol(token, ONE), clock=first.clock) == first
        assert first.own == ((bytes([10, 0, 0, 7]), 32), (bytes([192, 168, 7, 0]), 24))


def test_who_shows_what_is_used_again_and_again_changes_no_list(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole list was read for each, under its lock: with 5,000 hosts `revoke` waited 10 s for one address."""
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        (live,) = hub.tables.enrolled.all()
        token = invite(hub, hubs)
        client_enrol.enrol(token, ONE)
        changes, change = list[object](), live._store.change

        def noted(edit: Callable[[bytes], bytes | None]) -> bytes:
            changes.append(edit)
            return change(edit)

        monkeypatch.setattr(live._store, "change", noted)
        for secret, password in ((token.secret, b"2" * 32), (b"?" * 16, ONE)):
            with pytest.raises(HostError):
                client_enrol.enrol(changed(token, secret=secret), password)
        client_enrol.enrol(token, ONE)  # its own answer may have been lost
        assert not changes
        client_enrol.enrol(invite(hub, hubs, host="host-8"), ONE)
        assert len(changes) == 2, "an invitation, and a host"


def changed(token: Token, **fields: Any) -> Token:
    return replace(token, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"secret": b"?" * 16},
            "does not know this invitation; ask for a new line: `tunrouter invite host-7`",
        ),
        ({"invitation": b"?" * 8}, "does not know this invitation"),
        ({"store": b"?" * 8}, "is another hub's"),
        ({"pin": bytes(32)}, "not the one pinned: this is not the hub that the line is for"),
        ({"pin": b""}, "nobody whom this host trusts has signed the certificate of 127.0.0.1"),
        ({"kind": "wss", "path": "/ws"}, "the hub speaks"),
    ],
    ids=["secret", "invitation", "another list", "another hub", "by name", "another transport"],
)
def test_what_is_said_of_a_line_that_is_not_for_this_hub(
    pair: Pair, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        token = invite(hub, hubs)
        with pytest.raises(HostError) as raised:
            client_enrol.enrol(changed(token, **fields), ONE)
        assert words in str(raised.value)
        assert not hosts(hub)
        client_enrol.enrol(token, ONE)  # the line itself is still good


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the hub's clock be off by so many seconds."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)


@pytest.mark.parametrize(
    ("off", "words"), [(3601.0, "the invitation has expired"), (-3600.0, "the hub's clock is wrong")]
)
def test_expired_and_a_wrong_clock(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: float, words: str
) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        token = invite(hub, hubs)
        with monkeypatch.context() as patch:
            at(patch, off)
            with pytest.raises(HostError, match=words):
                client_enrol.enrol(token, ONE)
        client_enrol.enrol(token, ONE)


TOKEN = Token("hub.test", 1, b"s" * 8, b"i" * 8, b"x" * 16, 1_900_000_000, "host-7")


def test_every_answer_has_words_of_its_own() -> None:
    said = [client_enrol.words(Reply(answer, 1000.0, 940.0), TOKEN) for answer in Answer if answer]
    assert len(set(said)) == len(said)
    assert not any(text.startswith("it refuses, with the number") for text in said)
    assert "with the number 77; update" in client_enrol.words(Reply(77), TOKEN)


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (0, ""),
        (200, ""),
        (-7200, "this host's clock is 2 h behind the hub's"),
        (7200, "2 h ahead of the hub's"),
    ],
)
def test_a_host_learns_that_its_clock_is_wrong(off: float, words: str) -> None:
    said = client_enrol.clock_difference(Reply(Answer.WELCOME, 1e9), 1e9 + off)
    assert words in said
    assert bool(said) == bool(words)


def test_another_program_of_the_relay_protocol_is_told_apart(pair: Pair) -> None:
    """A GOST, or a tunrouter before this one, refuses the command."""
    node = client_enrol.node_of(TOKEN)
    assert (node.transport.tls.verify, node.transport.kind) == (True, "tls")
    for status in (Status.BAD_REQUEST, Status.UNAUTHORIZED, Status.OK):
        with pytest.raises(HostError, match="knows no enrolment: it is a GOST or an older tunrouter"):
            client_enrol._read(Response(status, bytes(20) if status == Status.OK else b""), TOKEN, "hub:1")


def test_what_is_shown_and_answered_passes_the_handshake() -> None:
    request, response = Request(command=ENROL, enrol=b"x" * 64), Response(Status.OK, bytes(20), b"y" * 20)
    data = encode_request(request)
    assert decode_request(data) == (replace(request, source="0.0.0.0"), len(data))
    data = encode_response(response)
    assert decode_response(data) == (response, len(data))


def test_wrong_tries_are_counted_by_address(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_enrol, "LOOK_SECONDS", 0.001)
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        token = invite(hub, hubs)
        for _ in range(hub_enrol.TRIES):
            with pytest.raises(HostError, match="does not know"):
                client_enrol.enrol(changed(token, invitation=b"?" * 8), ONE)
        with pytest.raises(HostError, match="too many wrong invitations"):
            client_enrol.enrol(token, ONE)
        assert hub.attempts.may(stranger("10.0.0.1:1"), time.monotonic()), "another address"
        assert hub.attempts.may(stranger("127.0.0.1:1"), time.monotonic() + 60), "a minute later"


# --- who may be invited


def refused(hub: Hub, hubs: dict[str, Hub], **request: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as raised:
        invite(hub, hubs, **request)
    return str(raised.value)


AUTHER = "authers: [{{name: a, auths: [{{username: u, password: p{bound}}}]}}]"


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ("", "the name host-7 may be used by the login 'u' of auther a"),
        (", hosts: ['*.x', host-7]", "may be used by the login 'u'"),
        (f", namespaces: [{ids.format_uuid(bytes(16))}]", "may be used by the login 'u'"),
        (", hosts: [host-8]", ""),
        (f", namespaces: [{UUID}]", ""),
    ],
)
def test_a_name_that_another_login_may_use_is_not_invited(
    pair: Pair, tmp_path: Path, bound: str, words: str
) -> None:
    more = AUTHER.replace("{{", "{").replace("}}", "}").replace("{bound}", bound)
    with hub_of(pair, tmp_path / "hosts", ", auther: a", more=more) as (hub, hubs):
        if words:
            assert words in refused(hub, hubs)
        else:
            assert invite(hub, hubs).host == "host-7"


@pytest.mark.parametrize(
    ("auther", "bound", "words"),
    [
        ("auths: [{username: u, password: p}], bindings: {file: {path: FILE}}", "u host-8", ""),
        (
            "auths: [{username: u, password: p}], bindings: {file: {path: FILE}}",
            "u host-7",
            "by the login 'u'",
        ),
        ("auths: [{username: u, password: p}], bindings: {file: {path: FILE}}", "other host-7", ""),
        (
            "plugin: {type: http, addr: 'http://127.0.0.1:1'}",
            "",
            "by any login that the plugin of auther a lets in",
        ),
        (
            "plugin: {type: http, addr: 'http://127.0.0.1:1'}, bindings: {file: {path: FILE}}",
            "v *",
            "the login 'v'",
        ),
        ("plugin: {type: http, addr: 'http://127.0.0.1:1'}, bindings: {file: {path: FILE}}", "v host-8", ""),
        ("auths: [], file: {path: FILE.not}", "", "has not been read yet"),
    ],
    ids=[
        "bound to another",
        "bound",
        "no such login",
        "plugin",
        "plugin and all",
        "plugin and another",
        "unread",
    ],
)
def test_names_that_logins_are_bound_to_elsewhere(
    pair: Pair, tmp_path: Path, auther: str, bound: str, words: str
) -> None:
    (tmp_path / "bindings").write_text(f"{bound}\n")
    more = f"authers: [{{name: a, {auther.replace('FILE', str(tmp_path / 'bindings'))}}}]"
    with hub_of(pair, tmp_path / "hosts", ", auther: a", more=more) as (hub, hubs):
        if not words:
            assert hub.tables.wait_loaded(5)
            assert invite(hub, hubs).host == "host-7"
            return
        if "yet" not in words:
            assert hub.tables.wait_loaded(5)
        with pytest.raises((ValueError, OSError)) as raised:
            invite(hub, hubs)
        assert words in str(raised.value) or "No such file" in str(raised.value)


def test_nobody_is_invited_where_strangers_come_in(pair: Pair, tmp_path: Path) -> None:
    other = (
        "- {name: open, addr: '127.0.0.1:0', listener: {type: tcp}, "
        "handler: {type: router, metadata: {router: r, domain: d}}}\n"
    )
    text = CONFIG.replace("routers:", other.replace("{", "{{").replace("}", "}}") + "routers:")
    filled = text.format(
        path=tmp_path / "hosts",
        cert=pair.cert,
        key=pair.key,
        handler="",
        metadata=", domain: d",
        more="",
        routers="",
    )
    with running(filled) as made:
        hubs = {hub.settings.name: hub for hub in made}
        made[0].tables.start()
        assert made[0].tables.enrolled.wait(5)
        said = refused(made[0], hubs)
        assert "service open, which shares domain d with it, lets in everybody without a login" in said
        assert "whoever is revoked would simply come back" in refused(made[0], hubs, service="open")


def test_what_else_is_refused(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        assert "cannot be the name" in refused(hub, hubs, host="a b")
        assert "not a UUID" in refused(hub, hubs, ns="7")
        assert "1 minute to 30 days" in refused(hub, hubs, expires_s=1)
        assert "192.168.7.1/24 is no network: write 192.168.7.0/24" in refused(
            hub, hubs, gateways=["192.168.7.1/24"]
        )
        assert "has no router of its own" in refused(hub, hubs, ns=UUID, gateways=["192.168.7.0/24"])
        assert "there is no hub 'x'" in refused(hub, hubs, service="x")
        client_enrol.enrol(invite(hub, hubs), ONE)
        assert "host host-7 is enrolled already" in refused(hub, hubs)


def test_the_pool_is_routed_to_no_host(pair: Pair, tmp_path: Path) -> None:
    """No address of it could be given to any other one then."""
    with hub_of(pair, tmp_path / "hosts", routers=f", {{name: {UUID}, pool: 10.20.0.0/16}}") as (hub, hubs):
        said = refused(hub, hubs, ns=UUID, gateways=["192.168.7.0/24", "10.20.0.0/16"])
        assert "10.20.0.0/16 is the pool that hosts get addresses from; routed to host-7" in said
        invite(hub, hubs, ns=UUID, gateways=["10.20.0.7", "10.20.1.0/24", "0.0.0.0/0"])
        invite(hub, hubs, gateways=["10.20.0.0/16"])  # of another namespace


def test_what_is_worth_knowing(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        asked = {"host": "host-7", "address": "hub.test:8443"}
        reply = ctl_enrol.invite(hubs, hub.tables, {**asked, "gateways": ["10.0.0.1"]})
        assert "10.0.0.1/32 is routed to host-1 already" in str(reply["notes"])
        reply = ctl_enrol.invite(hubs, hub.tables, asked)
        assert "no route leads to an address of host-7 itself" in str(reply["notes"])
        assert str(reply["pin"]).startswith("sha256:")


def test_who_forgets_whose_host_it_is_is_told(pair: Pair, tmp_path: Path) -> None:
    """Where each tenant has a router of its own, a host of no tenant reaches nobody."""
    tenants = [f"{UUID[:-1]}{number}" for number in range(1, 10)]
    routers = "".join(f", {{name: {tenant}, address: 10.0.0.1/24}}" for tenant in tenants)
    with hub_of(pair, tmp_path / "hosts", routers=routers, router="") as (hub, hubs):
        asked = {"host": "host-7", "address": "hub.test:8443"}
        reply = ctl_enrol.invite(hubs, hub.tables, asked)
        assert str(reply["notes"]).endswith(f"with --ns ({', '.join(tenants[:8])}, 1 more namespace)']")
        reply = ctl_enrol.invite(hubs, hub.tables, {**asked, "ns": tenants[0]})
        assert "no route leads to an address of host-7 itself" in str(reply["notes"])


# --- who is let in


def judge(hub: Hub, host: str, password: str, namespace: bytes = ids.NO_NAMESPACE) -> Status:
    request = Request(host, login=(host, password), namespace=namespace)
    stream: Any = SimpleNamespace(peer="10.0.0.9:1", certificate=NO_CERTIFICATE, has_closed=lambda: False)
    return rule_recheck.judge(hub.settings, hub.tables, request, stream, Vouchers())[0]


def test_enrolled_hosts_are_let_in_as_themselves_and_nobody_else(pair: Pair, tmp_path: Path) -> None:
    namespace = ids.parse_uuid(UUID)
    with hub_of(
        pair, tmp_path / "hosts", metadata=", ingress: i", more="ingresses: [{name: i, rules: []}]"
    ) as (hub, hubs):
        client_enrol.enrol(invite(hub, hubs, ns=UUID), enrol_book.hashed(b"secret"))
        assert judge(hub, "host-7", "secret", namespace) == Status.OK, "it has a rule of the ingress, too"
        assert judge(hub, "host-7", "wrong", namespace) == Status.UNAUTHORIZED
        assert judge(hub, "host-7", "", namespace) == Status.UNAUTHORIZED
        assert judge(hub, "host-8", "secret", namespace) == Status.UNAUTHORIZED
        assert judge(hub, "host-7", "secret") == Status.FORBIDDEN, "in another namespace"
        (live,) = hub.tables.enrolled.all()
        assert live.grant(Login("host-7", "secret", "", "s")) is not None
        ctl_enrol.revoke(hubs, hub.tables, {"host": "host-7"})
        assert judge(hub, "host-7", "secret", namespace) == Status.UNAUTHORIZED


def test_while_the_list_cannot_be_read_its_last_good_state_counts(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("no list")
    with hub_of(pair, path) as (hub, hubs):
        assert judge(hub, "host-7", "secret") == Status.SERVICE_UNAVAILABLE
        with pytest.raises(HostError, match="cannot write its list"):
            client_enrol.enrol(changed(TOKEN, address="127.0.0.1", port=port_of(hub), pin=pin(hub)), ONE)
        with pytest.raises(ValueError, match=r"^enrolled hosts of .*: it is no list of enrolled hosts"):
            invite(hub, hubs)
        path.unlink()
        (live,) = hub.tables.enrolled.all()
        live.look()
        client_enrol.enrol(invite(hub, hubs), enrol_book.hashed(b"secret"))
        path.write_text("no list")
        live.look()
        assert "no list of enrolled hosts" in live.error
        assert judge(hub, "host-7", "secret") == Status.OK


def pin(hub: Hub) -> bytes:
    return bytes.fromhex(hub.acceptor.fingerprint())


def test_a_change_by_another_process_counts_soon(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    with hub_of(pair, path) as (hub, hubs), hub_of(pair, path) as (other, others):
        gone: list[set[enrol_book.Place]] = []
        other.tables.enrolled.gone = lambda source, places: gone.append(places)
        client_enrol.enrol(invite(other, hubs | {"s": hub}), enrol_book.hashed(b"secret"))
        assert judge(other, "host-7", "secret") == Status.OK, (
            "made by one process, shown to the other at once"
        )
        ctl_enrol.revoke(hubs, hub.tables, {"host": "host-7"})
        with gevent.Timeout(5):
            while not gone:
                other.tables.enrolled.all()[0].wait(1)
        assert gone == [{(ids.NO_NAMESPACE, "host-7")}]
        assert judge(other, "host-7", "secret") == Status.UNAUTHORIZED
        del others


def test_a_worker_looks_when_another_has_taken_a_host_out(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    with hub_of(pair, path) as (hub, hubs), hub_of(pair, path) as (other, others):
        client_enrol.enrol(invite(hub, hubs), enrol_book.hashed(b"secret"))
        assert ctl_enrol.looked({}, other.tables, {"host": "host-7"}) == {"sessions": 0}
        assert judge(other, "host-7", "secret") == Status.OK
        session: Any = SimpleNamespace(
            attachment=SimpleNamespace(host="host-7"), sender=SimpleNamespace(closed_because="")
        )
        other.tables.enrolled.gone = lambda source, places: setattr(session.sender, "closed_because", "gone")
        watched: Any = {"hub": SimpleNamespace(sessions={1: session})}
        (live,) = other.tables.enrolled.all()
        live._task.kill()  # only who is asked looks
        assert ctl_enrol.looked(watched, other.tables, {"host": "host-7"}) == {"sessions": 1}
        ctl_enrol.revoke(hubs, hub.tables, {"host": "host-7"})
        assert judge(other, "host-7", "secret") == Status.OK
        asked = {"host": "host-7"}
        assert ctl_enrol.looked(watched, other.tables, asked) == {"sessions": 0}
        assert judge(other, "host-7", "secret") == Status.UNAUTHORIZED
        path.write_text("no list")
        with pytest.raises(ValueError, match="no list of enrolled hosts"):
            ctl_enrol.looked(watched, other.tables, asked)
        del others


def test_who_is_enrolled_and_invited(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, hubs):
        client_enrol.enrol(invite(hub, hubs), ONE)
        invite(hub, hubs, host="host-8")
        reply: Any = ctl_enrol.hosts(hubs, hub.tables, {})
        assert [row["host"] for row in reply["hosts"]] == ["host-7"]
        assert (reply["hosts"][0]["seen"], reply["hosts"][0]["connected"]) == (0, False)
        assert [row["host"] for row in reply["invitations"]] == ["host-8"]
        found: Any = ctl_enrol.hosts(hubs, hub.tables, {"host": "host-8"})
        assert (found["hosts"], len(found["invitations"])) == ([], 1)
        assert ctl_enrol.revoke(hubs, hub.tables, {"host": "host-8"})["hosts"] == 1, "of an invitation"
        with pytest.raises(ValueError, match="no host 'host-8' is enrolled or invited here"):
            ctl_enrol.revoke(hubs, hub.tables, {"host": "host-8"})
        with pytest.raises(ValueError, match="did you mean"):
            ctl_enrol.revoke(hubs, hub.tables, {"host": "host-77"})
        with pytest.raises(ValueError, match="'host-77' is enrolled or invited here; `tunrouter hosts`"):
            ctl_enrol.revoke(
                hubs, hub.tables, {"host": "host-77", "ns": UUID}
            )  # other namespaces' stay unsaid


def test_when_a_host_was_seen_outlives_the_process(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrol_live, "SEEN_SECONDS", 0.0)
    path = tmp_path / "hosts"
    with hub_of(pair, path) as (hub, hubs):
        client_enrol.enrol(invite(hub, hubs), ONE)
        (live,) = hub.tables.enrolled.all()
        hub.tables.enrolled.present = lambda source: [
            (ids.NO_NAMESPACE, "host-7"),
            (ids.NO_NAMESPACE, "stranger"),
        ]
        while not live.seen:
            assert live.wait(5)
    seen = enrol_book.parse(path.read_bytes()).hosts[ids.NO_NAMESPACE, "host-7"].seen
    assert time.time() - 60 < seen <= time.time()


def test_a_host_that_gets_its_address_from_a_pool_needs_none(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts", routers=f", {{name: {UUID}, pool: 10.20.0.0/16}}") as (hub, hubs):
        asked = {"host": "host-7", "ns": UUID, "address": f"127.0.0.1:{port_of(hub)}"}
        reply = ctl_enrol.invite(hubs, hub.tables, asked)
        assert reply["notes"] == []
        assert client_enrol.enrol(enrol_token.decode(str(reply["line"])), ONE).gives
        assert not client_enrol.enrol(invite(hub, hubs), ONE).gives, "of a namespace without one"


@contextmanager
def tls_before(port: int, shown: Pair) -> Iterator[int]:
    """A proxy that takes TLS off: its port, which leads to a port of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)

    def pipe(source: Any, target: Any) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(client: Any, address: Any) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", port), 5) as hub:
            gevent.joinall([gevent.spawn(pipe, client, hub), gevent.spawn(pipe, hub, client)], timeout=10)

    server = StreamServer(("127.0.0.1", 0), serve, ssl_context=context)
    server.start()
    yield server.server_port
    server.stop(timeout=1)


def test_a_hub_behind_a_proxy_is_known_by_its_name(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca.cert))  # in place of the system's
    text = CONFIG.replace("{{type: tls, tls: {{certFile: {cert}, keyFile: {key}}}}}", "{{type: ws}}").format(
        path=tmp_path / "hosts", handler="", metadata=", trustedProxies: 127.0.0.1", more="", routers=""
    )
    with running(text) as (hub,), tls_before(port_of(hub), authority.issue("localhost")) as port:
        hub.tables.start()
        assert hub.tables.enrolled.wait(5)
        token = invite(hub, {"s": hub}, address=f"localhost:{port}")
        assert (token.kind, token.pin, token.path) == ("wss", b"", "/ws")
        with pytest.raises(HostError, match=r"IP address mismatch|not valid for"):
            client_enrol.enrol(changed(token, address="127.0.0.1"), ONE)
        assert client_enrol.enrol(token, ONE).answer == Answer.WELCOME
        said = refused(hub, {"s": hub}, host="host-8", address="ws://localhost")
        assert "'ws' is neither tls nor wss" in said


def test_routes_to_an_enrolled_host_are_live_and_go_with_it(pair: Pair, tmp_path: Path) -> None:
    own = f", {{name: {UUID}, routes: [{{dst: 10.9.0.0/16, gateway: host-1}}]}}"
    with hub_of(pair, tmp_path / "hosts", routers=own) as (hub, hubs):
        client_enrol.enrol(invite(hub, hubs, gateways=["192.168.7.0/24"]), ONE)
        client_enrol.enrol(invite(hub, hubs, host="host-8", ns=UUID, gateways=["192.168.8.0/24"]), ONE)

        def texts(router: str) -> list[str]:
            table: Any = hub.tables.routes(router)
            return sorted(
                str(route) for trie in (table.tries.four,) for route in map(prefix, trie.unordered())
            )

        def prefix(found: Any) -> str:
            return f"{found[0][0]}.{found[0][1]}.{found[0][2]} {min(found[2].names)}"

        assert texts("r") == ["10.0.0 host-1", "192.168.7 host-7"]
        assert texts(UUID) == ["10.9.0 host-1", "192.168.8 host-8"], (
            "in its own namespace, not in the default router"
        )
        ctl_enrol.revoke(hubs, hub.tables, {"host": "host-7"})
        assert texts("r") == ["10.0.0 host-1"]


def test_a_hub_without_a_list_says_so(pair: Pair, tmp_path: Path) -> None:
    text = CONFIG.replace(", enrol: {path}", "").format(
        cert=pair.cert, key=pair.key, handler="", metadata="", more="", routers=""
    )
    with running(text) as (hub,):
        token = changed(TOKEN, address="127.0.0.1", port=port_of(hub), pin=pin(hub))
        with pytest.raises(HostError, match="keeps no list of enrolled hosts"):
            client_enrol.enrol(token, ONE)
        with pytest.raises(ValueError, match="lets in everybody without a login: whoever is revoked"):
            ctl_enrol.invite({"s": hub}, hub.tables, {"host": "host-7"})


def test_what_is_no_invitation_ends_the_connection(pair: Pair, tmp_path: Path) -> None:
    with hub_of(pair, tmp_path / "hosts") as (hub, _):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port_of(hub)), 5)) as sock:
            sock.sendall(encode_request(Request(command=ENROL, enrol=b"short")))
            assert sock.recv(100) == b""
        assert not hosts(hub)


def test_an_ask_there_and_back() -> None:
    ask = Ask(b"s" * 8, b"i" * 8, b"x" * 16, ONE)
    assert wire_enrol.decode_ask(wire_enrol.encode_ask(ask) + b"later") == ask
    assert ONE.hex() not in repr(ask)

"""The `api` section: what becomes settings, and what is not opened, because others could reach it."""

from __future__ import annotations

import pytest

from lib import config_from_urls, config_read, config_resolve
from lib.errors import ConfigError
from lib.settings import Settings
from lib.settings_api import OWN, TENANT, VIEWER, ApiSettings, ApiUser

HUB = """\
services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}]
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
authers: [{name: staff, auths: [{username: u, password: p}]}]
"""
LOGIN = "auth: {username: u, password: p}"


def settings(api: str, more: str = HUB) -> Settings:
    return config_resolve.resolve(config_read.read([("f", f"{more}api: {{{api}}}\n")]))


def problems(api: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        settings(api)
    return list(map(str, raised.value.problems))


def test_gost_s_keys() -> None:
    found = settings(f"addr: '127.0.0.1:18080', pathPrefix: /api/, accesslog: true, {LOGIN}")
    assert found.api == ApiSettings(
        host="127.0.0.1", port=18080, prefix="/api", access_log=True, authers=(OWN,)
    )
    assert [(one.name, one.logins[0].username) for one in found.authers] == [(OWN, "u")]
    assert str(found.api) == "127.0.0.1:18080/api for logins of auther 'auth of api'"


def test_a_named_auther_and_a_socket() -> None:
    found = settings("addr: 'unix:///run/x.sock', auther: staff").api
    assert found == ApiSettings(socket="/run/x.sock", authers=("staff",))
    assert found.address == "unix:///run/x.sock"


def test_of_the_command_line() -> None:
    read = config_from_urls.read(["router://127.0.0.1:1"], api="u:p@127.0.0.1:2?pathPrefix=/x&accesslog=on")
    found = config_resolve.resolve(read).api
    assert found == ApiSettings(host="127.0.0.1", port=2, prefix="/x", access_log=True, authers=(OWN,))
    socket = config_resolve.resolve(
        config_from_urls.read(["router://127.0.0.1:1"], api="unix://u:p@/run/a")
    ).api
    assert socket is not None
    assert (socket.socket, socket.authers) == ("/run/a", (OWN,))


def test_with_an_api_alone_objects_may_come_by_it() -> None:
    assert settings("addr: '127.0.0.1:1'", "").api is not None


@pytest.mark.parametrize(
    ("api", "lacks", "add"),
    [
        ("addr: ':18080'", "no login and no TLS", "add auth: "),
        ("addr: '0.0.0.0:18080'", "no login and no TLS", "or write addr: 127.0.0.1:18080"),
        (f"addr: '192.0.2.1:18080', {LOGIN}", "has no TLS", "add tls: {certFile: FILE, keyFile: FILE}"),
        ("addr: 'hub:1', insecure: true", "has no login", "add auth: {username: NAME, password: PASSWORD}"),
        ("addr: '[2001:db8::1]:1', tls: {certFile: c, keyFile: k}", "has no login", "add auth: "),
    ],
)
def test_what_others_reach_is_not_opened_without_login_and_tls(api: str, lacks: str, add: str) -> None:
    """The file of a GOST user runs, with one warning that says what to add."""
    found = settings(api)
    assert found.api is None
    assert found.authers == ()
    [warning] = found.warnings
    assert "the web API is not opened: " in warning.message
    assert lacks in warning.message
    assert add in warning.hint


@pytest.mark.parametrize(
    "api",
    [
        f"addr: '192.0.2.1:1', {LOGIN}, tls: {{certFile: c, keyFile: k}}",
        f"addr: ':1', {LOGIN}, insecure: true",
        "addr: '192.0.2.1:1', auther: staff, tls: {}",
        "addr: 'localhost:1'",
        "addr: '[::1]:1'",
        "addr: 'unix:///run/x.sock'",
    ],
)
def test_what_is_opened(api: str) -> None:
    found = settings(api)
    assert found.api is not None
    assert found.warnings == ()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:///run/x.sock"])
def test_insecure_is_for_others(address: str) -> None:
    found = settings(f"addr: '{address}', insecure: true")
    assert found.api is not None
    [warning] = found.warnings
    assert f"'insecure' has no effect: nobody but this host reaches {address}" in warning.message


def test_tls_takes_the_default_certificate() -> None:
    found = settings("addr: ':1', auther: staff, tls: {}", f"{HUB}tls: {{certFile: c, keyFile: k}}\n").api
    assert found is not None
    assert found.tls is not None
    assert found.tls.cert_file == "c"


@pytest.mark.parametrize(
    ("api", "wrong"),
    [
        ("addr: '127.0.0.1:1', auther: stuff", "there is no auther 'stuff'; did you mean 'staff'?"),
        ("addr: '127.0.0.1'", "'addr': "),
        ("addr: 'http://127.0.0.1:1'", "'addr': 'http://127.0.0.1:1' is a URL (write host:port)"),
        ("addr: 'unix://x'", "'addr': 'unix://x': no absolute path"),
        ("addr: 'unix:///x', tls: {}", "'tls' of an API on a unix socket has no use"),
        ("addr: '127.0.0.1:1', pathPrefix: '/a b'", "'pathPrefix': 'a b' is no path"),
    ],
)
def test_a_wrong_value_is_a_problem(api: str, wrong: str) -> None:
    [found] = problems(api)
    assert wrong in found


NAMESPACE = "e87f56dd-fd57-4921-9ab8-a0847662daae"


def test_users_with_roles() -> None:
    users = f"{{username: e, password: p, role: Viewer}}, {{username: t, password: p, role: tenant, namespace: {NAMESPACE}}}"
    found = settings(f"addr: '127.0.0.1:1', {LOGIN}, users: [{users}]")
    assert found.api is not None
    assert found.api.authers == (OWN,)
    namespace = bytes.fromhex(NAMESPACE.replace("-", ""))
    assert found.api.users == (ApiUser("e", VIEWER), ApiUser("t", TENANT, namespace))
    assert [row.username for row in found.authers[0].logins] == ["u", "e", "t"]
    both = settings("addr: ':1', insecure: true, auther: staff, users: [{username: e, password: p}]")
    assert both.api is not None
    assert both.api.authers == ("staff", OWN)
    assert {one.name for one in both.authers} == {"staff", OWN}


@pytest.mark.parametrize(
    ("user", "wrong"),
    [
        ("role: viewr", "'role': 'viewr' is unknown; did you mean 'viewer'?"),
        ("role: tenant", "a tenant without a namespace"),
        (f"role: viewer, namespace: {NAMESPACE}", "'namespace' is for role tenant"),
        ("role: tenant, namespace: x", "'namespace': 'x' is no UUID"),
        ("username: u", "two users of the API have the name 'u'"),
    ],
)
def test_a_user_that_is_wrong(user: str, wrong: str) -> None:
    fields = f"username: e, password: p, {user}" if "username" not in user else f"password: p, {user}"
    assert any(wrong in one for one in problems(f"addr: '127.0.0.1:1', {LOGIN}, users: [{{{fields}}}]"))

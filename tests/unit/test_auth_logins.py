"""Stored passwords and hashes, what a login is bound to, values that stand elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given

from lib import auth_password_pool, auth_passwords, config_read, config_resolve, config_secrets
from lib.auth_logins import Grant, Logins
from lib.errors import ConfigError
from lib.settings import LoginRow, Settings
from lib.wire_relay import Request, encode_request
from tests.support import texts
from tests.support.configs import checked

HASH = auth_passwords.hashed("secret", bytes(16))
KNOWN = "$scrypt$ln=14,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$"

HUB = (
    "services: [{name: s, addr: ':1', handler: {type: router, auther: a, metadata: {router: r}},"
    " listener: {type: tls}}]\nrouters: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
)


def resolve(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", HUB + text)]), config_secrets.read)


@pytest.mark.parametrize(
    ("stored", "given_", "right"),
    [
        ("secret", "secret", True),
        ("secret", "Secret", False),
        ("secret", "", False),
        ("", "", False),
        ("", "anything", False),
        (HASH, "secret", True),
        (HASH, "other", False),
        (HASH, HASH, False),
        ("$scrypt$broken", "$scrypt$broken", False),
        (HASH[:-1] + ("B" if HASH[-1] != "B" else "C"), "secret", False),
    ],
)
def test_a_password(stored: str, given_: str, right: bool) -> None:
    assert auth_passwords.matches(stored, given_) is right
    for _ in range(2):  # the second time from memory
        assert auth_password_pool.CHECKS.matches(stored, given_) is right


def test_the_hash_is_scrypt_s() -> None:
    """RFC 7914's own vector, in our form."""
    digest = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    salt = base64.b64encode(b"SodiumChloride").decode().rstrip("=")
    text = f"$scrypt$ln=14,r=8,p=1${salt}${base64.b64encode(digest).decode().rstrip('=')}"
    assert auth_passwords.matches(text, "pleaseletmein")


@pytest.mark.parametrize("parameters", ["ln=30,r=8,p=1", "ln=14,r=999,p=1", "ln=14,r=8,p=99", "ln=0,r=8,p=1"])
def test_a_hash_that_would_take_too_much_is_refused(parameters: str) -> None:
    with pytest.raises(ValueError, match="64 MB"):
        auth_passwords.check_form(HASH.replace("ln=14,r=8,p=1", parameters))


@given(texts.from_bytes(60))
def test_no_text_is_a_hash_by_accident(text: str) -> None:
    assert not auth_passwords.matches("$scrypt$" + text, text)


def test_logins() -> None:
    logins = Logins(
        [LoginRow("u", "old"), LoginRow("u", "new", ("host-1",)), LoginRow("h", HASH), LoginRow("e", "")]
    )
    assert len(logins) == 3
    assert logins.grant("u", "new") == Grant(("host-1",))
    assert logins.grant("h", "secret") == Grant()
    for wrong in (("u", "old"), ("h", HASH), ("e", ""), ("nobody", "new"), ("", "")):
        assert logins.grant(*wrong) is None


def cheaper() -> str:
    """A hash of the same password that takes a quarter of the time."""
    digest = hashlib.scrypt(b"secret", salt=bytes(16), n=1 << 12, r=8, p=1, dklen=32)
    return f"$scrypt$ln=12,r=8,p=1${'A' * 22}${base64.b64encode(digest).decode().rstrip('=')}"


CHEAP = cheaper()
BROKEN = "$scrypt$ln=13,r=8,p=1$AAAA$short"
KINDS = {"dear": HASH, "cheap": CHEAP, "plain": "secret", "empty": "", "broken": BROKEN}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each call of scrypt takes (N r p)."""
    done: list[int] = []
    scrypt = auth_passwords.hashlib.scrypt  # type: ignore[attr-defined]

    def counted(password: bytes, *, n: int, r: int, p: int, **more: Any) -> bytes:
        done.append(n * r * p)
        return cast(bytes, scrypt(password, n=n, r=r, p=p, **more))

    monkeypatch.setattr("lib.auth_passwords.hashlib.scrypt", counted)
    return done


@pytest.mark.parametrize("name", [*KINDS, "nobody", "dear "])
@pytest.mark.parametrize("password", ["wrong", "", "secret "])
@pytest.mark.parametrize("beside", [False, True], ids=["here", "in a thread"])
def test_every_wrong_login_takes_the_same(name: str, password: str, beside: bool, work: list[int]) -> None:
    """Else the time would tell which names there are, and what is stored for them: the work is counted here."""
    logins = Logins(LoginRow(kind, stored) for kind, stored in KINDS.items())
    checks = auth_password_pool.Checks()
    assert logins.grant("dear", "secret", checks.matches) is not None  # whose password somebody knows
    for _ in range(2):  # the second time nothing is remembered either
        work.clear()
        assert logins.grant(name, password, checks.matches if beside else auth_passwords.matches) is None
        assert sum(work) == auth_passwords.work(HASH)


@pytest.mark.parametrize("name", ["nobody", "cheap", "empty", "broken"])
def test_a_password_that_is_right_for_another_name_is_no_shortcut(name: str, work: list[int]) -> None:
    logins = Logins(LoginRow(kind, stored) for kind, stored in KINDS.items() if kind != "plain")
    checks = auth_password_pool.Checks()
    other = auth_passwords.hashed("other", bytes(16))
    assert Logins([LoginRow("x", other)]).grant("x", "other", checks.matches) is not None
    assert logins.grant("dear", "secret", checks.matches) is not None
    work.clear()
    assert logins.grant(name, "other", checks.matches) is None
    assert sum(work) == auth_passwords.work(HASH)


SEVERAL = {
    "one": LoginRow("one", HASH),
    "two": LoginRow("two", HASH, others=(auth_passwords.hashed("new", bytes(16)),)),
    "mixed": LoginRow("mixed", CHEAP, others=("plain",)),
    "plain": LoginRow("plain", "plain"),
}


@pytest.mark.parametrize("name", [*SEVERAL, "nobody"])
@pytest.mark.parametrize("beside", [False, True], ids=["here", "in a thread"])
def test_every_wrong_login_takes_as_long_as_the_name_with_most_passwords(
    name: str, beside: bool, work: list[int]
) -> None:
    logins = Logins(SEVERAL.values())
    matches = auth_password_pool.Checks().matches if beside else auth_passwords.matches
    assert logins.grant(name, "wrong", matches) is None
    assert sum(work) == 2 * auth_passwords.work(HASH)


def test_either_password_of_a_name_is_remembered(work: list[int]) -> None:
    checks, logins = auth_password_pool.Checks(), Logins(SEVERAL.values())
    for _ in range(2):
        work.clear()
        for name, password in (("two", "secret"), ("two", "new"), ("mixed", "plain"), ("mixed", "secret")):
            assert logins.grant(name, password, checks.matches) is not None
    assert work == []
    without = Logins([SEVERAL["two"]._replace(others=())])
    assert without.grant("two", "new", checks.matches) is None
    assert without.grant("two", "secret", checks.matches) is not None


def test_what_was_right_is_remembered_and_takes_no_turn(work: list[int]) -> None:
    logins = Logins(LoginRow(kind, stored) for kind, stored in KINDS.items())
    checks = auth_password_pool.Checks()
    for name in ("dear", "plain", "cheap"):
        assert logins.grant(name, "secret", checks.matches) is not None
    work.clear()
    for name in ("dear", "plain", "cheap"):
        assert logins.grant(name, "secret", checks.matches) is not None
    assert work == []


def test_where_nothing_is_hashed_nothing_takes_long(work: list[int]) -> None:
    logins = Logins([LoginRow("u", "secret")])
    for name in ("u", "nobody"):
        assert logins.grant(name, "wrong", auth_password_pool.Checks().matches) is None
    assert work == []


# --- in a configuration ---------------------------------------------------------------------------


def test_bound_logins() -> None:
    settings = resolve(
        "authers: [{name: a, auths: [{username: u, password: p, hosts: [host-1, '*.x'],"
        " namespaces: [E87F56DDFD5749219AB8A0847662DAAE]}]}]"
    )
    namespace = bytes.fromhex("e87f56ddfd5749219ab8a0847662daae")
    assert settings.hubs[0].authers[0].logins == (LoginRow("u", "p", ("host-1", "*.x"), (namespace,)),)


def test_values_that_stand_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("TUNROUTER_TEST", "from outside")
    settings = resolve(
        f"authers: [{{name: a, auths: [{{username: u, password: '${{file:{tmp_path}/secret}}'}},"
        " {username: v, password: '${env:TUNROUTER_TEST}!'}]}]"
    )
    rows = settings.hubs[0].authers[0].logins
    assert [row.password for row in rows] == ["from a file", "from outside!"]


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        (
            "{username: u, password: '${env:TUNROUTER_NOT_SET}'}",
            "f:3:53: environment variable TUNROUTER_NOT_SET is not set",
        ),
        ("{username: u, password: '${file:/nowhere}'}", "f:3:53: /nowhere: No such file or directory"),
        ("{username: u, password: '$scrypt$x'}", "not a hash as `tunrouter hash` prints it"),
        ('{username: u, password: p, hosts: ["a\\nb"]}', "no host can go by this name"),
        ("{username: u, password: p, namespaces: [x]}", "'namespaces': not a UUID: 'x'"),
        ("{username: u, password: p, host: x}", "did you mean 'hosts'?"),
        ("{username: u, passwords: [p, '$scrypt$x']}", "'passwords': not a hash as `tunrouter hash`"),
        ("{username: u, passwords: [p, '']}", "'passwords': an empty password"),
        ("{username: u, passwords: [a, b, c, d, e]}", "'passwords': more than 4 for one login"),
    ],
)
def test_a_login_that_is_wrong(login: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(f"authers: [{{name: a, auths: [{login}]}}]")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("bindings", "expected"),
    [
        ("{reload: 1s}", "'bindings' without file, redis or http: nobody would be let in"),
        ("", "'bindings' is empty"),
        ("{redis: {addr: x, type: zset}}", "redis type 'zset' cannot hold this; did you mean 'set'?"),
        ("{file: {path: ''}}", "a file source without a path"),
        ("{plugin: {addr: x}}", "unknown key 'plugin'"),
    ],
)
def test_bindings_that_are_wrong(bindings: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(f"authers: [{{name: a, auths: [{{username: u, password: p}}], bindings: {bindings}}}]")
    assert expected in str(caught.value)


CLIENT = """
services: [{name: s, handler: {type: tun}, listener: {type: tun}, forwarder: {nodes: [{addr: h}]}}]
chains:
- name: c
  hops:%s
  - {name: h, nodes: [{name: n, addr: 'hub:1', connector: {type: router%s}, dialer: {type: ws%s}}]}
"""
RAW = "${file:%s/raw}"


def with_raw_bytes(directory: Path, proxy: str = "", connector: str = "", dialer: str = "") -> Settings:
    """A client's settings where RAW stands for a file with a byte that no UTF-8 has."""
    (directory / "raw").write_bytes(b"pass\xff\n")
    text = CLIENT % tuple(part.replace(RAW, RAW % directory) for part in (proxy, connector, dialer))
    return config_resolve.resolve(checked(config_read.read([("f", text)])), config_secrets.read)


def test_a_login_may_be_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    settings = with_raw_bytes(tmp_path, connector=f", auth: {{username: '{RAW}', password: '{RAW}'}}")
    (node,) = settings.clients[0].nodes
    request = Request("h", login=(node.username, node.password))
    assert b"\x05pass\xff\x05pass\xff" in encode_request(request)


def test_so_may_a_login_that_a_hub_knows(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"pass\xff\n")
    settings = resolve(f"authers: [{{name: a, auths: [{{username: u, password: '{RAW % tmp_path}'}}]}}]")
    assert settings.hubs[0].authers[0].logins == (LoginRow("u", "pass\udcff"),)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"dialer": f", metadata: {{path: '/{RAW}'}}"}, "/raw: not UTF-8"),
        ({"dialer": f", tls: {{serverName: '{RAW}'}}"}, "/raw: not UTF-8"),
        (
            {"proxy": f"\n  - {{name: p, nodes: [{{name: m, addr: 'a:1', connector: {{type: socks5, auth: {{username: u, password: '{RAW}'}}}}, dialer: {{type: tcp}}}}]}}"},
            "a proxy's login that is not UTF-8",
        ),
    ],
    ids=["a path", "a name", "a proxy's login"],
)  # fmt: skip
def test_elsewhere_they_are_an_error_at_their_place(tmp_path: Path, parts: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_raw_bytes(tmp_path, **parts)
    assert re.search(rf"^f:\d+:\d+: .*{re.escape(why)}", str(caught.value), re.MULTILINE)


def test_a_client_s_login_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("user pass word\nignored\n")
    text = (
        "services: [{name: s, handler: {type: tun}, listener: {type: tun}, forwarder: {nodes: [{addr: h}]}}]\n"
        "chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: 'hub:1', dialer: {type: tcp},"
        f" connector: {{type: router, auth: {{file: '{tmp_path}/login'}}}}}}]}}]}}]"
    )
    settings = config_resolve.resolve(config_read.read([("f", text)]), config_secrets.read)
    (node,) = settings.clients[0].nodes
    assert (node.username, node.password) == ("user", "pass word")
    assert "pass word" not in repr(settings)


@pytest.mark.parametrize("stored", ["secret", HASH])
def test_passwords_are_compared_in_constant_time(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hmac.compare_digest, and by it alone: whatever it says is the result."""
    for says in (True, False):
        compared: list[bytes] = []

        def compare(a: bytes, b: bytes, says: bool = says, compared: list[bytes] = compared) -> bool:
            compared.extend((a, b))
            return says

        monkeypatch.setattr(auth_passwords, "compare_digest", compare)
        assert auth_passwords.matches(stored, "another") is says
        assert len(compared) == 2
        assert compared[0] != compared[1]

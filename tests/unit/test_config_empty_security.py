"""A value without which less is checked may not be empty: mostly it is a variable that is not set."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from lib import cli_main, config_from_urls, config_read, config_resolve, config_secrets
from lib.errors import ConfigError
from lib.settings import Settings

UNSET = "perhaps a variable that is not set"


def of_urls(listen: str, *forwards: str) -> Settings:
    return config_resolve.resolve(config_from_urls.read([listen], list(forwards)))


def of_text(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", text)]), config_secrets.read)


@pytest.mark.parametrize(
    "name",
    [
        "pin",
        "ca",
        "caFile",
        "tls.caFile",
        "cert",
        "certFile",
        "key",
        "keyFile",
        "tls.keyFile",
        "auth",
        "secure",
        "tls.secure",
        "serverName",
    ],
)
@pytest.mark.parametrize("value", ["", "%20", None], ids=["empty", "blank", "no value"])
def test_of_a_url_of_a_client(name: str, value: str | None) -> None:
    parameter = name if value is None else f"{name}={value}"
    with pytest.raises(ConfigError) as refused:
        of_urls("tun:///h?net=10.0.0.1/24", f"router+tls://hub:1?{parameter}")
    assert f"-F 1: {name!r} is empty: {UNSET}" in str(refused.value)


@pytest.mark.parametrize("name", ["auther", "ingress", "certHosts", "ca", "cert", "key", "auth"])
def test_of_a_url_of_a_hub(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of_urls(f"router+tls://:1?{name}=")
    assert f"-L 1: {name!r} is empty: {UNSET}" in str(refused.value)


@pytest.mark.parametrize("login", ["@", ":@", ":pass@"])
def test_a_login_of_a_url_without_a_name(login: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of_urls("tun:///h?net=10.0.0.1/24", f"router+tls://{login}hub:1?secure=true")
    assert f"-F 1: a login without a name: {UNSET}" in str(refused.value)


def test_other_parameters_may_be_empty() -> None:
    url = "router+wss://user:@hub:1?secure=true&path=&router.id="
    assert of_urls("tun:///h?net=10.0.0.1/24", url).clients[0].nodes[0].transport.tls.verify


HUB = "services: [{{name: s, addr: ':1', handler: {{type: router, {handler}}}, listener: {{type: tls{listener}}}}}]\nrouters: [{{name: r}}]\n"
CLIENT = (
    "services: [{{name: c, handler: {{type: tun, chain: c}}, listener: {{type: tun, metadata: {{net: 10.0.0.1/24}}}},"
    " forwarder: {{nodes: [{{name: n, addr: h}}]}}}}]\nchains: [{{name: c, hops: [{{name: h, nodes: [{{name: n, addr: 'x:1',"
    " connector: {{type: router{connector}}}, dialer: {{type: tls{dialer}}}}}]}}]}}]\n"
)


def hub(handler: str = "metadata: {router: r}", listener: str = "", more: str = "") -> str:
    return HUB.format(handler=handler, listener=listener) + more


def client(connector: str = "", dialer: str = "") -> str:
    return CLIENT.format(connector=connector, dialer=dialer)


def login(binding: str) -> str:
    auths = f"authers: [{{name: a, auths: [{{username: u, password: p, {binding}}}]}}]\n"
    return hub("auther: a, metadata: {router: r}", more=auths)


def rule(end: str) -> str:
    return hub().replace("{name: r}", f"{{name: r, acl: [{{action: allow, {end}}}]}}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (hub(listener=", tls: {certFile: ''}"), "certFile"),
        (hub(listener=", tls: {certFile: c, keyFile: ''}"), "keyFile"),
        (hub(listener=", tls: {caFile: }"), "caFile"),
        (hub("auther: '', metadata: {router: r}"), "auther"),
        (hub("metadata: {router: r, ingress: ''}"), "ingress"),
        (hub("metadata: {router: r, certHosts: ''}"), "certHosts"),
        (client(dialer=", metadata: {pin: ''}"), "pin"),
        (client(dialer=", metadata: {pin: }"), "pin"),
        (client(dialer=", tls: {caFile: '', secure: true}"), "caFile"),
        (client(connector=", auth: {username: '', password: p}"), "username"),
        (hub("auther: , metadata: {router: r}"), "auther"),
        (hub("auth: , metadata: {router: r}"), "auth"),
        (client(connector=", auth: "), "auth"),
        (hub(more="ingresses: [{name: i, plugin: {addr: 'x:1', token: ''}}]\n"), "token"),
        (hub(listener=", tls: {caFile: ' '}"), "caFile"),
        (hub("authers: [], metadata: {router: r}"), "authers"),
        (hub("authers: , metadata: {router: r}"), "authers"),
        (hub("metadata: {router: r}, auth: {file: ''}"), "file"),
        (client(connector=", auth: {username: ' ', password: p}"), "username"),
        (client(connector=", auth: {file: ''}"), "file"),
        (login("hosts: "), "hosts"),
        (login("hosts: []"), "hosts"),
        (login("namespaces: "), "namespaces"),
        (rule("from: ''"), "from"),
        (rule("to: "), "to"),
        (rule("protocol: ''"), "protocol"),
        (rule("protocol: tcp, port: ''"), "port"),
        (hub(more="user: ''\n"), "user"),
        (hub(more="user: \n"), "user"),
        (hub(more="metrics: {addr: ':9', auther: ''}\n"), "auther"),
    ],
)
def test_of_a_file(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of_text(text)
    assert [
        str(problem).partition(": ")[2] for problem in refused.value.problems if f"{key!r}" in problem.message
    ] == [f"{key!r} is empty; write a value, or leave the key out"]


REFERRED = {
    "pin": client(dialer=", metadata: {pin: 'VALUE'}"),
    "caFile": client(dialer=", tls: {caFile: 'VALUE'}"),
    "certFile": hub(listener=", tls: {certFile: 'VALUE', keyFile: k}"),
    "keyFile": hub(listener=", tls: {certFile: c, keyFile: 'VALUE'}"),
    "auther": hub("auther: 'VALUE', metadata: {router: r}"),
    "password of a client": client(connector=", auth: {username: u, password: 'VALUE'}"),
    "password of a hub": hub("metadata: {router: r}, auth: {username: u, password: 'VALUE'}"),
    "password of a login": login("hosts: [h], password: 'VALUE'").replace("password: p, ", ""),
    "password of the metrics": hub(more="metrics: {addr: ':9', auth: {username: u, password: 'VALUE'}}\n"),
}


@pytest.mark.parametrize("value", ["", "\n", "\r\n", "\n\n", " \n", "\t", "\ufeff\n"], ids=repr)
@pytest.mark.parametrize("what", REFERRED)
def test_a_reference_whose_value_is_empty(
    what: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file or the environment, in YAML: an empty secret, and one that is only a line end."""
    path = tmp_path / "secret"
    path.write_text(value, newline="")
    monkeypatch.setenv("TR_SECRET", value.replace("\ufeff", ""))
    for reference in (f"${{file:{path}}}", "${env:TR_SECRET}"):
        with pytest.raises(ConfigError) as refused:
            of_text(REFERRED[what].replace("VALUE", reference))
        assert f"{reference} is empty" in str(refused.value)


@pytest.mark.parametrize("value", ["", "\n", "\n\n"], ids=repr)
@pytest.mark.parametrize("url", ["u:{}@hub:1", "hub:1?pin={}", "hub:1?ca={}", "hub:1?cert={}&key=k"])
def test_a_reference_in_a_url_whose_value_is_empty(url: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(value)
    url = "router+tls://" + url.format(quote(f"${{file:{path}}}", ""))
    with pytest.raises(ConfigError) as refused:
        config_resolve.resolve(
            config_from_urls.read(["tun:///h?net=10.0.0.1/24"], [url]), config_secrets.read
        )
    assert f"${{file:{path}}} is empty" in str(refused.value)


def test_a_client_s_login_file_without_a_password(tmp_path: Path) -> None:
    path = tmp_path / "login"
    for text, why in (
        ("user\n", "no password after the user name on the first line"),
        ("\n", "no `user password` on the first line"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError) as refused:
            of_text(client(connector=f", auth: {{file: {path}}}"))
        assert why in str(refused.value)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_user_on_the_command_line_does_not_leave_root(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_main.main(["check", "-L", "router://:8443", "--user", name]) == 2
    assert "--user: it is empty" in capsys.readouterr().err


def test_two_logins_of_one_name() -> None:
    logins = (
        "authers:\n- name: a\n  auths:\n  - {username: u, password: old}\n  - {username: u, password: new}\n"
    )
    with pytest.raises(ConfigError) as refused:
        of_text(hub("auther: a, metadata: {router: r}", more=logins))
    (problem,) = refused.value.problems
    assert problem.message == "the login 'u' is there already, in line 6"
    assert problem.hint.startswith("for a new password without an outage write passwords: [OLD, NEW]")

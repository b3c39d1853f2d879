"""What is loaded before a process serves: everything that a function imports, by what the settings need."""

from __future__ import annotations

import ast
import dataclasses
import sys
import typing
from collections.abc import Iterator

import pytest

from lib import config_read, config_resolve, config_secrets, service_preload
from lib import settings as settings_module
from lib.errors import HostError
from lib.settings import Settings
from tests.support.configs import checked
from tests.support.lib_trees import lib_trees

MODULES = {module for modules in service_preload.NEEDED.values() for module in modules}
COMMANDS = ("cli_", "demo")
"""Modules that run for a person at a terminal, or before anything is served."""

NOTHING = "services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r}}}]\nrouters: [{name: r%s}]"
CLIENT = """\
services: [{name: s, handler: {type: tun, chain: c}, listener: {type: tun, metadata: {net: 10.0.0.1/24}},
  forwarder: {nodes: [{name: n, addr: h}]}}]
chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: 'x:1', connector: {type: router}, dialer: {type: %s}}]}]}]
"""


def settings(text: str) -> Settings:
    return config_resolve.resolve(checked(config_read.read([("f", text)])), config_secrets.read)


def needs(text: str) -> set[str]:
    return service_preload.needs(settings(text)) - {"any process"}


def _imports() -> Iterator[tuple[str, str]]:
    """(module, what a function in it imports) for every module that works while a process serves."""
    for path, tree in lib_trees("    import ", "    from "):
        if path.stem.startswith(COMMANDS):
            continue
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((path.stem, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield path.stem, str(node.module)


def test_every_import_in_a_function_is_loaded_before() -> None:
    """A new import in a function needs its module in service_preload.NEEDED."""
    found = list(_imports())
    assert len(found) > 30
    packages = {module.rpartition(".")[0] for module in MODULES}
    assert [pair for pair in found if pair[1] not in MODULES | packages] == []


def test_all_that_has_sources_or_a_plugin_is_looked_at() -> None:
    """A new class of settings with sources or a plugin belongs into service_preload._owners."""
    kinds = ("SourceSettings", "PluginSettings", "PluginSettings | None")
    found = {
        one
        for one in vars(settings_module).values()
        if dataclasses.is_dataclass(one) and any(field.type in kinds for field in dataclasses.fields(one))
    }
    assert found == set(typing.get_args(service_preload.Owner))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NOTHING % "", set()),
        (NOTHING % ", redis: {addr: '127.0.0.1:1', key: k}", {"a Redis"}),
        (
            (NOTHING % "").replace("type: router,", "type: router, auther: a,")
            + "\nauthers: [{name: a, auths: [{username: u, password: p}], bindings: {redis: {addr: 'x:1', key: k}}}]",
            {"a Redis"},
        ),
        (NOTHING % ", http: {url: 'http://127.0.0.1/'}", {"HTTP"}),
        (NOTHING % ", plugin: {type: http, addr: 'http://127.0.0.1/'}", {"HTTP"}),
        (NOTHING % ", plugin: {addr: '127.0.0.1:1'}", {"a plugin over gRPC"}),
        (f"{NOTHING % ''}\nmetrics: {{addr: ':9'}}", {"metrics"}),
        (
            f"{NOTHING % ''}\nlog: {{output: /tmp/x, rotation: {{maxSize: 1, compress: true}}}}",
            {"a log file"},
        ),
        (
            (NOTHING % "").replace(
                ":1'", ":1', listener: {type: ws}, handler: {type: router}}, {name: t, addr: ':2'"
            ),
            {"WebSocket"},
        ),
        (
            (NOTHING % "").replace("router: r}", "router: r, sd: d, entrypoint: '127.0.0.1:2'}")
            + "\nsds: [{name: d, plugin: {type: http, addr: 'http://127.0.0.1/'}}]",
            {"an entrypoint", "HTTP"},
        ),
        (
            "workers: 2\n"
            + (NOTHING % "").replace("router: r}", "router: r, sd: d, entrypoint: '127.0.0.1:2'}")
            + "\nsds: [{name: d, plugin: {type: http, addr: 'http://127.0.0.1/'}}]",
            {"an entrypoint of workers", "HTTP", "workers"},
        ),
        (
            (NOTHING % "").replace("router: r}", "router: r, sd: d}")
            + "\nsds: [{name: d, redis: {addr: '127.0.0.1:1'}}]"
            + f"\ncluster: {{name: a, link: {{listen: ':2', address: 'x:2', secret: {'s' * 43}}}}}",
            {"a cluster", "a Redis", "a certificate"},
        ),
        (
            (NOTHING % "").replace("router: r}", "router: r, sd: d}")
            + "\nsds: [{name: d, redis: {addr: '127.0.0.1:1', tls: {secure: true}}}]"
            + "\ncluster: {name: a, link: {listen: ':2', address: 'x:2', tls: {certFile: c.pem}}}",
            {"a cluster", "a Redis", "a Redis over TLS", "a certificate", "trust between hubs"},
        ),
        (CLIENT % "tcp", {"a client"}),
        (CLIENT.replace("/24", "/24, dns: 10.0.0.3") % "tcp", {"a client", "a client's names"}),
        (CLIENT % "wss", {"a client", "WebSocket", "a datagram channel"}),
    ],
)
def test_what_a_configuration_needs(text: str, expected: set[str]) -> None:
    assert needs(text) == expected


def test_what_is_needed_is_there_afterwards() -> None:
    service_preload.load(settings(NOTHING % ", plugin: {addr: '127.0.0.1:1'}"))
    assert {"h2.connection", "google.protobuf.descriptor_pb2"} <= set(sys.modules)
    service_preload.load_all()
    assert set(sys.modules) >= MODULES


@pytest.mark.parametrize("error", [ImportError("no file"), SystemExit("moved or deleted"), OSError("gone")])
def test_what_cannot_be_loaded_any_more_is_one_line(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload that needs a module whose file has gone changes nothing and says what to do."""

    def fail(module: str) -> None:
        raise error

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(HostError, match=f"^what any process needs cannot be loaded any more: {error}; start"):
        service_preload.load(Settings())

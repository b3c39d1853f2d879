"""The command line as a user meets it: what is printed where, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lib import __version__
from tests.support.program import EXAMPLES, run

DATA = Path(__file__).parent.parent / "data"
RECORDED = {
    tuple(case["argv"]): case["config"] for case in json.loads((DATA / "command_lines.json").read_text())
}
HUB = "10.77.1.1"
COMMANDS = [
    ("-L", "tun:///host-1?net=192.168.123.1/24", "-F", f"router://{HUB}:8443"),
    (
        *("-L", "tun:///host-1?net=192.168.123.1/24"),
        *("-F", f"router://{HUB}:8443?router.id=e87f56dd-fd57-4921-9ab8-a0847662daae"),
    ),
]
ROUTING = [
    pytest.param(argv, config, id=" ".join(argv))
    for argv, config in RECORDED.items()
    if config and "bogus" not in " ".join(argv)
]
"""What a real GOST made of command lines; an unknown scheme is an error here."""


@pytest.mark.parametrize("flag", ["-V", "--version", "-version"])
def test_version(flag: str) -> None:
    assert run(flag) == (0, f"tunrouter {__version__}\n")


@pytest.mark.parametrize("flag", ["-h", "--help", "-help"])
def test_help(flag: str) -> None:
    status, said = run(flag)
    assert status == 0
    for word in ("Usage:", "-L URL", "-F URL", "-C FILE", "-O FORMAT", "tunrouter check", "tunrouter demo"):
        assert word in said


@pytest.mark.parametrize(
    "arguments",
    [("--nonsense",), ("-L",), ("frobnicate",), ("check", "demo"), ("-X", "1")],
    ids=" ".join,
)
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    status, said = run(*arguments)
    assert status == 2
    assert said.startswith("error: ")
    assert "tunrouter --help" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("argv", "config"), ROUTING)
def test_json_as_gost_prints_it(argv: tuple[str, ...], config: object) -> None:
    status, said = run(*argv, "-O", "json")
    assert status == 0
    assert json.loads(said) == config


@pytest.mark.parametrize("command", COMMANDS, ids=["plain", "with router.id"])
def test_printed_configuration_is_one(command: tuple[str, ...], tmp_path: Path) -> None:
    """What -O prints, as YAML or JSON, means the same when it is read again."""
    printed = {}
    for style, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        status, said = run(*command, "-O", style)
        assert status == 0
        path = tmp_path / f"printed.{style}"
        path.write_text(said)
        assert run("-C", str(path), "-O", style) == (0, said)
        assert run("check", "-C", str(path))[0] == 0
        printed[style] = load(said)
    assert printed["json"] == printed["yaml"]
    (service,) = printed["json"]["services"]
    assert service["forwarder"]["nodes"][0]["addr"] == "host-1"


def test_several_files_are_one_configuration(tmp_path: Path) -> None:
    client = tmp_path / "client.yml"
    client.write_text((EXAMPLES / "client.yml").read_text().replace("service-0", "service-1"))
    status, said = run("-C", str(EXAMPLES / "server.yml"), "-C", str(client), "-O", "json")
    assert status == 0
    assert [service["name"] for service in json.loads(said)["services"]] == ["service-0", "service-1"]


def test_inline_configuration() -> None:
    status, said = run(
        "-C", '{"services": [{"name": "a", "addr": ":1", "handler": {"type": "router"}}]}', "-O", "json"
    )
    assert status == 0
    assert json.loads(said)["services"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-L", "rooter://:8443"), "-L 1: unknown scheme 'rooter'"),
        (("-O", "xml", "-L", "router://:1"), "-O: unknown format 'xml'; write yaml or json"),
        (("-C", "nowhere.yml"), "nowhere.yml: No such file or directory"),
        (("-L", "router://:8443?sourceChek=off"), "did you mean 'sourceCheck'?"),
        (("-L", "router://:8443", "-L", "router://:8443"), "would listen where"),
        (("-L", "tun:///host-1?net=192.168.123.1/24"), "error: -L 1"),
        (("-L", "tun://:8421/10.0.0.1:8421?net=192.168.123.1/24", "-F", "router://h:1"), "UDP peer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_configuration_error(arguments: tuple[str, ...], told: str) -> None:
    status, said = run(*arguments)
    assert status == 2
    assert told in said
    lines = said.splitlines()
    assert all(line.startswith(("error: ", "warning: ")) for line in lines)
    assert lines[-1].startswith("error: "), "errors come last, where they are seen"


def test_file_error_has_its_place_and_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "server.yml"
    path.write_text((EXAMPLES / "server.yml").read_text().replace("gateway: host-2", "gatway: host-2", 1))
    status, said = run("-C", str(path))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "gatway" in text)
    assert status == 2
    assert f"error: {path}:{line}:9: " in said
    assert "did you mean 'gateway'?" in said


def test_every_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "server.yml"
    text = (EXAMPLES / "server.yml").read_text()
    path.write_text(
        text.replace("router: router-0", "router: router-1").replace("192.168.200.0/24", "192.168.200.0/44")
    )
    status, said = run("-C", str(path))
    assert status == 2
    assert "did you mean 'router-0'?" in said
    assert "192.168.200.0/44" in said
    assert said.count("error: ") == 2


# --- check --json and lint -------------------------------------------------------------------------


def test_check_for_machines(write: Callable[[str, str], str]) -> None:
    status, said = run("check", "--json", "-C", str(EXAMPLES / "server.yml"))
    whole = json.loads(said)
    assert (status, whole["ok"], whole["namespaces"][0]["hosts"]) == (0, True, ["host-1", "host-2"])
    status, said = run("check", "--json", "-C", write("bad.yml", "services:\n- nme: s\n"))
    (problem, *_) = json.loads(said)["problems"]
    assert (status, problem["line"], problem["column"]) == (2, 2, 3)
    assert "did you mean 'name'?" in problem["hint"]


def test_check_in_plain_words() -> None:
    status, said = run("check", "-C", str(EXAMPLES / "server.yml"))
    assert status == 0
    assert "        192.168.200.0/24 goes to host-2\n" in said
    assert "        host-1, host-2 reach each other\n" in said


def test_lint(write: Callable[[str, str], str]) -> None:
    clean = str(EXAMPLES / "server.yml")
    assert run("lint", clean) == (0, "no mistake that GOST accepts without a word\n")
    dirty = write("dirty.yml", "authers: [{name: a, auths: [{username: u}]}]\nmystery: 1\n")
    status, said = run("lint", dirty, clean)
    assert status == 1
    assert "dirty.yml:1:40: 'u' has no password: GOST lets any password in" in said
    assert "dirty.yml:2:1: unknown key 'mystery'" in said
    assert said.endswith("2 findings\n")
    status, said = run("lint", "--json", dirty)
    assert (status, len(json.loads(said)["problems"])) == (1, 2)
    assert run("lint", "/no/such/file")[0] == 2

"""The environment: what is read is documented, and nothing else reaches a library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from lib import config_secrets, service_environment
from tests.support.lib_trees import lib_trees
from tests.support.netns import ROOT

NAMES = {name for names, _ in service_environment.READ for name in names}
UNPACK = ROOT / "packaging" / "bootloader" / "tunrouter_unpack.c"


@pytest.fixture(autouse=True)
def nothing_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_environment, "_aside", {})
    monkeypatch.setattr(service_environment, "_lent", set())


def test_the_bootloader_lets_the_same_variables_through() -> None:
    table = re.search(r"\bREAD\[\] = \{(.*?)\}", UNPACK.read_text(), re.DOTALL)
    assert table
    assert set(re.findall(r'"(\S+?)"', table[1])) == NAMES
    assert f'SET_ASIDE "{service_environment.SET_ASIDE}"' in UNPACK.read_text()


def _read_variables() -> Iterator[tuple[str, str]]:
    """(module, name) of every variable that lib reads by a name in its source."""
    for path, tree in lib_trees("environ"):
        for node in ast.walk(tree):
            name: ast.expr | None = None
            if isinstance(node, ast.Call) and node.args and "environ" in ast.unparse(node.func):
                name = node.args[0]
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                name = node.slice
            if (
                isinstance(name, ast.Constant)
                and isinstance(name.value, str)
                and path.stem
                not in (
                    "metrics_server",
                    "api_app",
                    "api_bodies",
                    "api_server",
                )  # whose environ is that of a request
            ):
                yield path.stem, name.value


def test_every_variable_that_is_read_is_documented() -> None:
    found = list(_read_variables())
    assert len(found) > 8
    assert [pair for pair in found if pair[1] not in NAMES] == []


def test_the_guide_has_every_variable() -> None:
    guide = (ROOT / "packaging" / "docs" / "guide.md").read_text()
    for names, about in service_environment.READ:
        assert f"| {', '.join(f'`{name}`' for name in names)} | {about} |\n" in guide


def test_all_others_are_set_aside() -> None:
    environ = {
        "HOME": "/root",
        "GEVENT_LOOP": "nonsense",
        "PURE_PYTHON": "1",
        "https_proxy": "x",
        "GOST_API": ":1",
    }
    service_environment.set_aside(environ, loaded=False)
    assert environ == {"HOME": "/root", "GOST_API": ":1"}
    assert service_environment.value("PURE_PYTHON", environ) == "1"
    assert service_environment.value("HOME", environ) == "/root"
    assert service_environment.value("OTHER", environ) is None
    assert service_environment.whole(environ)["GEVENT_LOOP"] == "nonsense"


def test_the_bootloader_s_own_are_forgotten() -> None:
    environ = {
        "TUNROUTER_CALLER_LD_PRELOAD": "/x",
        "LD_LIBRARY_PATH": "/tmp/_MEI",
        "_PYI_X": "1",
        "TERM": "xterm",
    }
    service_environment.set_aside(environ, loaded=True)
    assert environ == {"TERM": "xterm"}
    assert service_environment.whole(environ) == {"TERM": "xterm", "LD_PRELOAD": "/x"}


def test_a_configuration_may_refer_to_any_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"SITE_2": "secret"}
    service_environment.set_aside(environ, loaded=False)
    assert config_secrets.read("env", "SITE_2") == "secret"
    monkeypatch.delenv("SITE_3", raising=False)
    with pytest.raises(ValueError, match="SITE_3 is not set"):
        config_secrets.read("env", "SITE_3")


def test_another_process_lends_its_variables_until_the_next_one_does() -> None:
    set_aside = {"OURS": "1", "PATH": "/bin"}
    service_environment.set_aside(set_aside, loaded=False)
    for lent, found in (({"A": "a", "OURS": "2"}, "a"), ({"TUNROUTER_CALLER_B": "b"}, None)):
        service_environment.lend(lent)
        assert service_environment.value("A", {}) == found
        assert service_environment.value("OURS", {}) == "1"
    assert service_environment.value("B", {}) == "b"

"""What `check` says of a list of enrolled hosts that nobody could be added to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import config_check_enrol, config_read, config_resolve, enrol_book
from lib.config_findings import Findings
from lib.enrol_book import Book
from lib.settings_sources import RedisSource

CONFIG = """\
services:
- name: s
  addr: :8443
  handler: {{type: router, metadata: {{router: r, enrol: {enrol}}}}}
  listener: {{type: tls}}
routers: [{{name: r, routes: []}}]
user: {user}
"""


def warned(enrol: str, user: str = "") -> list[str]:
    config = config_read.read(
        [("f", CONFIG.format(enrol=enrol, user=user or '""').replace('user: ""\n', ""))]
    )
    settings, found = config_resolve.resolve(config), Findings()
    config_check_enrol.look(config, settings, found)
    assert all(problem.where.line == 4 for problem in found.warnings), "its place in the file"
    return [str(problem) for problem in found.warnings]


def test_a_list_that_is_not_there_yet_and_one_that_is(tmp_path: Path) -> None:
    assert warned(str(tmp_path / "state" / "hosts")) == []
    (tmp_path / "hosts").write_bytes(enrol_book.dump(Book(bytes(8))))
    assert warned(str(tmp_path / "hosts")) == []
    (tmp_path / "hosts").write_bytes(b"\n")
    assert warned(str(tmp_path / "hosts")) == []
    assert warned("{redis: {addr: 127.0.0.1}}") == [], "a check connects to nothing"


def no_directory(path: Path) -> None:
    path.parent.write_text("a file")


def a_directory(path: Path) -> None:
    path.mkdir(parents=True)


def no_list(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("192.168.1.0/24 host-1\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_directory, "Not a directory"),
        (a_directory, "is a directory"),
        (no_list, "it is no list of enrolled hosts"),
    ],
)
def test_what_is_warned_of(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "state" / "hosts"
    make(path)
    (line,) = warned(str(path))
    assert words in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_the_user_that_the_process_becomes_has_to_write_it(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    (line,) = warned(str(tmp_path / "state" / "hosts"), "nobody")
    assert (
        f"user nobody may not write to {tmp_path}/state; the list of enrolled hosts is written there" in line
    )
    (tmp_path / "state").chmod(0o777)
    assert warned(str(tmp_path / "state" / "hosts"), "nobody") == []


@pytest.mark.parametrize(
    ("enrol", "words"),
    [
        ("/var/lib/", "'/var/lib/' is no path of a file"),
        ("[a]", "'enrol' wants a path, or {redis: {addr: HOST:PORT}}"),
        ("{file: {path: a}}", "'enrol' wants a path"),
        ("{redis: here}", "'enrol' wants a path"),
        ("{redis: {adr: a}}", "unknown key 'adr' in a redis section; did you mean 'addr'?"),
        ("{redis: {addr: a, db: x}}", "'db': "),
        ("{redis: {addr: a, type: list}}", "redis type 'list' cannot hold this"),
        ("{redis: {addr: a, sentinel: {addrs: a, master: m}}}", "'addr' and 'sentinel'"),
        ('""', "'enrol' is empty"),
    ],
)
def test_what_is_no_place_of_a_list(enrol: str, words: str) -> None:
    with pytest.raises(Exception, match=r"\w") as raised:
        warned(enrol)
    assert words in str(raised.value)


def test_a_redis() -> None:
    text = CONFIG.format(
        enrol="{redis: {addr: db:1, db: 2, username: u, password: p, key: k}}", user="nobody"
    )
    (hub,) = config_resolve.resolve(config_read.read([("f", text)])).hubs
    assert hub.enrol == RedisSource("db:1", 2, "u", "p", "k", "hash")
    text = text.replace(", db: 2, username: u, password: p, key: k", "")
    assert config_resolve.resolve(config_read.read([("f", text)])).hubs[0].enrol == RedisSource(
        "db:1", key="tunrouter:hosts"
    )

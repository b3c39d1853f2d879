"""Rows of ingresses and authers out of a text, and its bad lines: told alike whoever reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import config_check, rule_parse
from lib.auth_bindings import Binding
from lib.errors import Position, Problem
from lib.route_loader import LoadReport, RouteLoader
from lib.route_table import RouteTable
from lib.settings import TableSettings
from lib.settings_sources import FileSource, SourceSettings
from lib.source_bad_lines import MAX_REPORTED, BadLines

UUID = "e87f56dd-fd57-4921-9ab8-a0847662daae"


def expected(name: str, why: str, first: int, count: int) -> list[Problem]:
    told = [
        Problem(Position(name, first + n, 1), f"{why}; the line is left out")
        for n in range(min(count, MAX_REPORTED))
    ]
    more = count - len(told)
    return [*told, *([Problem(Position(name), f"{more} more bad lines are left out")] if more else [])]


def test_rows_and_then_what_is_wrong() -> None:
    text = f"a {UUID}\n\n# nothing\nb\nc {UUID} # more\n".encode()
    assert list(rule_parse.rows(text, "f", rule_parse.ingress_row)) == [
        ("a", UUID),
        ("c", UUID),
        *expected("f", "not `hostname endpoint`", 4, 1),
    ]


def test_files_joined_to_one_have_marks_in_the_middle() -> None:
    text = "\ufeffuser one\r\n\ufeff# nobody\r\n\ufeffother two words \r\n".encode()
    assert list(rule_parse.rows(text, "f", rule_parse.auther_row)) == [
        ("user", "one"),
        ("other", "two words"),
    ]


NS = bytes.fromhex(UUID.replace("-", ""))


@pytest.mark.parametrize(
    ("line", "binding"),
    [
        ("u host-1", Binding("u", ("host-1",))),
        ("u\thost-1,*.site-1,.x  *", Binding("u", ("host-1", "*.site-1", ".x"))),
        (f"u * {UUID}", Binding("u", (), (NS,))),
        (f"u host-1 {UUID},{UUID.upper()} # both", Binding("u", ("host-1",), (NS, NS))),
        ("u *", Binding("u")),
        ("a#b host#1 # more", Binding("a#b", ("host#1",))),
        ("# u host-1", None),
        (" \r", None),
    ],
)
def test_a_row_of_bindings(line: str, binding: Binding | None) -> None:
    assert rule_parse.binding_row(line) == binding


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("u", "not `name hosts [namespaces]`"),
        ("u # host-1", "not `name hosts [namespaces]`"),
        (f"u host-1 {UUID} more", "not `name hosts [namespaces]`"),
        ("u host-1 host-2", "the namespace 'host-2' is no UUID"),
        ("u host-1,", "no host can go by this name: ''"),
        ("u host-1,*", "'*' stands for all, and so for itself"),
        ("u *,host-1", "'*' stands for all, and so for itself"),
        (f"u host-1 {UUID},*", "'*' stands for all, and so for itself"),
        ("u host\0one", "not `name hosts"),
        ("u host\x1b", "no host can go by this name"),
    ],
)
def test_a_row_of_bindings_that_is_not_understood_permits_nothing(line: str, why: str) -> None:
    (problem,) = rule_parse.rows(line.encode(), "f", rule_parse.binding_row)
    assert isinstance(problem, Problem)
    assert (str(problem.where), problem.message.startswith(why)) == ("f:1:1", True)


def test_logins_that_count_and_let_nobody_in_are_told_of() -> None:
    text = b"alone\nhashed $scrypt$x\nu old\nu new\n"
    bad = BadLines()
    assert list(rule_parse.rows(text, "f", rule_parse.auther_row, bad)) == [
        ("alone", ""),
        ("hashed", "$scrypt$x"),
        ("u", "old"),
        ("u", "new"),
        *(
            Problem(Position("f", number, 1), why)
            for number, why in (
                (1, "'alone' has no password and is not let in"),
                (2, "'hashed' is not let in: not a hash as `tunrouter hash` prints it"),
                (4, "'u' is in line 3 already; only the last password of a name counts"),
            )
        ),
    ]
    assert bad.count == 3


def test_bad_lines_are_told_alike_by_all_who_read(tmp_path: Path) -> None:
    for count in (MAX_REPORTED, MAX_REPORTED + 3):
        path = tmp_path / "rows"
        path.write_bytes(b"good " + UUID.encode() + b"\n" + b"bad\n" * count)
        found = rule_parse.rows(path.read_bytes(), str(path), rule_parse.ingress_row)
        wrong = expected(str(path), "not `hostname endpoint`", 2, count)
        assert [row for row in found if isinstance(row, Problem)] == wrong

        path.write_bytes(b"10.0.0.0/8 good\n" + b"bad\n" * count)
        wrong = expected(str(path), "a route without a gateway", 2, count)
        table = TableSettings("r", more=SourceSettings((FileSource(str(path)),)))
        assert list(config_check._table(table, {})) == wrong
        assert list(load(path).warnings) == wrong


def load(path: Path) -> LoadReport:
    steps = RouteLoader(RouteTable()).source(1, path.read_bytes(), str(path))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            report: LoadReport = end.value
            return report

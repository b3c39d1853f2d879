"""Words that a user reads: one thing is never `1 things`, and who names a wrong hub is told the right ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import ctl_filter
from lib.humanize import counted, plain

LIB = Path(__file__).parents[2] / "lib"

RIGHT = {
    "capture_fate.py": 1,  # where there are several
    "cli_capture.py": 1,  # a superpacket has several packets
    "cli_progress.py": 1,  # only big tables have a bar
    "ctl_sessions.py": 1,  # where there are several
    "log_setup.py": 1,  # once is said otherwise
    "prefixes.py": 1,  # more than are shown one by one
    "route_live.py": 1,  # +1 ~0 -2 routes
    "service_notify.py": 1,  # one hub is said otherwise
}
"""Files with as many places that look wrong and are right."""
THINGS = frozenset(
    [
        "bad",
        "client",
        "clients",
        "connection",
        "connections",
        "destinations",
        "finding",
        "findings",
        "gateways",
        "handshakes",
        "hits",
        "hosts",
        "hubs",
        "lines",
        "logins",
        "names",
        "namespaces",
        "nodes",
        "packet",
        "packets",
        "peers",
        "prefixes",
        "problems",
        "routes",
        "rows",
        "rules",
        "servers",
        "services",
        "sessions",
        "sources",
        "tables",
        "times",
        "warnings",
    ]
)


def counts_with_a_plural(source: str) -> Iterator[int]:
    """The lines of f-strings in which a value, or `value more`, comes right before a word of THINGS."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:], strict=False):
                if not isinstance(value, ast.FormattedValue) or _is_fixed(value.value):
                    continue
                if isinstance(after, ast.Constant) and str(after.value).startswith(" "):
                    words = str(after.value).replace(",", " ").replace(";", " ").replace(":", " ").split()
                    if words[:1] == ["more"]:
                        del words[0]
                    if words and words[0] in THINGS and words[0].endswith("s") and _is_count(value.value):
                        yield node.lineno


def _is_fixed(value: ast.expr) -> bool:
    """Whether this is a constant, whose number is known (MAX_ROWS rows)."""
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    return bool(name) and name.isupper()


def _is_count(value: ast.expr) -> bool:
    """Whether a value seems to be a number: a length, a difference, a count, a formatted number."""
    text = ast.unparse(value)
    return any(
        word in text for word in ("len(", "count", "number", "more", "total", "hits", "written", "lost", "-")
    )


def test_one_thing_is_not_told_of_as_several() -> None:
    found = {
        path.name: list(counts_with_a_plural(path.read_text(encoding="utf-8"))) for path in LIB.glob("*.py")
    }
    wrong = {name: lines for name, lines in found.items() if len(lines) != RIGHT.get(name, 0)}
    assert wrong == {}, "write counted(number, 'thing') in these lines (lib/humanize.py)"


def test_such_a_place_would_be_found() -> None:
    assert list(
        counts_with_a_plural('f"{len(rows)} rows"\nf"and {count - 3} more lines"\nf"{MAX_ROWS} rows"')
    ) == [1, 2]
    assert [counted(1, "row"), counted(0, "row"), counted(2000, "row")] == ["1 row", "0 rows", "2,000 rows"]
    assert [plain(1, "row"), plain(0, "row"), plain(2000, "row")] == ["1 row", "0 rows", "2000 rows"]


@pytest.mark.parametrize(
    ("name", "hubs", "said"),
    [
        ("hbu", ["hub", "other"], "there is no hub 'hbu'; did you mean 'hub'?"),
        ("nothing", ["hub", "other"], "there is no hub 'nothing'; --service can be hub, other"),
        ("", ["hub", "other"], "name one with --service: hub, other"),
        ("x", [], "there is no hub here, only clients"),
        (
            "",
            [f"h{n}" for n in range(13)],
            "name one with --service: h0, h1, h2, h3, h4, h5, h6, h7, h8, h9 and 3 more",
        ),
    ],
)
def test_who_names_no_hub_is_told_which_there_are(name: str, hubs: list[str], said: str) -> None:
    assert ctl_filter.which_hub(name, hubs) == said

"""What `check` says of the files a configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import config_check, config_read, config_resolve, source_bad_lines

HUB = """services:
- {name: s, addr: ':1', handler: {type: router, auther: a, metadata: {router: r, ingress: i}}, listener: {type: tcp}}
"""
NS1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"


def said(tmp_path: Path, routes: str = "", rules: str = "", logins: str = "", compat: str = "") -> list[str]:
    """What is said of three files, without their directory."""
    text = HUB
    for kind, name, content in (
        ("routers", "r", routes),
        ("ingresses", "i", rules),
        ("authers", "a", logins),
    ):
        (tmp_path / f"{name}.txt").write_text(content)
        more = f"{compat}, routes: [{{dst: 10.0.0.0/8, gateway: inline}}]" if kind == "routers" else ""
        text += f"{kind}: [{{name: {name}{more}, file: {{path: {tmp_path}/{name}.txt}}}}]\n"
    settings = config_resolve.resolve(config_read.read([("f", text)]))
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in config_check.warnings(settings)]


def test_good_files_are_not_talked_about(tmp_path: Path) -> None:
    assert said(tmp_path, "11.0.0.0/8 a\n10.0.0.0/8 b\n", f"h {NS1}\n", "user pass\n# no\n") == []


def test_bad_lines_in_each(tmp_path: Path) -> None:
    assert said(tmp_path, "nonsense a\n", "h\n\nh x\n") == [
        "r.txt:1:1: not an address or CIDR: 'nonsense'; the line is left out",
        "i.txt:1:1: not `hostname endpoint`; the line is left out",
        "i.txt:3:1: the endpoint 'x' is no UUID; the line is left out",
    ]


@pytest.mark.parametrize("compat", ["", ", compat: first-match"])
def test_where_gost_would_decide_otherwise(tmp_path: Path, compat: str) -> None:
    told = said(tmp_path, "10.1.0.0/16 a\n10.1.1.0/24 inline\n", compat=compat)
    first = "r.txt:1:1: router r: 10.1.0.0/16 goes to a, the longest prefix; GOST takes the first match, 10.0.0.0/8"
    assert told == ([] if compat else [f"{first} to inline"])


def test_many_are_counted(tmp_path: Path) -> None:
    told = said(tmp_path, "x y\n" * (source_bad_lines.MAX_REPORTED + 3))
    assert len(told) == source_bad_lines.MAX_REPORTED + 1
    assert told[-1] == "r.txt: 3 more bad lines are left out"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    text = (
        HUB.replace(", auther: a", "").replace(", ingress: i", "")
        + "routers: [{name: r, file: {path: /no/such}}]"
    )
    settings = config_resolve.resolve(config_read.read([("f", text)]))
    assert list(map(str, config_check.warnings(settings))) == ["/no/such: No such file or directory"]

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
    return [said.removeprefix(f"{tmp_path}/") for said in warnings(text)]


def warnings(text: str) -> list[str]:
    """What is said of the files that a configuration names."""
    config = config_read.read([("f", text)])
    return list(map(str, config_check.warnings(config_resolve.resolve(config), config)))


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


@pytest.mark.parametrize(
    ("path", "why"), [("/no/such", "No such file or directory"), ("/etc", "Is a directory")], ids=str
)
def test_a_file_that_cannot_be_read_is_told_of_where_the_configuration_names_it(path: str, why: str) -> None:
    text = (
        HUB.replace(", auther: a", "").replace(", ingress: i", "")
        + f"routers:\n- name: r\n  file: {{path: {path}}}\n"
    )
    assert warnings(text) == [f"f:5:16: {path}: {why}"]


def test_logins_in_a_file_that_let_nobody_in(tmp_path: Path) -> None:
    broken = "$scrypt$ln=14,r=8,p=1$nonsense"
    assert said(tmp_path, logins=f"# no\nanna pw\nbert\ncarl {broken}\nanna other\n") == [
        "a.txt:3:1: 'bert' has no password and is not let in",
        "a.txt:4:1: 'carl' is not let in: not a hash as `tunrouter hash` prints it",
        "a.txt:5:1: 'anna' is in line 2 already; only the last password of a name counts",
    ]


def test_logins_for_metrics_are_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("anna\n")
    text = (
        HUB.replace(", auther: a, metadata: {router: r, ingress: i}", "")
        + f"authers: [{{name: a, file: {{path: {tmp_path}/a.txt}}}}]\n"
        + "metrics: {addr: '127.0.0.1:9000', auther: a}\n"
    )
    assert warnings(text) == [f"{tmp_path}/a.txt:1:1: 'anna' has no password and is not let in"]


def test_logins_without_a_binding_and_bindings_without_a_login(tmp_path: Path) -> None:
    logins, bindings = tmp_path / "logins", tmp_path / "bindings"
    logins.write_text("one p\ntwo p\nthree p\n")
    bindings.write_text("one host-1\ntow host-2\nthree host-3 none\n")
    inline = "auths: [{username: bound, password: p, hosts: [h]}, {username: free, password: p}]"
    sources = f"file: {{path: {logins}}}, bindings: {{file: {{path: {bindings}}}}}"
    text = HUB.replace(", ingress: i", "") + "routers: [{name: r}]\n"
    assert warnings(f"{text}authers: [{{name: a, {inline}, {sources}}}]\n") == [
        f"{bindings}:3:1: the namespace 'none' is no UUID; the line is left out",
        f"{bindings}: auther a: no binding, and so not let in: 'free', 'two', 'three'",
        f"{bindings}: auther a: a binding, but no login: 'tow'",
    ]
    logins.unlink()  # then nobody can say
    assert len(warnings(f"{text}authers: [{{name: a, {inline}, {sources}}}]\n")) == 2

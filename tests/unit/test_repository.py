"""The repository's frame: what is tracked, what is pinned, what every file of lib/ starts with."""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from lib import __version__

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "lib").glob("*.py"))
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.]+)")

MOST_LINES = 400
"""One concept a file."""

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(work|root|farm)/\w")
"""A path that only one machine has."""

NAMED_FILE = re.compile(
    r"(?<![\w/.$~*}>=:-])((?:\.\./)*(?:[\w.-]+/)*[\w-][\w.-]*\.(?:md|py|sh|c))\b(?![\w/(])"
)
NAMED_PLACE = re.compile(r"(?<![\w/.$~-])((?:lib|tests|packaging)/[\w./-]*\w)")
OUTSIDE = re.compile(r"(?<![\w/.])(?:\.\./)+[\w.-]*|\bROOT\.parent\b")
"""What may lead out of the clone."""
MAYBE_COMMENT = re.compile("#.*")
"""Every comment of a Python file, and what only looks like one."""
ELSEWHERE = frozenset({"grpc/doc/PROTOCOL-HTTP2.md"})
"""Files of others' repositories that are named as sources."""
HISTORY = frozenset({"CHANGELOG.md", "tests/bench/RESULTS.md"})
"""They tell of what was: what they name may have another name by now."""


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(("git", "-C", str(ROOT), *arguments), capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def _pins(name: str) -> dict[str, str]:
    """Package -> version of a requirements file; fails on a line that pins nothing."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith("-r ")]
    found = [PIN.fullmatch(line) for line in wanted]
    assert all(found), f"{name}: not pinned: {[w for w, f in zip(wanted, found, strict=True) if not f]}"
    return {pin["name"]: pin["version"] for pin in found if pin}


@pytest.mark.parametrize("path", ["lib/errors.py", "build/.gitignore", "packaging/tunrouter.spec"])
def test_git_does_not_ignore(path: str) -> None:
    assert _git("check-ignore", "--no-index", path) == []


@pytest.mark.parametrize("path", [".venv/bin/python", "build/dist/tunrouter", "lib/__pycache__/x.pyc"])
def test_git_ignores(path: str) -> None:
    assert _git("check-ignore", "--no-index", path) == [path]


def test_no_path_of_one_machine() -> None:
    files = [ROOT / name for name in _git("ls-files", "--cached", "--others", "--exclude-standard")]
    texts = {file: file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()}
    assert texts, "git lists no file"
    assert not [file.name for file, text in texts.items() if MACHINE_PATH.search(text)]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt"])
def test_requirements_are_pinned(name: str) -> None:
    assert _pins(name)


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in .venv: make test")
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_what_runs_is_what_is_pinned(name: str) -> None:
    pins = _pins(name)
    assert {package: version(package) for package in pins} == pins


def test_nothing_is_described_for_installing() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "project" not in told
    assert "setuptools" not in told["tool"]
    assert not (ROOT / "setup.py").exists()
    assert not (ROOT / "setup.cfg").exists()


@pytest.mark.parametrize("how", ["install", "wheel"])
def test_pip_installs_nothing_and_says_what_to_do_instead(how: str, tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "site"
    (tree / "packaging").mkdir(parents=True)
    for name in ("pyproject.toml", "tunrouter.py", "packaging/not_by_pip.py"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "lib", tree / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    where = "--target" if how == "install" else "--wheel-dir"
    pip = [sys.executable, "-m", "pip", how, "--no-index", "--disable-pip-version-check", where, str(target)]
    done = subprocess.run([*pip, str(tree)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "pip does not install tunrouter. Take the executable" in done.stdout + done.stderr
    assert not target.exists() or not list(target.iterdir())


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_says_what_it_knows_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring at the top"
    assert text.count("\n") <= MOST_LINES


# --- what is named is there --------------------------------------------------------------------------


@cache
def tracked() -> frozenset[str]:
    """Every file of a clone, and every folder, from the clone's root."""
    files = _git("ls-files", "--cached", "--others", "--exclude-standard")
    return frozenset(files) | {str(folder) for name in files for folder in Path(name).parents}


@cache
def file_names() -> frozenset[str]:
    """The last parts of those."""
    return frozenset(Path(path).name for path in tracked())


def speaking() -> list[str]:
    """The files that may name others: everything but data."""
    endings = {".md", ".py", ".sh", ".c", ".h", ".yml", ".yaml", ".toml", ".txt", ".service", ""}
    return sorted(
        name for name in tracked()
        if Path(name).suffix in endings and (ROOT / name).is_file() and not name.startswith("tests/fuzz/c")
    )  # fmt: skip


def docstrings(text: str) -> list[str]:
    """Of a Python file."""
    return [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]  # fmt: skip


def comments(text: str) -> list[str]:
    """Of a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def not_there(name: str, text: str) -> list[str]:
    """What a file names that a clone has not: papers and sources, places in lib/, tests/ and packaging/, places outside.

    Of a Python file docstrings and comments count, of others all of it.
    """

    def is_there(named: str) -> bool:
        known = (os.path.normpath(path) for path in (named, Path(name).parent / named, f"{named}.py"))
        return named in ELSEWHERE or any(path in tracked() for path in known)

    def missing(said: str) -> list[str]:
        files = [found for found in NAMED_FILE.findall(said) if "/" in found or found.endswith(".md")]
        found = [one for one in files if not is_there(one) and one not in file_names()]
        return found + [one for one in NAMED_PLACE.findall(said) if not is_there(one)]

    outside = [found for found in OUTSIDE.findall(text) if found == "ROOT.parent" or not is_there(found)]
    if not name.endswith(".py"):
        return missing(text) + outside
    said = docstrings(text)
    if not missing("\n".join([*said, *MAYBE_COMMENT.findall(text)])):
        return outside  # the tokenizer takes a second for 10,000 lines
    return missing("\n".join([*said, *comments(text)])) + outside


def test_no_file_names_one_that_a_clone_has_not() -> None:
    assert "PROTOCOL.md" in tracked()
    assert "lib/wire_relay.py" in speaking()
    missing = {
        name: found
        for name in speaking()
        if name not in HISTORY | {"tests/unit/test_repository.py"}
        and (found := not_there(name, (ROOT / name).read_text(encoding="utf-8")))
    }
    assert missing == {}


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        ("lib/x.py", '"""A codec (NOTES.md, Plugins)."""', ["NOTES.md"]),
        ("lib/x.py", "x = 1  # see other/examples/README-2.md", ["other/examples/README-2.md"]),
        ("lib/x.py", '"""As tests/unit/test_nothing.py says."""', ["tests/unit/test_nothing.py"] * 2),
        ("tests/bench/x.py", 'SHARED = ROOT.parent / "else"', ["ROOT.parent"]),
        (".ci/run", "../else/peers/get.sh", ["../else/peers/get.sh", "../else"]),
        ("tests/bench/README.md", "--parent ../../../before", ["../../../before"]),
        ("lib/x.py", '"""PROTOCOL.md, lib/wire_relay.py, lib/wire_relay and tests/bench."""', []),
        ("packaging/docs/guide.md", "[SECURITY.md](../../SECURITY.md)", []),
        ("lib/x.py", 'open("made/at/run.py")', []),
        ("lib/x.py", '"""linux/if_tun.h, /etc/tunrouter/x.md, ~/notes.md"""', []),
    ],
)  # fmt: skip
def test_what_a_clone_has_not_is_found(name: str, text: str, missing: list[str]) -> None:
    assert not_there(name, text) == missing

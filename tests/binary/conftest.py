"""What the tests of the executable share: the executable, a Debian root to run it in, the table of figures.

`make binary-check` runs them: TUNROUTER_BIN names the executable, tests.support.program starts it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.debian import kept_root
from tests.support.netns import ROOT

os.environ.setdefault("TUNROUTER_BIN", str(ROOT / "build" / "dist" / "tunrouter"))

from tests.support import program

assert program.BINARY, "tests.support.program was imported before: the checkout would be tested"

INSIDE = "/mnt"
"""Where the executable's directory is in the root."""

FIGURES: list[tuple[str, str, str, bool]] = []
"""What was measured, for the table at the end: name, figure, bar, whether that is reached."""

Figure = Callable[[str, float, float, str], None]
InRoot = Callable[..., tuple[str, ...]]


@pytest.fixture(scope="session")
def executable() -> Path:
    """The one file."""
    path = Path(os.environ["TUNROUTER_BIN"]).resolve()
    assert path.is_file(), f"{path} is not there: make binary"
    return path


@pytest.fixture
def figure() -> Figure:
    """Note a figure, which must be below its bar."""

    def note(name: str, measured: float, bar: float, unit: str) -> None:
        reached = measured < bar
        FIGURES.append((name, f"{measured:.2f} {unit}", f"< {bar:g} {unit}", reached))
        assert reached, f"{name}: {measured:.2f} {unit}, not below {bar:g}"

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("the executable")
        for name, measured, bar, reached in FIGURES:
            terminalreporter.line(f"{name:44} {measured:>12}   {bar:12} {'ok' if reached else 'MISSED'}")


@pytest.fixture(scope="session")
def bare_root() -> Path:
    """Debian 11 without Python, made once."""
    root = kept_root("bullseye")
    assert not [*root.glob("usr/bin/python*"), *root.glob("usr/lib/python3*")]
    return root


@pytest.fixture
def in_root(bare_root: Path, executable: Path) -> InRoot:
    """A command line that runs another one in the root, with mounts that go with it.

    `before` are shell commands in a mount namespace of its own, where $R is the root.
    """

    def wrap(*argv: str, before: str = "") -> tuple[str, ...]:
        script = (
            f"set -e; R={shlex.quote(str(bare_root))}; mount --bind $R $R; cd $R; "
            f"mount --bind {shlex.quote(str(executable.parent))} $R{INSIDE}; "
            f"mount -t proc proc $R/proc; mount --rbind /dev $R/dev; {before}; "
            'exec chroot $R "$@"'
        )
        return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *argv)

    return wrap


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR for what is unpacked."""
    made = tmp_path / "unpacked"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    return made

"""Checkouts of earlier versions, for tests beside them.

Knows: how one is taken out of this clone. Refuses to know: which version a test wants.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.netns import ROOT


def checkout(commit: str, path: Path) -> Path:
    """The program of a commit in a directory, which is returned; the test is skipped where it is not in this clone."""
    if subprocess.run(("git", "cat-file", "-e", commit), cwd=ROOT, capture_output=True).returncode:
        pytest.skip(f"no {commit} in this clone")
    tree = subprocess.run(("git", "archive", commit), cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(("tar", "x", "-C", str(path), "lib", "tunrouter.py"), input=tree, check=True)
    return path

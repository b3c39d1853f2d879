"""Unix sockets at a path: whose they are, once the process becomes another user, and what was put in their place."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lib.service_socket import UnixSocket

NOBODY = 65534


def owner(path: Path) -> int:
    return path.stat(follow_symlinks=False).st_uid


@pytest.mark.needs_root
def test_a_directory_that_was_made_for_it_goes_with_it(tmp_path: Path) -> None:
    """Its mode is 0700: the user would not get to its own socket."""
    made = UnixSocket(str(tmp_path / "a" / "b" / "x.sock"), 1, private=True)
    made.give_to(NOBODY)
    assert owner(tmp_path / "a" / "b" / "x.sock") == owner(tmp_path / "a" / "b") == NOBODY
    assert owner(tmp_path / "a") == 0
    made.sock.close()
    made.remove()
    assert not (tmp_path / "a" / "b" / "x.sock").exists()


@pytest.mark.needs_root
def test_a_directory_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    made = UnixSocket(str(tmp_path / "x.sock"), 1, private=True)
    made.give_to(NOBODY)
    assert (owner(tmp_path / "x.sock"), owner(tmp_path)) == (NOBODY, 0)
    made.sock.close()
    made.remove()


@pytest.mark.needs_root
@pytest.mark.parametrize("instead", ["a file", "a link to it", "another socket"])
def test_what_somebody_has_put_in_its_place_is_not_given_away(tmp_path: Path, instead: str) -> None:
    """Who may write to the directory could else have any file of root's."""
    path, secret = tmp_path / "x.sock", tmp_path / "secret"
    secret.touch()
    made = UnixSocket(str(path), 1, private=True)
    path.rename(tmp_path / "aside")
    if instead == "a file":
        os.link(secret, path)
    elif instead == "a link to it":
        path.symlink_to(secret)
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    with pytest.raises(FileNotFoundError, match="another process has replaced it"):
        made.give_to(NOBODY)
    assert owner(secret) == owner(path) == 0
    made.sock.close()
    made.remove()
    assert path.is_symlink() or path.exists(), "it is not ours to remove"

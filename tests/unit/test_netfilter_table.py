"""Tables by a program nft that does as a test wants: what it is told, and the words for what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lib import netfilter_table, service_command
from lib.errors import HostError
from lib.netfilter_names import Table

pytestmark = pytest.mark.usefixtures("own_children")

TABLE = Table("map", "tun0")


@pytest.fixture
def nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of an nft that writes into `told` what it is told, and runs the shell script `do` there."""
    program = tmp_path / "nft"
    program.write_text(
        f'#!/bin/sh\ncd {tmp_path}\necho "$@" >>told\ntest "$1" != -f || cat >>told\ntest ! -e do || . ./do\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_a_table_is_replaced_in_one_transaction(nft: Path) -> None:
    netfilter_table.load(TABLE, "chain c {\n}")
    assert (nft / "told").read_text().splitlines() == [
        "-f -", "add table inet tunrouter_map_tun0", "delete table inet tunrouter_map_tun0",
        "table inet tunrouter_map_tun0 {", "chain c {", "}", "}",
    ]  # fmt: skip


def test_the_tables_of_killed_processes_are_deleted_but_for_what_shall_stay(nft: Path) -> None:
    """Who looks like ours and is not open goes; lo is no TUN device, so it cannot be anybody's."""
    names = ["filter", "tunrouter_map_gone0", "tunrouter_killswitch_gone0", "tunrouter_nat_lo"]
    rows = [{"metainfo": {}}, *({"table": {"family": "inet", "name": name, "handle": 1}} for name in names)]
    (nft / "do").write_text(
        f"test \"$1\" != -j || echo '{json.dumps({'nftables': rows})}'; echo warning >&2\n"
    )
    assert netfilter_table.sweep() == (Table("map", "gone0"), Table("nat", "lo"))
    told = (nft / "told").read_text()
    assert "delete table inet tunrouter_map_gone0" in told
    assert "delete table inet tunrouter_nat_lo" in told
    assert "killswitch" not in told


REFUSED = [
    (
        "echo 'netlink: Error: cache initialization failed: Operation not permitted' >&2; exit 1",
        "nft: cache initialization failed: Operation not permitted; nftables wants CAP_NET_ADMIN",
    ),
    (
        "echo 'Operation not permitted (you must be root)' >&2; exit 1",
        "nft: Operation not permitted (you must be root); nftables wants CAP_NET_ADMIN",
    ),
    (
        "printf '/dev/stdin:3:1-2: Error: syntax error, unexpected string\\nxx y\\n^^\\n' >&2; exit 1",
        "nft: syntax error, unexpected string; this nft may be too old",
    ),
    (
        "printf '/dev/stdin:3:1-2: Error: Could not process rule: Operation not supported\\n^^\\n' >&2; exit 1",
        "nft: Could not process rule: Operation not supported; the kernel lacks a part of nftables",
    ),
    ("exit 3", "nft: ended with status 3"),
    ("sleep 60", "nft: it had not ended within 0.2 s"),
]


@pytest.mark.parametrize(("do", "said"), REFUSED, ids=lambda value: str(value)[-30:])
def test_what_nft_refuses_is_said_with_what_to_do(
    do: str, said: str, nft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nft / "do").write_text(do)
    if "sleep" in do:
        monkeypatch.setattr(netfilter_table, "SECONDS", 0.2)
    with pytest.raises(HostError) as caught:
        netfilter_table.load(TABLE, "")
    assert str(caught.value).startswith(said)


def test_a_list_that_is_none_is_an_error(nft: Path) -> None:
    (nft / "do").write_text("echo '[1]'")
    with pytest.raises(HostError, match="its list of tables cannot be read"):
        netfilter_table.tables()


def test_without_nft_there_are_no_tables_and_none_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_command, "SYSTEM_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    assert netfilter_table.sweep() == ()
    with pytest.raises(HostError, match=r"nft: there is no such program; install it \(package nftables\)"):
        netfilter_table.load(TABLE, "")

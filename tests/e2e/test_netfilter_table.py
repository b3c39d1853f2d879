"""Tables of our own in the kernel's nftables: loaded, replaced, listed, and those of killed processes removed."""

from __future__ import annotations

import sys

from tests.support.netns import ROOT, Namespace

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import sys
from lib import netfilter_table, tun
from lib.errors import HostError
from lib.netfilter_names import Table
open0 = tun.open_tun("open0")
chain = "chain in {{ type filter hook input priority 0; counter comment \\"{}\\"; }}"
for device in ("open0", "gone0", "odd.name"):
    netfilter_table.load(Table("map", device), chain.format("first"))
netfilter_table.load(Table("killswitch", "gone0"), chain.format("stays"))
netfilter_table.load(Table("map", "open0"), chain.format("second"))
try:
    netfilter_table.load(Table("map", "open0"), "chain in { nonsense; }")
except HostError as error:
    print("refused:", error)
print("left:", *sorted(one.name for one in netfilter_table.sweep()))
print("stay:", *sorted(one.name for one in netfilter_table.tables()))
netfilter_table.delete(Table("map", "none"))
"""


def test_tables_are_replaced_whole_and_those_of_nobody_are_deleted(namespace: Namespace) -> None:
    namespace.run("nft", "add table inet somebody; add table ip tunrouter_map_gone1")
    printed = namespace.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", SCRIPT)
    assert "refused: nft: syntax error" in printed
    assert "left: tunrouter_map_gone0 tunrouter_map_odd.2ename\n" in printed
    assert "stay: tunrouter_killswitch_gone0 tunrouter_map_open0\n" in printed
    rules = namespace.run("nft", "list", "ruleset")
    assert "second" in rules, "a table that is refused changes nothing"
    assert "first" not in rules
    assert "table inet somebody" in rules
    assert "table ip tunrouter_map_gone1" in rules, "it is of another family, and so not ours"

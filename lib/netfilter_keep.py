"""One nftables table of a running client: put back when somebody flushes the rules, deleted at the end.

Knows: when the table is looked at, how long to wait before it is put back.
Refuses to know: what is in the table, how it gets into the kernel (netfilter_table), notifications
(netfilter_watch).

`systemctl restart nftables` begins with `flush ruleset`, which takes the tables of everybody.
"""

from __future__ import annotations

import time

import gevent
from gevent.lock import BoundedSemaphore

from lib import netfilter_table
from lib.log_events import Entry
from lib.log_setup import say
from lib.netfilter_names import Table
from lib.netfilter_watch import Watch
from lib.netlink_plan import Pace
from lib.service_supervisor import Task
from lib.stream_deadline import to_its_end

SETTLE_SECONDS = 0.2
"""Who flushes the rules loads others: that much is waited for after a notification."""


class KeptTable:
    """A table of one service."""

    def __init__(self, service: str, table: Table) -> None:
        """Nothing is loaded yet. `service` is the name of the client's service."""
        self._table, self._rules = table, ""
        self._lock = BoundedSemaphore(1)
        """Held while nft runs: what was begun before the end is done before the table is deleted."""
        self._task = Task(f"service {service}: table {table.name} is kept", self._keep, vital=False)

    def load(self, rules: str) -> None:
        """Have these chains in the kernel, in place of those of before; "" for none. Raises HostError."""
        if rules == self._rules:
            return
        if rules:
            to_its_end(self._load, rules)
            self._rules = rules
            self._task.start()
        else:
            self.close()

    def close(self) -> None:
        """Delete the table, if it was loaded. Raises HostError where that is refused."""
        self._task.kill()
        if self._rules:
            self._rules = ""
            self._task = Task(self._task.name, self._keep, vital=False)
            to_its_end(self._delete)

    def _load(self, rules: str) -> None:
        with self._lock:
            netfilter_table.load(self._table, rules)

    def _delete(self) -> None:
        with self._lock:
            netfilter_table.delete(self._table)

    def _keep(self) -> None:
        """Put the table back whenever somebody has deleted it; never returns.

        Raises OSError, and HostError where the table cannot be loaded again: the task is tried again then.
        """
        watch, pace = Watch(), Pace()
        try:
            while True:
                self._put_back(pace)
                watch.wait()
                gevent.sleep(SETTLE_SECONDS)
        finally:
            watch.close()

    def _put_back(self, pace: Pace) -> None:
        if self._table in netfilter_table.tables():
            return
        gevent.sleep(pace.wait(time.monotonic()))
        to_its_end(self._load, self._rules)
        pace.took(time.monotonic())
        tell_put_back(self._table.name)


def tell_put_back(table: str) -> None:
    """Log that a table is there again."""
    text = "somebody has removed the table %s of nftables; it is set again"
    say(Entry.TABLE_PUT_BACK, text, table, table=table)

"""The life of a process that was forked for a hub: a worker, or the cluster's process.

Knows: by its number which of them it is, and which of them says what all do.
Refuses to know: what it does then (worker_process, worker_cluster).
"""

from __future__ import annotations

import random
import signal

from lib import log_setup
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.settings import Settings
from lib.worker_channel import Channel
from lib.worker_forker import Acceptors, Trusted
from lib.worker_process import FIRST, Worker
from lib.worker_state import CLUSTER_NUMBER

_SAID_ONCE = (
    *(Entry.RELOAD_CHANGE, Entry.RELOAD_DONE, Entry.TABLE_LOADED, Entry.RULES_LOADED, Entry.BAD_ROW),
    *(Entry.POOL_LOW, Entry.POOL_NOT_KEPT, Entry.POOL_NOT_SHARED),
    *(Entry.CONFIG_WARNING, Entry.CONFIG_NOTICE, Entry.CERTIFICATE_RELOADED),
)
_SAID_BY_MAIN = (Entry.LISTENING, Entry.SOURCE_FAILED, Entry.SOURCE_RECOVERED)


def run(
    number: int, channel: Channel, settings: Settings, tables: Tables, acceptors: Acceptors, trust: Trusted
) -> int:
    """Live, in a copy of the process that forks workers; returns an exit status."""
    random.seed()  # else all workers would draw the same delays
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if number == CLUSTER_NUMBER:
        from lib.worker_cluster import cluster_worker  # only hubs of clusters pay for it

        # No connection is served there: a certificate that it reads again is that of its links.
        log_setup.leave_out(
            [*_SAID_BY_MAIN, *(one for one in _SAID_ONCE if one is not Entry.CERTIFICATE_RELOADED)]
        )
        return cluster_worker(channel, settings, tables, acceptors, trust).run()
    log_setup.leave_out(_SAID_BY_MAIN if number == FIRST else (*_SAID_BY_MAIN, *_SAID_ONCE))
    return Worker(number, channel, settings, tables, acceptors).run()

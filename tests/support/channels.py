"""Datagram channels of running programs, as `status` shows them."""

from __future__ import annotations

import json
from typing import Any

from tests.support import schema
from tests.support.program import run


def channel_of(path: str, host: str = "host-1") -> dict[str, Any]:
    """The datagram channel of the one session of a host that a running process has.

    `path` is that of its control socket. Without a channel there is only "none": why.
    """
    code, said = run("status", "--json", "--host", host, "--control", path)
    assert code == 0, said
    reply = json.loads(said)
    schema.check(reply, "status")
    (row,) = reply["sessions"] or reply["clients"]
    return row["channel"] or {"none": row["no_channel"]}

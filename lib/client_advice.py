"""What a hub's ADVICE means to a client, in words: its host name or router.id seems to be wrong.

Knows: the words of each trouble.
Refuses to know: how a hub finds it out (hub_identity), the frame (wire_control).
"""

from __future__ import annotations

from lib.wire_control import Advice, Trouble


def lines(advice: Advice, host: str) -> list[str]:
    """A line for each trouble; none for those that a later version may add."""
    perhaps = f"; did you mean {advice.name!r}?" if advice.name else ""
    words = {
        Trouble.UNKNOWN_NAMESPACE: "this client's router.id names no router of the hub: is it misspelt?",
        Trouble.NO_GATEWAY: f"no route of the hub leads to host {host}, so no packet will come{perhaps}",
        Trouble.NAME_TWICE: f"another machine is connected to the hub as {host} too: they share "
        "its packets; give each machine a name of its own",
    }
    return [line for trouble, line in words.items() if advice.troubles & trouble]

"""A host at another hub, as a sender: frames that came from there are forwarded here, in turns.

Knows: that such frames are a session's like any other, but that nobody pays for their turns, and that no
control frame comes that way.
Refuses to know: by what they came (cluster_entrypoint), whose they are (forward_enter), frames that are
forwarded where they lie (cluster_receive).
"""

from __future__ import annotations

from lib import framing, hub_log, hub_turn
from lib.forward_frame import Output
from lib.namespace import Attachment
from lib.service_scheduling import breathe


class FarHost:
    """The sender's side of an attachment that stands for a host at another hub."""

    __slots__ = ("_owner", "attachment")

    def __init__(self, owner: hub_turn.Owner, attachment: Attachment) -> None:
        """Let frames of this attachment be forwarded by `owner`, with its output and taps."""
        self._owner = owner
        self.attachment = attachment
        attachment.again = self.forward

    def forward(self, frames: bytes) -> None:
        """Forward whole frames; others have their turn while that takes long."""
        data = bytearray(frames + bytes(framing.SLACK))
        view, at, end = memoryview(data), 0, len(frames)
        while framing.is_whole(view[at:end]):
            at = hub_turn.scan(self._owner, self, None, data, view, at, end)
            if at < end:
                breathe()

    def act(self, out: Output) -> None:
        """Ignore control frames."""
        out.controls.clear()

    def tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time."""
        for reason, detail in self.attachment.traffic.take_news():
            hub_log.drops(self._owner.settings.name, self.attachment, reason, detail)

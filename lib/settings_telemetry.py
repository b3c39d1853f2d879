"""What a configuration means for who looks on: how the log's file is put aside, where metrics are served.

Knows: the settings of both, with their defaults.
Refuses to know: everything that packets have to do with (settings).
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.addresses import join_host_port

DEFAULT_MEGABYTES = 100


@dataclass(frozen=True, slots=True)
class RotationSettings:
    """When a log file is put aside, and what becomes of old ones; 0 for no limit."""

    max_bytes: int = DEFAULT_MEGABYTES << 20
    max_age: int = 0
    """Days."""
    max_backups: int = 0
    local_time: bool = False
    """Whether their names are in local time, and not in UTC."""
    compress: bool = False


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where metrics are served, and to whom."""

    host: str = ""
    """Address to listen on; empty for all."""
    port: int = 0
    socket: str = ""
    """A path instead of host and port."""
    path: str = "/metrics"
    auther: str = ""
    """Name of the auther that knows who may read them; empty for everybody."""

    @property
    def address(self) -> str:
        """As people write it."""
        if self.socket:
            return f"unix://{self.socket}"
        return join_host_port(self.host, self.port)

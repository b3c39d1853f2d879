"""Settings of the log file's rotation and of the metrics server (`log` and `metrics` of a configuration).

Knows: the settings of both, with their defaults.
Refuses to know: all settings that concern packets (settings).
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.addresses import join_host_port

DEFAULT_MEGABYTES = 100


@dataclass(frozen=True, slots=True)
class RotationSettings:
    """Rotation of a log file, as lumberjack's in GOST; 0 for no limit."""

    max_bytes: int = DEFAULT_MEGABYTES << 20
    max_age: int = 0
    """Days."""
    max_backups: int = 0
    """Old files that are kept."""
    local_time: bool = False
    """Whether old files are named by local time instead of UTC."""
    compress: bool = False
    """Whether old files are compressed (gzip)."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The metrics server: its address, path, and who may read."""

    host: str = ""
    """Address to listen on; empty for all."""
    port: int = 0
    socket: str = ""
    """Path of a unix socket, instead of host and port."""
    path: str = "/metrics"
    auther: str = ""
    """Name of the auther whose logins may read the metrics; empty for everybody."""

    @property
    def address(self) -> str:
        """The address as text: `unix://PATH`, `HOST:PORT` or `[HOST]:PORT`."""
        if self.socket:
            return f"unix://{self.socket}"
        return join_host_port(self.host, self.port)

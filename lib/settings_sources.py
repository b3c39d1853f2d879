"""Settings of where the rows of a table come from: files, Redis keys and URLs, or a plugin that is asked.

Knows: what of each kind has to be known to reach it. Refuses to know: what the rows are (settings).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.settings_transport import TlsSettings


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """A plugin: an external program that is asked (PROTOCOL.md, plugins); `timeout` in seconds."""

    url: str
    """http://… or https://… for HTTP; for gRPC grpc://host:port, or grpcs://host:port over TLS."""
    token: str = ""
    timeout: float = 10.0
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Rows from a file, a line each; read again when it changes."""

    path: str
    """Absolute, or relative to where the program was started."""


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The Sentinels that know which Redis is the master; false where there are none."""

    addrs: tuple[str, ...] = ()
    """host:port of each."""
    master: str = ""
    """What they call it."""
    username: str = ""
    password: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.addrs)


NO_SENTINEL = Sentinel()


@dataclass(frozen=True, slots=True)
class RedisSource:
    """Rows from a Redis key."""

    addr: str
    """host:port; empty where Sentinels know it."""
    db: int = 0
    username: str = ""
    password: str = ""
    key: str = "gost"
    type: str = "hash"
    """hash (field -> value), set or list (each member a line)."""
    tls: TlsSettings | None = None
    """TLS, also to the Sentinels; None for none."""
    sentinel: Sentinel = NO_SENTINEL

    @property
    def name(self) -> str:
        """What it is called in messages: without its secrets."""
        scheme = "rediss" if self.tls is not None else "redis"
        where = self.addr or f"{self.sentinel.master}@{','.join(self.sentinel.addrs)}"
        return f"{scheme}://{where}/{self.db}/{self.key}"


@dataclass(frozen=True, slots=True)
class HttpSource:
    """Rows from a URL, a line each; `timeout` in seconds."""

    url: str
    timeout: float = 10.0


Source = FileSource | RedisSource | HttpSource
EnrolSource = FileSource | RedisSource
"""Where a list of enrolled hosts is kept (enrol_live)."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The sources of further rows, in the order in which they follow the inline rows."""

    sources: tuple[Source, ...] = ()
    reload: float = 0.0
    """Seconds after which all sources are read again; 0: only when a file changes, or on SIGHUP."""


NO_SOURCES = SourceSettings()

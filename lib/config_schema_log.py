"""The `log` section of GOST's configuration file, with its rotation.

Knows: their keys.
Refuses to know: which values are right (config_telemetry), the other sections (config_schema).
"""

from __future__ import annotations

from lib.config_section import Section


class Rotation(Section):
    """When a log file is rotated, and how many old ones are kept."""

    max_size: int = 0
    max_age: int = 0
    max_backups: int = 0
    local_time: bool = False
    compress: bool = False


class Log(Section):
    """Level, format and destination of the log."""

    output: str = ""
    level: str = ""
    format: str = ""
    rotation: Rotation | None = None

"""Metrics of every Python program: memory, processor time, garbage collector; and which version this one is.

Knows: the collectors of prometheus_client.
Refuses to know: what tunrouter counts (metrics), how it is asked for (metrics_server).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from lib import __version__


def every() -> Iterator[Metric]:
    """All of them."""
    yield InfoMetricFamily(
        "tunrouter_build",
        "The version that runs.",
        {"version": __version__, "python": platform.python_version()},
    )
    yield from ProcessCollector(registry=None).collect()
    registry = CollectorRegistry(auto_describe=False)
    GCCollector(registry)
    yield from registry.collect()
